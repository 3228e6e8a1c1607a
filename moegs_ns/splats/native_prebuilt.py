"""Compiled CPU kernels that travel in a wheel: one library per x86-64 microarchitecture level, and which one fits.

A wheel built on x86-64 Linux with a compiler at hand holds ``moegs_ns/_kernels/<level>.so`` for every level of
``LEVELS`` and a record of how they were compiled; other wheels, and a checkout, hold none. The levels are those of the
x86-64 psABI, which compilers know by the same names.

Imports the standard library and this package only: setup.py runs it where nothing else is installed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from moegs_ns.files import write_json
from moegs_ns.paths import prebuilt_kernels_dir
from moegs_ns.splats.kernel_cache import Build, NativeBuildError, compiler_version
from moegs_ns.splats.native_build import compile_library

# What a level asks for beyond the level before it, as Linux spells it in /proc/cpuinfo (abm stands for lzcnt, pni for
# sse3). Linux leaves out what the processor has but the system does not save on a task switch.
_V2 = ("cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2")
_V3 = ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave")
_V4 = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
LEVELS: dict[str, tuple[str, ...]] = {"x86-64": (), "x86-64-v3": _V2 + _V3, "x86-64-v4": _V2 + _V3 + _V4}
"""Levels with a library of their own, lowest first, and the processor flags each needs."""

_RECORD = "kernels.json"


def runs_on_this_platform() -> bool:
    """Whether prebuilt kernels exist for this kind of machine at all: x86-64 Linux."""
    return sys.platform == "linux" and platform.machine().lower() in ("x86_64", "amd64")


def processor_flags() -> frozenset[str]:
    """What the processor can do, as Linux tells; empty where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            return frozenset(flags.split())
    return frozenset()


def missing_flags(level: str, flags: Collection[str]) -> list[str]:
    """Flags that ``level`` needs and the processor lacks."""
    return [flag for flag in LEVELS[level] if flag not in flags]


def best_level(flags: Collection[str], among: Collection[str] = tuple(LEVELS)) -> str:
    """Highest level of ``among`` that a processor with these flags runs; the lowest of them where it runs none."""
    ordered = [level for level in LEVELS if level in among]
    return [level for level in ordered if level == ordered[0] or not missing_flags(level, flags)][-1]


def prebuilt_levels() -> list[str]:
    """Levels this installation has a library of, lowest first; usually all or none."""
    return [level for level in LEVELS if (prebuilt_kernels_dir() / f"{level}.so").is_file()]


def prebuilt(level: str) -> Build:
    """The library of a level.

    Raises:
        NativeBuildError: this installation has none, it is damaged, or the processor cannot run it.
    """
    if level not in prebuilt_levels():
        raise NativeBuildError(
            f"expected prebuilt CPU kernels '{level}', found {', '.join(prebuilt_levels()) or 'none'} in this "
            "installation; they come with wheels for x86-64 Linux ('make wheel' where a compiler is)"
        )
    missing = missing_flags(level, processor_flags())
    if missing:
        raise NativeBuildError(
            f"expected a processor of level '{level}', found one without {', '.join(missing)}; "
            f"the highest it runs is '{best_level(processor_flags())}'"
        )
    library = prebuilt_kernels_dir() / f"{level}.so"
    try:
        record = json.loads((prebuilt_kernels_dir() / _RECORD).read_text())[level]
        build = Build(**{**record, "flags": tuple(record["flags"]), "library": str(library)})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NativeBuildError(
            f"expected a record of '{library}' in {_RECORD} beside it: {error}; reinstall"
        ) from error
    if hashlib.sha256(library.read_bytes()).hexdigest() != build.sha256:
        raise NativeBuildError(f"expected '{library}' as it was built, found another file; reinstall")
    return build


def compile_levels(folder: Path, compiler: Sequence[str]) -> list[Build]:
    """Compiles a library per level into ``folder``, all at once, and writes the record.

    Raises:
        NativeBuildError: the compiler failed on one of them, such as a compiler that does not know the levels (GCC
            before 11, Clang before 12).
    """
    folder.mkdir(parents=True, exist_ok=True)

    def compile_one(level: str) -> Build:
        library, start = folder / f"{level}.so", time.perf_counter()
        flags = compile_library(library, compiler, architecture=level)
        return Build(
            library=library.name,
            compiler=compiler_version(compiler).splitlines()[0],
            flags=flags,
            seconds=round(time.perf_counter() - start, 2),
            sha256=hashlib.sha256(library.read_bytes()).hexdigest(),
        )

    with ThreadPoolExecutor(len(LEVELS)) as pool:
        builds = dict(zip(LEVELS, pool.map(compile_one, LEVELS), strict=True))
    record = {level: asdict(build) for level, build in builds.items()}
    write_json(folder / _RECORD, record, indent=2)
    return list(builds.values())
