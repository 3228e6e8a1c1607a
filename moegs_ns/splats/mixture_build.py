"""Compiles the kernels of fused inference (``cuda/mixture_cuda.cu``) with nvcc, once per kind of GPU.

They have a plain C interface (``cuda/mixture.h``) and include neither torch nor Python: one call of nvcc, some seconds.
No GPU is needed for compiling.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from moegs_ns.paths import resource_dir
from moegs_ns.splats.kernel_cache import (
    Build,
    NativeBuildError,
    cached_library,
    compiler_version,
    program_in_environment,
    require_sources,
    run_compiler,
    source_key,
)

_FLAGS = ("-std=c++17", "-O3", "-Xcompiler=-fPIC", "-shared")
_SOURCE = "mixture_cuda.cu"
_LIBRARY = "mixture_cuda.so"
_USUAL_HOME = "/usr/local/cuda"


def find_nvcc() -> list[str]:
    """Command of the CUDA compiler: ``$NVCC`` when set, else that of ``$CUDA_HOME``, else nvcc on the path, else the
    one in its usual place.

    Raises:
        NativeBuildError: ``$NVCC`` names no program, or there is none in these places.
    """
    chosen = program_in_environment("NVCC", "the CUDA compiler")
    if chosen:
        return chosen
    home = os.environ.get("CUDA_HOME")
    candidates = [*([f"{home}/bin/nvcc"] if home else []), "nvcc", f"{_USUAL_HOME}/bin/nvcc"]
    for candidate in candidates:
        path = shutil.which(candidate)
        if path is not None:
            return [path]
    raise NativeBuildError(
        f"expected the CUDA compiler, found none of {', '.join(candidates)}; install the CUDA toolkit, or name its "
        "nvcc in $NVCC"
    )


def ensure_mixture_library(architecture: str) -> Build:
    """The compiled kernels for one kind of GPU, compiling them when they are not in the cache yet.

    Args:
        architecture: as nvcc names it, ``sm_90`` for compute capability 9.0.

    Raises:
        NativeBuildError: no nvcc, or it failed: perhaps it does not know this architecture.
    """
    nvcc = find_nvcc()
    return cached_library(
        mixture_key(nvcc, architecture),
        _LIBRARY,
        nvcc,
        f"Compiling the CUDA kernels of fused inference for {architecture}, once (about 10 seconds) ...",
        lambda output: compile_mixture_library(output, nvcc, architecture),
    )


def mixture_key(nvcc: Sequence[str], architecture: str) -> str:
    """Name of the cache folder: a digest of sources, compiler version, flags and architecture."""
    return source_key([compiler_version(nvcc), repr(_FLAGS), architecture], mixture_sources())


def mixture_sources(unit: str = _SOURCE) -> list[Path]:
    """A translation unit and the headers of fused inference, sorted by name."""
    folder = resource_dir("cuda")
    return require_sources(sorted([folder / unit, folder / "mixture.h", *folder.glob("mixture_*.h")]))


def compile_mixture_library(
    output: Path, nvcc: Sequence[str], architecture: str, extra_flags: Sequence[str] = ()
) -> tuple[str, ...]:
    """Compiles the kernels into ``output``.

    Args:
        output: path of the shared library to write.
        nvcc: command, as `find_nvcc` returns it.
        architecture: as for `ensure_mixture_library`.
        extra_flags: appended.

    Returns:
        The flags used.

    Raises:
        NativeBuildError: nvcc failed; the message ends with its output.
    """
    flags = (*_FLAGS, f"-arch={architecture}", *extra_flags)
    failure = run_compiler([*nvcc, str(resource_dir("cuda") / _SOURCE), *flags, "-o", str(output)])
    if failure is not None:
        raise NativeBuildError(f"'{shlex.join([*nvcc, *flags])}' could not compile {_SOURCE}:\n{failure}")
    return flags
