"""Compiles the CPU kernels once per machine and finds them again.

The kernels are one C++17 translation unit with a plain C interface (``cuda/splat_cpu.h``), independent of Python and
torch, so building means one compiler call of about ten seconds. The result lies in
``user_cache_dir()/kernels/<key>/``; the key covers the sources, the compiler, the flags and the processor, so a changed
one of these never meets an old library.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock
from rich.console import Console

from moegs_ns.paths import resource_dir, user_cache_dir

_BASE_FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fPIC", "-shared")
# Tried in turn, the first accepted one is used; none is fine too.
_MACHINE_FLAGS = ("-march=native", "-mcpu=native")
_OPENMP_FLAG = "-fopenmp"
_THREAD_FLAG = "-pthread"  # without OpenMP the kernels start threads themselves
_COMPILERS = ("g++", "clang++", "c++")
_SOURCE = "splat_cpu.cpp"
_LIBRARY = "splat_cpu.so"
_RECORD = "build.json"
_COMPILER_TIMEOUT = 600.0  # seconds
_LOCK_TIMEOUT = 900.0  # seconds; longer than any build


class NativeBuildError(RuntimeError):
    """The kernels could not be compiled; the message holds the reason and the compiler's own words."""


@dataclass(frozen=True)
class Build:
    """A compiled library and how it came about."""

    library: str
    """Path of the shared library."""
    compiler: str
    """First line of the compiler's version."""
    flags: tuple[str, ...]
    """Flags it was compiled with."""
    seconds: float
    """Duration of the compilation."""
    sha256: str
    """Digest of the library, so that a damaged file is noticed before it is loaded."""


def find_compiler() -> list[str]:
    """Command of the C++ compiler: ``$CXX`` when set, else the first of g++, clang++, c++ on the path.

    Raises:
        NativeBuildError: ``$CXX`` names no program, or none of the three is installed.
    """
    chosen = shlex.split(os.environ.get("CXX", ""))
    if chosen:
        if shutil.which(chosen[0]) is None:
            raise NativeBuildError(
                f"expected a C++17 compiler in $CXX, found '{os.environ['CXX']}', which is no program; "
                "correct or unset $CXX"
            )
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
    folder = user_cache_dir() / "kernels" / build_key(compiler)
    build = _read_build(folder)
    if build is not None:
        return build
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder.parent / f"{folder.name}.lock"), timeout=_LOCK_TIMEOUT):
        build = _read_build(folder)  # another process may have finished meanwhile
        if build is not None:
            return build
        Console(stderr=True).print("Compiling the CPU splatting kernels, once for this machine (about 10 seconds) ...")
        return _compile_into(folder, compiler)


def build_key(compiler: Sequence[str]) -> str:
    """Name of the cache folder: a digest of sources, compiler version, flags and processor features."""
    digest = hashlib.sha256()
    parts = [_compiler_version(compiler), repr((_BASE_FLAGS, _MACHINE_FLAGS, _OPENMP_FLAG)), _processor_features()]
    for part in parts:
        digest.update(part.encode() + b"\0")
    for path in kernel_sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


def kernel_sources() -> list[Path]:
    """The translation unit and its headers, sorted by name."""
    folder = resource_dir("cuda")
    sources = sorted([folder / _SOURCE, *folder.glob("cpu_*.h"), folder / "splat_cpu.h"])
    missing = [str(path) for path in sources if not path.is_file()]
    if missing:
        raise NativeBuildError(f"expected the kernel sources {', '.join(missing)}, found no such files; reinstall")
    return sources


def compile_library(output: Path, compiler: Sequence[str], extra_flags: Sequence[str] = ()) -> tuple[str, ...]:
    """Compiles the kernels into ``output`` with this machine's instructions and OpenMP where the compiler has them.

    Args:
        output: path of the shared library to write.
        compiler: command, as ``find_compiler`` returns it.
        extra_flags: appended, so they win over the defaults (for sanitizers).

    Returns:
        The flags used.

    Raises:
        NativeBuildError: the compiler failed; the message ends with its output.
    """
    machine = [flag for flag in _MACHINE_FLAGS if _accepts(compiler, flag)][:1]
    parallel = [_OPENMP_FLAG if _accepts(compiler, _OPENMP_FLAG) else _THREAD_FLAG]
    flags = [*_BASE_FLAGS, *machine, *parallel, *extra_flags]
    failure = _run_compiler(compiler, flags, output)
    if failure is not None and machine:
        # An assembler older than the compiler may not know this processor's newest instructions.
        flags = [*_BASE_FLAGS, *parallel, *extra_flags]
        failure = _run_compiler(compiler, flags, output)
    if failure is not None:
        raise NativeBuildError(f"'{shlex.join([*compiler, *flags])}' could not compile {_SOURCE}:\n{failure}")
    return tuple(flags)


def _compile_into(folder: Path, compiler: Sequence[str]) -> Build:
    """Compiles beside the final place and moves the finished files there in one step each, the record last."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fresh = Path(scratch) / _LIBRARY
        flags = compile_library(fresh, compiler)
        build = Build(
            library=str(folder / _LIBRARY),
            compiler=_compiler_version(compiler).splitlines()[0],
            flags=flags,
            seconds=round(time.perf_counter() - start, 2),
            sha256=hashlib.sha256(fresh.read_bytes()).hexdigest(),
        )
        record = Path(scratch) / _RECORD
        record.write_text(json.dumps(asdict(build), indent=2) + "\n")
        fresh.replace(folder / _LIBRARY)
        record.replace(folder / _RECORD)
    return build


def _read_build(folder: Path) -> Build | None:
    """The build recorded in ``folder`` when it is complete and undamaged, else None."""
    try:
        record = json.loads((folder / _RECORD).read_text())
        build = Build(**{**record, "flags": tuple(record["flags"]), "library": str(folder / _LIBRARY)})
        intact = hashlib.sha256(Path(build.library).read_bytes()).hexdigest() == build.sha256
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return build if intact else None


def _run_compiler(compiler: Sequence[str], flags: Sequence[str], output: Path) -> str | None:
    """None on success, else what went wrong."""
    # The source precedes the flags: libraries among them are resolved for what stands before them.
    command = [*compiler, str(resource_dir("cuda") / _SOURCE), *flags, "-o", str(output)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILER_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if result.returncode == 0 else (result.stderr or result.stdout or f"exit status {result.returncode}")


def _accepts(compiler: Sequence[str], flag: str) -> bool:
    """Whether the compiler can build and link a small library with ``flag``."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "probe.cpp"
        source.write_text('#ifdef _OPENMP\n#include <omp.h>\n#endif\nextern "C" int probe() { return 1; }\n')
        command = [*compiler, str(source), flag, "-fPIC", "-shared", "-o", str(Path(scratch) / "probe.so")]
        try:
            result = subprocess.run(command, capture_output=True, timeout=_COMPILER_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return result.returncode == 0


def _compiler_version(compiler: Sequence[str]) -> str:
    try:
        result = subprocess.run([*compiler, "--version"], capture_output=True, text=True, timeout=60.0, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeBuildError(f"expected '{shlex.join(compiler)} --version' to run, found: {error}") from error
    if result.returncode != 0 or not result.stdout.strip():
        raise NativeBuildError(
            f"expected '{shlex.join(compiler)} --version' to name the compiler, found: {result.stderr.strip()}"
        )
    return result.stdout


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
