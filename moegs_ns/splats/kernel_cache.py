"""The user's cache of compiled kernels: each is compiled once, whoever asks, and found again.

A library lies in ``user_cache_dir()/kernels/<key>/`` beside a record of how it came about. The key is a digest of all
that it is made of.

setup.py imports this module where nothing is installed; hence the imports inside a function.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from moegs_ns.paths import user_cache_dir

_RECORD = "build.json"
_COMPILER_TIMEOUT = 600.0  # seconds
_LOCK_TIMEOUT = 900.0  # seconds; longer than any build


class NativeBuildError(RuntimeError):
    """Kernels could not be compiled or loaded; the message holds the reason and the compiler's own words."""


@dataclass(frozen=True)
class Build:
    """A compiled library and how it came about."""

    library: str
    """Path of the shared library."""
    compiler: str
    """Line of the compiler's version."""
    flags: tuple[str, ...]
    """Flags it was compiled with."""
    seconds: float
    """Duration of the compilation."""
    sha256: str
    """Digest of the library, so that a damaged file is noticed before it is loaded."""


def source_key(facts: Sequence[str], sources: Sequence[Path]) -> str:
    """Name of a cache folder: a digest of what a library is compiled with and of its sources, names and contents."""
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(fact.encode() + b"\0")
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


def require_sources(sources: Sequence[Path]) -> list[Path]:
    """The paths, all of which are files.

    Raises:
        NativeBuildError: some are missing.
    """
    missing = [str(path) for path in sources if not path.is_file()]
    if missing:
        raise NativeBuildError(f"expected the kernel sources {', '.join(missing)}, found no such files; reinstall")
    return [*sources]


def cached_library(
    key: str, name: str, compiler: Sequence[str], message: str, compile_to: Callable[[Path], tuple[str, ...]]
) -> Build:
    """The library of that key, compiled when it is not in the cache yet.

    Safe when several processes call it at once: one compiles, the others wait for it.

    Args:
        key: from `source_key`.
        name: of the library's file.
        compiler: command, whose version goes into the record.
        message: shown before compiling.
        compile_to: compiles into a path and returns the flags it used.

    Raises:
        NativeBuildError: from ``compile_to``.
    """
    from filelock import FileLock
    from rich.console import Console

    folder = user_cache_dir() / "kernels" / key
    build = _read_build(folder, name)
    if build is not None:
        return build
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder.parent / f"{folder.name}.lock"), timeout=_LOCK_TIMEOUT):
        build = _read_build(folder, name)  # another process may have finished meanwhile
        if build is not None:
            return build
        Console(stderr=True, emoji=False).print(message)
        return _compile_into(folder, name, compiler, compile_to)


def program_in_environment(variable: str, kind: str) -> list[str]:
    """Command that an environment variable holds, with its options; empty when it is not set.

    Args:
        variable: its name, such as ``CXX``.
        kind: what it should name, for the message.

    Raises:
        NativeBuildError: it names no program.
    """
    chosen = shlex.split(os.environ.get(variable, ""))
    if chosen and shutil.which(chosen[0]) is None:
        raise NativeBuildError(
            f"expected {kind} in ${variable}, found '{os.environ[variable]}', which is no program; correct or unset "
            f"${variable}"
        )
    return chosen


def compiler_version(compiler: Sequence[str]) -> str:
    """What the compiler says of itself.

    Raises:
        NativeBuildError: it does not run, or says nothing.
    """
    try:
        result = subprocess.run([*compiler, "--version"], capture_output=True, text=True, timeout=60.0, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeBuildError(f"expected '{shlex.join(compiler)} --version' to run, found: {error}") from error
    if result.returncode != 0 or not result.stdout.strip():
        raise NativeBuildError(
            f"expected '{shlex.join(compiler)} --version' to name the compiler, found: {result.stderr.strip()}"
        )
    return result.stdout


def run_compiler(command: Sequence[str]) -> str | None:
    """None on success, else what went wrong."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILER_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if result.returncode == 0 else (result.stderr or result.stdout or f"exit status {result.returncode}")


def _compile_into(
    folder: Path, name: str, compiler: Sequence[str], compile_to: Callable[[Path], tuple[str, ...]]
) -> Build:
    """Compiles beside the final place and moves the finished files there in one step each, the record last."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fresh = Path(scratch) / name
        flags = compile_to(fresh)
        build = Build(
            library=str(folder / name),
            compiler=_release(compiler_version(compiler)),
            flags=flags,
            seconds=round(time.perf_counter() - start, 2),
            sha256=hashlib.sha256(fresh.read_bytes()).hexdigest(),
        )
        record = Path(scratch) / _RECORD
        record.write_text(json.dumps(asdict(build), indent=2) + "\n")
        fresh.replace(folder / name)
        record.replace(folder / _RECORD)
    return build


def _release(version: str) -> str:
    """The line that tells releases apart: the first, or of nvcc the one with the word."""
    lines = version.splitlines()
    return next((line for line in lines if "release" in line), lines[0])


def _read_build(folder: Path, name: str) -> Build | None:
    """The build recorded in ``folder`` when it is complete and undamaged, else None."""
    try:
        record = json.loads((folder / _RECORD).read_text())
        build = Build(**{**record, "flags": tuple(record["flags"]), "library": str(folder / name)})
        intact = hashlib.sha256(Path(build.library).read_bytes()).hexdigest() == build.sha256
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return build if intact else None
