"""Creates or completes the project's environment: ``python3.11 tools/setup_env.py``. Standard library only.

Steps: virtual environment; torch (CPU build, or CUDA build where an NVIDIA GPU answers); the other requirements;
nerfstudio and gsplat without their unneeded dependencies; the torchvision import hook if torchvision does not import;
defaults for processors; this package, editable. A stamp inside the environment records what it was made from, so a
second run does nothing.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
PUBLIC_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
STAMP = ".moegs_ns_stamp"
LOG = "setup.log"


def say(text: str) -> None:
    sys.stdout.write(f"[env] {text}\n")
    sys.stdout.flush()


def has_nvidia_gpu() -> bool:
    if shutil.which("nvidia-smi") is None:
        return False
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU" in listing.stdout


def pinned_torch() -> dict[str, str]:
    """Versions of torch and torchvision in requirements/torch.txt."""
    lines = (REQUIREMENTS / "torch.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def fingerprint(flavour: str, environment: Path) -> str:
    """Changes whenever the environment has to be completed again; lint settings in pyproject.toml do not count."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    relevant = {key: project.get(key) for key in ("build-system", "project")}
    digest = hashlib.sha256(json.dumps([flavour, str(environment), str(ROOT), relevant], sort_keys=True).encode())
    for path in [*sorted(REQUIREMENTS.glob("*.txt")), *sorted((ROOT / "tools").glob("*.py")), ROOT / "setup.py"]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


class Environment:
    """One virtual environment and the log of what was installed into it."""

    def __init__(self, path: Path):
        self.path = path
        self.python = path / "bin" / "python"

    def is_usable(self) -> bool:
        probe = [str(self.python), "-c", "import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))"]
        if not self.python.exists() or subprocess.run(probe, capture_output=True, check=False).returncode != 0:
            return False
        # Commands carry the path of their environment in the first line; in a moved or copied one they lead astray.
        return str(self.path) in (self.path / "bin" / "pip").read_text(encoding="utf-8").partition("import")[0]

    def create(self) -> None:
        say(f"creating {self.path} with Python {sys.version.split()[0]}")
        outcome = subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.path)], check=False)
        if outcome.returncode != 0:
            raise SystemExit(
                f"expected '{sys.executable} -m venv' to create {self.path}, it failed as shown above; "
                "on Debian and Ubuntu install the package python3.11-venv"
            )

    def installed(self, package: str) -> str | None:
        code = f"from importlib.metadata import version; print(version({package!r}))"
        outcome = subprocess.run([str(self.python), "-c", code], capture_output=True, text=True, check=False)
        return outcome.stdout.strip() if outcome.returncode == 0 else None

    def try_pip(self, *arguments: str) -> bool:
        """``pip install``, its talk kept in the log: with several indexes it warns once per package and index."""
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", *arguments]
        with (self.path / LOG).open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            # compileall and pip write .pyc files even where PYTHONDONTWRITEBYTECODE is set; without them every
            # ns-* command needs twice as long to start.
            return subprocess.run(command, stdout=log, stderr=log, check=False, cwd=ROOT).returncode == 0

    def pip(self, what: str, *arguments: str) -> None:
        start = time.monotonic()
        if not self.try_pip(*arguments):
            tail = (self.path / LOG).read_text(encoding="utf-8").splitlines()[-25:]
            raise SystemExit("\n".join([*tail, f"[env] could not install {what}; whole log: {self.path / LOG}"]))
        say(f"{what}: {time.monotonic() - start:.0f} s")


def install_torch(environment: Environment, flavour: str) -> None:
    version, vision = pinned_torch()["torch"], pinned_torch()["torchvision"]
    present = environment.installed("torch") or ""
    is_right_build = flavour == "cpu" or "+cpu" not in present
    if present.split("+")[0] == version and is_right_build and environment.installed("torchvision"):
        say(f"torch {present} is there")
        return
    # No dependencies here: the next step installs them from the configured index, at the tested versions.
    if flavour == "cuda":
        # "===" takes the index's default (CUDA) build even where a CPU build of that version is offered too.
        environment.pip(f"torch {version}, CUDA build", "--no-deps", f"torch==={version}", f"torchvision==={vision}")
        return
    start = time.monotonic()
    if environment.try_pip("--no-deps", f"torch=={version}+cpu"):
        say(f"torch {version}+cpu from the configured index: {time.monotonic() - start:.0f} s")
        environment.pip(f"torchvision {vision}", "--no-deps", f"torchvision=={vision}")
        return
    say("the configured index offers no CPU build of torch; asking PyTorch's public CPU index")
    from_public_index = ["--index-url", PUBLIC_CPU_INDEX, f"torch=={version}+cpu", f"torchvision=={vision}+cpu"]
    if environment.try_pip("--no-deps", *from_public_index):
        say(f"torch {version}+cpu from {PUBLIC_CPU_INDEX}: {time.monotonic() - start:.0f} s")
        return
    say("no CPU build of torch can be reached; installing the default build, which brings several GB of libraries")
    tested = str(REQUIREMENTS / "constraints.txt")
    environment.pip(f"torch {version}, default build", f"torch=={version}", f"torchvision=={vision}", "-c", tested)


def complete(environment: Environment, flavour: str) -> None:
    install_torch(environment, flavour)
    constraints = ["-c", str(REQUIREMENTS / "constraints.txt"), "-c", str(REQUIREMENTS / "torch.txt")]
    wanted = ["runtime.txt", "dev.txt"] + (["cuda.txt"] if flavour == "cuda" else [])
    files = [argument for name in wanted for argument in ("-r", str(REQUIREMENTS / name))]
    environment.pip("packages of requirements/", *files, *constraints)
    environment.pip("nerfstudio, gsplat, nerfacc", "--no-deps", "-r", str(REQUIREMENTS / "nodeps.txt"))
    hook = [str(environment.python), str(ROOT / "tools" / "install_torchvision_hook.py")]
    outcome = subprocess.run(hook, stdout=subprocess.PIPE, text=True, check=False)
    if outcome.returncode != 0:
        raise SystemExit(outcome.returncode)
    say(outcome.stdout.strip())
    set_defaults_for_processors(environment)
    environment.pip("moegs_ns, editable", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        compile_bytecode(environment)


def set_defaults_for_processors(environment: Environment) -> None:
    """Make what computing on a CPU profits from the default of every Python of the environment.

    ``OMP_WAIT_POLICY=passive``: by default GNU's OpenMP, which torch and the kernels share, lets threads spin while
    they wait for one another. Where anything else runs on the machine, a training step of many short parallel regions
    then takes several times as long; on a quiet one waking costs some hundredths of a millisecond each time, which the
    kernels spare themselves by threads of their own.

    ``THP_MEM_ALLOC_ENABLE=1``: torch asks the system for huge pages where a tensor is larger than one. Images of
    several experts at full resolution are some hundred MB, which page by page take longer to get than to fill.

    Both are read once, when torch is imported or first asked for memory, which the ns-* commands do before any code of
    ours runs.
    """
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    done = subprocess.run([str(environment.python), "-c", code], capture_output=True, text=True, check=True)
    defaults = (("OMP_WAIT_POLICY", "passive"), ("THP_MEM_ALLOC_ENABLE", "1"))
    settings = "; ".join(f"os.environ.setdefault({name!r}, {value!r})" for name, value in defaults)
    # Python runs the import lines of .pth files at start-up.
    (Path(done.stdout.strip()) / "_processor_defaults.pth").write_text(f"import os; {settings}\n", encoding="utf-8")


def megabytes(folder: Path) -> float:
    """Size of the files below a folder, in MB (10^6 bytes); links are not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()) / 1e6


def compile_bytecode(environment: Environment) -> None:
    """Where Python may not write .pyc files at run time, what pip left uncompiled would be parsed at every start."""
    start = time.monotonic()
    command = [str(environment.python), "-m", "compileall", "-qq", "-j", "0", str(environment.path / "lib")]
    # Packages ship templates and test files that are no valid Python; their failure does not matter.
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    say(f"bytecode: {time.monotonic() - start:.0f} s")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two runs at once would install into the same folder; the second waits and then finds the stamp."""
    with (ROOT / "pyproject.toml").open(encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def advise(flavour: str) -> None:
    if shutil.which("c++") is None and shutil.which("g++") is None and shutil.which("clang++") is None:
        say("no C++ compiler found: rendering on the CPU will use the slow torch backend; install g++ or clang++")
    if flavour == "cuda" and shutil.which("nvcc") is None:
        say("no nvcc found: gsplat compiles its kernels at first use and needs the CUDA toolkit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, default=ROOT / ".venv", help="folder of the environment")
    parser.add_argument("--flavour", choices=("auto", "cpu", "cuda"), default="auto", help="build of torch")
    arguments = parser.parse_args()
    if sys.version_info[:2] != (3, 11):
        raise SystemExit(
            f"expected Python 3.11, found {sys.version.split()[0]} ({sys.executable}); "
            "name one: make PYTHON=/path/to/python3.11"
        )
    flavour = arguments.flavour
    if flavour == "auto":
        flavour = "cuda" if has_nvidia_gpu() else "cpu"
    environment = Environment(arguments.path.absolute())
    with one_at_a_time():
        stamp = environment.path / STAMP
        wanted = fingerprint(flavour, environment.path)
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and environment.is_usable():
            say(f"{environment.path.name} is up to date ({flavour})")
            return
        start = time.monotonic()
        if not environment.is_usable():
            environment.create()
        (environment.path / LOG).unlink(missing_ok=True)
        stamp.unlink(missing_ok=True)
        complete(environment, flavour)
        stamp.write_text(wanted, encoding="utf-8")
        size = megabytes(environment.path)
        say(f"{environment.path.name} ready ({flavour}, {size:,.0f} MB) after {time.monotonic() - start:.0f} s")
        advise(flavour)


if __name__ == "__main__":
    main()
