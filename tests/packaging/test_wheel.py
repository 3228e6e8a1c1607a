"""The wheel, installed into an environment that has never seen the checkout: kernels and presets must be inside it."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from moegs_ns.splats.native_prebuilt import LEVELS, runs_on_this_platform

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("cuda", "configs")
WHAT_THE_BUILD_READS = ("moegs_ns", *SHIPPED, "pyproject.toml", "setup.py", "LICENSE", "README.md")

pytestmark = pytest.mark.slow

HAS_COMPILER = shutil.which(os.environ.get("CXX") or "c++") is not None
CARRIES_KERNELS = HAS_COMPILER and runs_on_this_platform()
needs_carried_kernels = pytest.mark.skipif(not CARRIES_KERNELS, reason="needs x86-64 Linux and a C++ compiler")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory, dict(os.environ))


def build_wheel(tmp_path_factory: pytest.TempPathFactory, environment: Mapping[str, str]) -> Path:
    """Built from a copy: setuptools leaves build folders beside the sources and would pack what an older build left."""
    copy = tmp_path_factory.mktemp("source")
    for name in WHAT_THE_BUILD_READS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copyfile(source, copy / name)
    target = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(target),
        str(copy),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert built.returncode == 0, built.stderr[-2000:]
    (path,) = target.glob("*.whl")
    return path


@dataclass(frozen=True)
class CleanEnvironment:
    """A virtual environment with the wheel and, behind it, the libraries of the environment that runs the tests."""

    python: Path
    site_packages: Path
    home: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run its Python in an empty folder; no environment variable leads to the checkout."""
        inherited: Mapping[str, str] = os.environ
        kept = {name: inherited[name] for name in ("PATH", "LANG", "CXX", "LD_LIBRARY_PATH") if name in inherited}
        own = {"HOME": str(self.home), "MOEGS_CACHE_DIR": str(self.home / "cache"), "COLUMNS": "200"}
        return subprocess.run(
            [str(self.python), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
            env={**kept, **own, **variables},
        )


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    site_packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env")}))
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    # Only a path: .pth files behind it, such as the editable install's, are not read.
    (site_packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    environment = CleanEnvironment(python, site_packages, folder / "home")
    environment.home.mkdir()
    hook = environment.run(str(ROOT / "tools" / "install_torchvision_hook.py"))
    assert hook.returncode == 0, hook.stderr[-2000:]
    return environment


def test_the_wheel_holds_the_package_and_the_shipped_folders_and_no_more(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = ROOT / "moegs_ns"
    expected = {str(path.relative_to(ROOT)) for kind in ("*.py", "*.json") for path in package.rglob(kind)}
    web = [path for path in (ROOT / "moegs_ns" / "exporting" / "web").iterdir() if path.is_file()]
    assert "viewer.js.gz" in {path.name for path in web}
    expected |= {str(path.relative_to(ROOT)) for path in web}
    for folder in SHIPPED:
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files, f"{folder}/ ships something"
        expected |= {f"moegs_ns/_{folder}/{path.relative_to(ROOT / folder)}" for path in files}
    if CARRIES_KERNELS:
        expected |= {f"moegs_ns/_kernels/{name}" for name in (*(f"{level}.so" for level in LEVELS), "kernels.json")}
    assert names == expected


def wheel_metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        return archive.read(name).decode()


@needs_carried_kernels
def test_a_wheel_with_kernels_names_its_platform_and_no_python(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-linux_x86_64.whl")
    assert "Tag: py3-none-linux_x86_64\n" in wheel_metadata(wheel)
    assert "Root-Is-Purelib: false" in wheel_metadata(wheel)


def test_without_a_compiler_the_wheel_is_pure(tmp_path_factory: pytest.TempPathFactory) -> None:
    nothing = tmp_path_factory.mktemp("no-programs")
    kept = {name: value for name, value in os.environ.items() if name != "CXX"}
    wheel = build_wheel(tmp_path_factory, {**kept, "PATH": str(nothing)})
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "Root-Is-Purelib: true" in wheel_metadata(wheel)
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if "_kernels" in name]


def test_the_wheel_carries_licence_and_entry_points(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = {name.partition(".dist-info/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        assert archive.read(info["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
        points = archive.read(info["entry_points.txt"]).decode()
        metadata = archive.read(info["METADATA"]).decode()
    assert "moegs-stg = moegs_ns.method_configs:moegs_stg" in points
    assert "n3v-data = moegs_ns.dataparser_configs:n3v" in points
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Dist: torch>=2.6" in metadata.splitlines(), "earlier ones run code of checkpoints"


def test_kernels_and_presets_are_found_inside_the_installation(installed: CleanEnvironment) -> None:
    code = (
        "import json, moegs_ns\nfrom moegs_ns.paths import resource_dir\n"
        "print(json.dumps([moegs_ns.__file__, str(resource_dir('cuda')), str(resource_dir('configs'))]))"
    )
    outcome = installed.run("-c", code)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    package, kernels, presets = (Path(text) for text in json.loads(outcome.stdout))
    assert package == installed.site_packages / "moegs_ns" / "__init__.py"
    assert kernels == installed.site_packages / "moegs_ns" / "_cuda"
    assert presets == installed.site_packages / "moegs_ns" / "_configs"
    for folder, found in (("cuda", kernels), ("configs", presets)):
        assert {path.name for path in found.rglob("*.*")} == {
            path.name for path in (ROOT / folder).rglob("*.*") if "__pycache__" not in path.parts
        }


def test_recipes_load_from_the_installation(installed: CleanEnvironment) -> None:
    code = (
        "from moegs_ns.experts.registry import EXPERTS; print([family.model_config() for family in EXPERTS.values()])"
    )
    outcome = installed.run("-c", code)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    assert "STGModelConfig(" in outcome.stdout


RENDER = """
import json, sys, torch
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.splats.splats import Splats
torch.manual_seed(0)
n = 40
means = (torch.rand(n, 3) * 2 - 1).requires_grad_()
splats = Splats(
    means=means,
    quats=torch.nn.functional.normalize(torch.randn(n, 4), dim=-1),
    scales=torch.rand(n, 3) * 0.2 + 0.05,
    opacities=torch.rand(n) * 0.8 + 0.1,
)
viewmat = torch.eye(4)
viewmat[2, 3] = 4.0
K = torch.tensor([[40.0, 0.0, 20.5], [0.0, 40.0, 15.5], [0.0, 0.0, 1.0]])
out = {}
for backend in ("native", "torch"):
    means.grad = None
    image = rasterize(splats, torch.linspace(0, 1, 3 * n).reshape(n, 3), viewmat, K, 41, 31, backend=backend).images
    image.square().sum().backward()
    out[backend] = {"image": image.detach().flatten().tolist(), "gradient": means.grad.flatten().tolist()}
json.dump(out, sys.stdout)
"""


def renders_like_the_twin(installed: CleanEnvironment, **variables: str) -> None:
    outcome = installed.run("-c", RENDER, **variables)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    results = json.loads(outcome.stdout)
    native, twin = results["native"], results["torch"]
    assert max(twin["image"]) > 0.1
    assert native["image"] == pytest.approx(twin["image"], abs=1e-4)
    assert native["gradient"] == pytest.approx(twin["gradient"], abs=1e-2, rel=1e-3)


@needs_carried_kernels
def test_the_installation_renders_without_a_compiler(installed: CleanEnvironment) -> None:
    nothing = installed.home / "no-programs"
    nothing.mkdir()
    renders_like_the_twin(installed, PATH=str(nothing), CXX="")
    assert not list((installed.home / "cache").rglob("*.so")), "nothing had to be compiled"


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
def test_the_native_kernel_compiles_and_renders_from_the_installation(installed: CleanEnvironment) -> None:
    renders_like_the_twin(installed, MOEGS_KERNELS="compile")
    assert list((installed.home / "cache").rglob("*.so")), "compiled into the user's cache"


def test_nerfstudio_offers_the_method(installed: CleanEnvironment) -> None:
    train = "import sys; from nerfstudio.scripts.train import entrypoint; sys.argv[0] = 'ns-train'; entrypoint()"
    methods = installed.run("-c", train, "--help")
    assert methods.returncode == 0, methods.stderr[-2000:]
    assert "moegs-stg" in methods.stdout
    parsers = installed.run("-c", train, "moegs-stg", "n3v-data", "--help")
    assert parsers.returncode == 0, parsers.stderr[-2000:]
    assert "--val-cams" in parsers.stdout
