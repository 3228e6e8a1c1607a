"""Compiles the CPU kernels once per machine and finds them again.

The kernels are one C++17 translation unit with a plain C interface (``cuda/splat_cpu.h``), independent of Python and
torch, so building means one compiler call of about ten seconds. The key of the result in the cache
(`moegs_ns.splats.kernel_cache`) covers the sources, the compiler, the flags and the processor, so a changed one of
these never meets an old library. Wheels may carry compiled kernels instead: ``native_prebuilt.py``.
"""

from __future__ import annotations

import platform
import shlex
import shutil
import tempfile
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

__all__ = ["Build", "NativeBuildError", "build_key", "compile_library", "ensure_library", "find_compiler"]

_BASE_FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fPIC", "-shared")
# Tried in turn, the first accepted one is used; none is fine too.
_MACHINE_FLAGS = ("-march=native", "-mcpu=native")
_OPENMP_FLAG = "-fopenmp"
_THREAD_FLAG = "-pthread"  # without OpenMP the kernels start threads themselves
_COMPILERS = ("g++", "clang++", "c++")
_SOURCE = "splat_cpu.cpp"
_LIBRARY = "splat_cpu.so"


def find_compiler() -> list[str]:
    """Command of the C++ compiler: ``$CXX`` when set, else the first of g++, clang++, c++ on the path.

    Raises:
        NativeBuildError: ``$CXX`` names no program, or none of the three is installed.
    """
    chosen = program_in_environment("CXX", "a C++17 compiler")
    if chosen:
        return chosen
    for name in _COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return [path]
    raise NativeBuildError(
        f"expected a C++17 compiler, found none of {', '.join(_COMPILERS)} on the path; install one "
        "(Debian, Ubuntu: apt install g++) or name one in $CXX"
    )


def ensure_library() -> Build:
    """Returns the compiled kernels of this machine, compiling them when they are not in the cache yet.

    Safe when several processes call it at once: one compiles, the others wait for it.

    Raises:
        NativeBuildError: no compiler, or it failed.
    """
    compiler = find_compiler()
    return cached_library(
        build_key(compiler),
        _LIBRARY,
        compiler,
        "Compiling the CPU splatting kernels, once for this machine (about 10 seconds) ...",
        lambda output: compile_library(output, compiler),
    )


def build_key(compiler: Sequence[str]) -> str:
    """Name of the cache folder: a digest of sources, compiler version, flags and processor features."""
    flags = repr((_BASE_FLAGS, _MACHINE_FLAGS, _OPENMP_FLAG))
    return source_key([compiler_version(compiler), flags, _processor_features()], kernel_sources())


def kernel_sources() -> list[Path]:
    """The translation unit and its headers, sorted by name."""
    folder = resource_dir("cuda")
    sources = sorted([folder / _SOURCE, *folder.glob("cpu_*.h"), folder / "splat_cpu.h"])
    return require_sources(sources)


def compile_library(
    output: Path, compiler: Sequence[str], extra_flags: Sequence[str] = (), architecture: str | None = None
) -> tuple[str, ...]:
    """Compiles the kernels into ``output`` with this machine's instructions and OpenMP where the compiler has them.

    Args:
        output: path of the shared library to write.
        compiler: command, as ``find_compiler`` returns it.
        extra_flags: appended, so they win over the defaults (for sanitizers).
        architecture: instruction set to compile for, as ``-march`` names it, in place of this machine's.

    Returns:
        The flags used.

    Raises:
        NativeBuildError: the compiler failed; the message ends with its output.
    """
    if architecture is None:
        machine = [flag for flag in _MACHINE_FLAGS if _accepts(compiler, flag)][:1]
    else:
        machine = [f"-march={architecture}"]
    parallel = [_OPENMP_FLAG if _accepts(compiler, _OPENMP_FLAG) else _THREAD_FLAG]
    flags = [*_BASE_FLAGS, *machine, *parallel, *extra_flags]
    failure = _run_compiler(compiler, flags, output)
    if failure is not None and machine and architecture is None:
        # An assembler older than the compiler may not know this processor's newest instructions.
        flags = [*_BASE_FLAGS, *parallel, *extra_flags]
        failure = _run_compiler(compiler, flags, output)
    if failure is not None:
        raise NativeBuildError(f"'{shlex.join([*compiler, *flags])}' could not compile {_SOURCE}:\n{failure}")
    return tuple(flags)


def _run_compiler(compiler: Sequence[str], flags: Sequence[str], output: Path) -> str | None:
    """None on success, else what went wrong."""
    # The source precedes the flags: libraries among them are resolved for what stands before them.
    return run_compiler([*compiler, str(resource_dir("cuda") / _SOURCE), *flags, "-o", str(output)])


def _accepts(compiler: Sequence[str], flag: str) -> bool:
    """Whether the compiler can build and link a small library with ``flag``."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "probe.cpp"
        source.write_text('#ifdef _OPENMP\n#include <omp.h>\n#endif\nextern "C" int probe() { return 1; }\n')
        command = [*compiler, str(source), flag, "-fPIC", "-shared", "-o", str(Path(scratch) / "probe.so")]
        return run_compiler(command) is None


def _processor_features() -> str:
    """What ``-march=native`` depends on: instruction set extensions and model, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    wanted = ("flags", "Features", "cpu family", "model", "vendor_id", "CPU implementer", "CPU part")
    lines: set[str] = set()
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.split(":")[0].strip() in wanted:
                lines.add(line.replace("\t", " "))
    return "\n".join([platform.machine(), platform.processor(), *sorted(lines)])
