"""Compiling, caching and loading the kernels of fused inference; nvcc itself where there is one. No GPU is needed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from moegs_ns.paths import resource_dir
from moegs_ns.splats import mixture_build, mixture_library
from moegs_ns.splats.kernel_cache import NativeBuildError
from moegs_ns.splats.mixture_library import MixtureLibrary
from tests.splats.mixture_libraries import compile_for_cpu

# Knows --version, fails when $FAKE_FAILS is set, else writes the output and a line into the log.
FAKE_NVCC = """#!{python}
import os, sys
if "--version" in sys.argv:
    print("nvcc: NVIDIA (R) Cuda compiler driver")
    print("Cuda compilation tools, release", os.environ.get("FAKE_VERSION", "1"))
    sys.exit()
if os.environ.get("FAKE_FAILS"):
    sys.exit("nvcc fatal: Value 'sm_1' is not defined for option 'gpu-architecture'")
with open(os.environ["FAKE_LOG"], "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
with open(sys.argv[sys.argv.index("-o") + 1], "w") as library:
    library.write("not really a library")
"""


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty kernel cache, nothing loaded yet, and none of the developer's own settings."""
    monkeypatch.setenv("MOEGS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(mixture_library._Loaded, "found", {})
    for name in ("NVCC", "CUDA_HOME", "MOEGS_MIXTURE_LIBRARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def compilations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Puts a pretending compiler into $NVCC; the result lists the compilations so far."""
    compiler, log = tmp_path / "fake-nvcc", tmp_path / "log"
    compiler.write_text(FAKE_NVCC.format(python=sys.executable))
    compiler.chmod(0o755)
    log.touch()
    monkeypatch.setenv("NVCC", str(compiler))
    monkeypatch.setenv("FAKE_LOG", str(log))
    return lambda: log.read_text().splitlines()


def test_built_once_for_each_architecture_then_found(compilations: Callable[[], list[str]]) -> None:
    first = mixture_build.ensure_mixture_library("sm_90")
    assert mixture_build.ensure_mixture_library("sm_90") == first
    assert first.compiler == "Cuda compilation tools, release 1"
    assert {"-arch=sm_90", "-O3", "-shared"} <= set(first.flags)
    assert json.loads(Path(first.library).with_name("build.json").read_text())["sha256"] == first.sha256
    other = mixture_build.ensure_mixture_library("sm_80")
    assert Path(other.library).parent != Path(first.library).parent
    assert [line.count("mixture_cuda.cu") for line in compilations()] == [1, 1]


def test_a_damaged_library_is_built_again(compilations: Callable[[], list[str]]) -> None:
    library = Path(mixture_build.ensure_mixture_library("sm_90").library)
    library.write_bytes(library.read_bytes()[:5])
    mixture_build.ensure_mixture_library("sm_90")
    assert len(compilations()) == 2
    assert library.read_text() == "not really a library"


def test_the_key_depends_on_compiler_and_every_source(
    compilations: Callable[[], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "cuda"
    shutil.copytree(resource_dir("cuda"), sources)
    monkeypatch.setattr(mixture_build, "resource_dir", lambda name: sources)
    nvcc = mixture_build.find_nvcc()
    keys = [mixture_build.mixture_key(nvcc, "sm_90")]
    names = {path.name for path in mixture_build.mixture_sources()}
    assert {"mixture_cuda.cu", "mixture.h", "mixture_gate.h", "mixture_pixel.h", "mixture_projection.h"} <= names
    for name in sorted(names):
        (sources / name).write_text((sources / name).read_text() + "\n// changed\n")
        keys.append(mixture_build.mixture_key(nvcc, "sm_90"))
    monkeypatch.setenv("FAKE_VERSION", "2")
    keys.append(mixture_build.mixture_key(nvcc, "sm_90"))
    assert len(set(keys)) == len(keys)


def test_every_included_header_is_among_the_sources() -> None:
    included = {
        line.split('"')[1]
        for path in mixture_build.mixture_sources()
        for line in path.read_text().splitlines()
        if line.startswith('#include "')
    }
    assert included <= {path.name for path in mixture_build.mixture_sources()}


def test_what_nvcc_says_is_passed_on(compilations: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAILS", "1")
    with pytest.raises(NativeBuildError, match="could not compile mixture_cuda.cu:\nnvcc fatal: Value 'sm_1'"):
        mixture_build.ensure_mixture_library("sm_1")
    assert not list((mixture_build.resource_dir("cuda")).rglob("*.so"))


def test_missing_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture_build, "resource_dir", lambda name: tmp_path)
    with pytest.raises(NativeBuildError, match=r"kernel sources .*mixture.h, .*mixture_cuda.cu"):
        mixture_build.mixture_sources()


def test_where_nvcc_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture_build, "_USUAL_HOME", str(tmp_path / "usual"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))

    def install(folder: str) -> str:
        program = tmp_path / folder / "nvcc"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        return str(program)

    with pytest.raises(NativeBuildError, match=r"found none of nvcc, .*usual/bin/nvcc; install the CUDA toolkit"):
        mixture_build.find_nvcc()
    usual = install("usual/bin")
    assert mixture_build.find_nvcc() == [usual]
    on_path = install("path")
    assert mixture_build.find_nvcc() == [on_path]
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    assert mixture_build.find_nvcc() == [on_path]
    assert [mixture_build.find_nvcc(), install("home/bin")][1:] == mixture_build.find_nvcc()
    monkeypatch.setenv("NVCC", f"{usual} -v")
    assert mixture_build.find_nvcc() == [usual, "-v"]
    monkeypatch.setenv("NVCC", "/nowhere/nvcc")
    with pytest.raises(NativeBuildError, match=r"in \$NVCC, found '/nowhere/nvcc'"):
        mixture_build.find_nvcc()


# --- loading -----------------------------------------------------------------------------------------------------


def test_nothing_of_cuda_is_touched_for_tensors_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(mixture_library, "ensure_mixture_library", forbidden)
    monkeypatch.setattr(torch.cuda, "get_device_capability", forbidden)
    with pytest.raises(NativeBuildError, match="runs on CUDA, and this is on 'cpu'"):
        mixture_library.mixture_library(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NativeBuildError, match="is_available.. is False"):
        mixture_library.mixture_library(torch.device("cuda"))


def test_on_a_gpu_the_library_of_its_architecture_is_compiled_once(
    compilations: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    for _ in range(2):  # the failure to load what the pretending compiler wrote is remembered
        with pytest.raises(NativeBuildError, match="a library that does not load"):
            mixture_library.mixture_library(torch.device("cuda", 0))
    assert len(compilations()) == 1
    assert "-arch=sm_86" in compilations()[0]


def test_without_nvcc_the_reason_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture_build, "_USUAL_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.raises(NativeBuildError, match="expected the CUDA compiler, found none"):
        mixture_library.mixture_library(torch.device("cuda", 0))


def test_a_library_built_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compile_for_cpu("host", tmp_path / "host.so")
    monkeypatch.setenv("MOEGS_MIXTURE_LIBRARY", str(path))
    library = mixture_library.mixture_library(torch.device("cpu"))
    assert library.device_type == "cpu"
    assert mixture_library.mixture_library(torch.device("cpu")) is library
    emulated = compile_for_cpu("emulated", tmp_path / "emulated.so")  # which says of itself that it runs on CUDA
    monkeypatch.setenv("MOEGS_MIXTURE_LIBRARY", str(emulated))
    with pytest.raises(NativeBuildError, match="draws tensors on 'cuda', and this is on 'cpu'"):
        mixture_library.mixture_library(torch.device("cpu"))


def test_a_library_of_another_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = compile_for_cpu("host", tmp_path / "host.so")
    monkeypatch.setattr(mixture_library, "_ABI", 77)
    with pytest.raises(NativeBuildError, match="expected version 77 .* found 1; rebuild"):
        MixtureLibrary(str(path))


def test_sizes_of_python_and_c_agree() -> None:
    """The fixed sizes stand in the header and in Python."""
    header = (resource_dir("cuda") / "mixture.h").read_text()
    for name in ("MAX_EXPERTS", "MAX_LAYERS", "MAX_UNITS"):
        assert f"MOEGS_MIXTURE_{name} = {getattr(mixture_library, name)}," in header
    assert f"#define MOEGS_MIXTURE_ABI {mixture_library._ABI}\n" in header


@pytest.mark.parametrize("architecture", ["sm_90"])
def test_nvcc_compiles_the_kernels(architecture: str) -> None:
    """The real library loads without a GPU, and says that it has none instead of ending the process."""
    try:
        mixture_build.find_nvcc()
    except NativeBuildError as error:
        pytest.skip(str(error))
    build = mixture_build.ensure_mixture_library(architecture)
    library = MixtureLibrary(build.library)
    assert library.device_type == "cuda"
    if not torch.cuda.is_available():
        with pytest.raises(NativeBuildError, match="do not run here: fused inference: CUDA reports: "):
            library.check_runs(0)
