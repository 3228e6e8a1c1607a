"""Libraries of fused inference for machines without a GPU: the host's twin, and the CUDA kernels themselves, emulated.

Both take tensors on the CPU. The emulated one is ``mixture_cuda.cu`` compiled as C++ with ``cuda_on_cpu`` in place of
CUDA's headers; it says it runs on CUDA, and is told to be on the CPU here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from moegs_ns.paths import resource_dir
from moegs_ns.splats.kernel_cache import NativeBuildError, run_compiler
from moegs_ns.splats.mixture_library import MixtureLibrary
from moegs_ns.splats.native_build import find_compiler

#: Kinds of `built_library`.
KINDS = ("host", "emulated")
_FOLDER = TemporaryDirectory()  # until the process ends
_EMULATION = Path(__file__).resolve().parent / "cuda_on_cpu"
_COMMON = ("-std=c++17", "-O2", "-fPIC", "-shared")


def compile_for_cpu(kind: str, output: Path, extra_flags: Sequence[str] = ()) -> Path:
    """Compiles a library into ``output``; skips the test where there is no C++ compiler."""
    try:
        compiler = find_compiler()
    except NativeBuildError as error:
        pytest.skip(str(error))
    if kind == "host":
        command = [*compiler, str(resource_dir("cuda") / "mixture_host.cpp")]
    else:
        unit = str(resource_dir("cuda") / "mixture_cuda.cu")
        command = [*compiler, f"-I{_EMULATION}", "-x", "c++", unit, "-x", "none"]
    failure = run_compiler([*command, *_COMMON, *extra_flags, "-o", str(output)])
    assert failure is None, failure
    return output


@cache
def built_library(kind: str) -> MixtureLibrary:
    """The library of that kind, compiled once per process."""
    library = MixtureLibrary(str(compile_for_cpu(kind, Path(_FOLDER.name) / f"mixture_{kind}.so")))
    library.device_type = "cpu"
    return library
