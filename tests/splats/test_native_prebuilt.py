"""Which of the kernels a wheel carries is chosen, by processor, by request, and when they are not what they should be.

Levels are played by copies of one library that runs here; that the real ones compute the same is tested in
``test_native_build``, that a wheel holds them in ``tests/packaging``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from moegs_ns.splats import native_backend, native_library, native_prebuilt
from moegs_ns.splats.native_prebuilt import LEVELS, best_level, missing_flags, processor_flags

# As /proc/cpuinfo lists them, shortened to what matters and a few that do not.
NEHALEM = "fpu sse sse2 ht lm pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm"
IVY_BRIDGE = f"{NEHALEM} aes xsave avx f16c rdrand"
HASWELL = f"{IVY_BRIDGE} fma movbe abm bmi1 avx2 bmi2 erms"
ZEN_3 = f"{HASWELL} sse4a clwb sha_ni vaes"
KNIGHTS_LANDING = f"{HASWELL} avx512f avx512pf avx512er avx512cd"
SKYLAKE_SERVER = f"{HASWELL} avx512f avx512dq avx512cd avx512bw avx512vl"
ZEN_5 = f"{SKYLAKE_SERVER} avx512_bf16 avx512_vp2intersect avx_vnni"


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("", "x86-64"),
        (NEHALEM, "x86-64"),
        (IVY_BRIDGE, "x86-64"),
        (HASWELL, "x86-64-v3"),
        (HASWELL.replace("fma ", ""), "x86-64"),
        (HASWELL.replace("xsave ", ""), "x86-64"),
        (ZEN_3, "x86-64-v3"),
        (KNIGHTS_LANDING, "x86-64-v3"),
        (SKYLAKE_SERVER, "x86-64-v4"),
        (SKYLAKE_SERVER.replace("avx512vl", ""), "x86-64-v3"),
        (SKYLAKE_SERVER.replace("movbe", ""), "x86-64"),
        (ZEN_5, "x86-64-v4"),
    ],
)
def test_the_level_follows_the_processors_flags(flags, level):
    assert best_level(flags.split()) == level


def test_the_best_of_those_that_are_there():
    assert best_level(ZEN_5.split(), ["x86-64", "x86-64-v3"]) == "x86-64-v3"
    assert best_level(NEHALEM.split(), ["x86-64-v4", "x86-64-v3"]) == "x86-64-v3", "refused later, with a reason"


def test_flags_of_this_processor():
    if not native_prebuilt.runs_on_this_platform():
        pytest.skip("not Linux on x86-64")
    assert {"sse2", "lm"} <= processor_flags()


@pytest.fixture
def carried(tmp_path, monkeypatch) -> Path:
    """An installation with kernels of every level, in a process that has not loaded any, on a ``ZEN_5``."""
    if not native_backend.available():
        pytest.skip(f"no native kernels: {native_backend.unavailable_reason()}")
    library = native_backend.build_info()["library"]
    monkeypatch.delenv("MOEGS_NATIVE_LIBRARY", raising=False)
    monkeypatch.delenv("MOEGS_KERNELS", raising=False)
    for name in ("library", "info", "failure"):
        monkeypatch.setattr(native_library._Loaded, name, None)
    record = {}
    for level in LEVELS:
        copy = tmp_path / f"{level}.so"
        shutil.copyfile(library, copy)
        digest = hashlib.sha256(copy.read_bytes()).hexdigest()
        facts = {"compiler": "a compiler", "flags": [f"-march={level}"], "seconds": 1.0, "sha256": digest}
        record[level] = {"library": copy.name, **facts}
    (tmp_path / "kernels.json").write_text(json.dumps(record))
    monkeypatch.setattr(native_prebuilt, "prebuilt_kernels_dir", lambda: tmp_path)
    on_processor(monkeypatch, ZEN_5)
    return tmp_path


def on_processor(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    for module in (native_prebuilt, native_library):
        monkeypatch.setattr(module, "processor_flags", lambda: frozenset(flags.split()))


def without_compiler(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("MOEGS_CACHE_DIR", str(folder / "cache"))


@pytest.mark.parametrize("flags", [NEHALEM, ZEN_3, ZEN_5], ids=["Nehalem", "Zen 3", "Zen 5"])
def test_the_best_level_is_loaded_and_no_compiler_asked(carried, flags, monkeypatch):
    without_compiler(monkeypatch, carried)
    on_processor(monkeypatch, flags)
    level = best_level(flags.split())
    info = native_backend.build_info()
    assert info["library"] == str(carried / f"{level}.so")
    assert info["flags"] == f"-march={level}"


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_can_be_asked_for(carried, level, monkeypatch):
    monkeypatch.setenv("MOEGS_KERNELS", level.upper())
    assert Path(native_backend.build_info()["library"]).stem == level


def test_a_level_beyond_the_processor_is_refused(carried, monkeypatch):
    on_processor(monkeypatch, HASWELL)
    monkeypatch.setenv("MOEGS_KERNELS", "x86-64-v4")
    assert "found one without avx512f, avx512bw" in native_backend.unavailable_reason()
    assert missing_flags("x86-64-v3", HASWELL.split()) == []


def test_a_level_the_installation_lacks_is_refused(carried, monkeypatch):
    (carried / "x86-64-v3.so").unlink()
    monkeypatch.setenv("MOEGS_KERNELS", "x86-64-v3")
    assert "'x86-64-v3', found x86-64, x86-64-v4 in this installation" in native_backend.unavailable_reason()


def test_an_unknown_request_is_refused(carried, monkeypatch):
    monkeypatch.setenv("MOEGS_KERNELS", "avx512")
    assert "MOEGS_KERNELS as one of auto, compile, x86-64, x86-64-v3" in native_backend.unavailable_reason()


def test_compiling_can_be_asked_for(carried, monkeypatch):
    without_compiler(monkeypatch, carried)
    monkeypatch.setenv("MOEGS_KERNELS", "compile")
    assert "expected a C++17 compiler" in native_backend.unavailable_reason()


@pytest.mark.parametrize("damage", ["another file", "no library at all", "no record", "unreadable record"])
def test_damaged_kernels_are_not_used_silently(carried, damage, monkeypatch):
    """They are compiled instead, with a warning; here there is no compiler either, so that both reasons appear."""
    without_compiler(monkeypatch, carried)
    if damage == "no record":
        (carried / "kernels.json").unlink()
    elif damage == "unreadable record":
        (carried / "kernels.json").write_text("{")
    else:
        (carried / "x86-64-v4.so").write_bytes(b"not really a library")
    if damage == "no library at all":  # the record agrees, but it does not load
        record = json.loads((carried / "kernels.json").read_text())
        record["x86-64-v4"]["sha256"] = hashlib.sha256(b"not really a library").hexdigest()
        (carried / "kernels.json").write_text(json.dumps(record))
    with pytest.warns(RuntimeWarning, match="cannot be used, so they are compiled: expected"):
        reason = native_backend.unavailable_reason()
    assert "expected a C++17 compiler" in reason


def test_a_checkout_carries_none(monkeypatch):
    monkeypatch.setattr(native_prebuilt, "prebuilt_kernels_dir", lambda: Path("/nowhere"))
    assert native_prebuilt.prebuilt_levels() == []
