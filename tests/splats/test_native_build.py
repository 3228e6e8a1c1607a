"""Compiling and caching the native kernels. Quick tests use a compiler that only pretends; slow ones the real one."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from moegs_ns.paths import resource_dir
from moegs_ns.splats import native_backend, native_build, native_library, native_prebuilt
from moegs_ns.splats.native_build import NativeBuildError
from tests.splats.native_builds import compile_and_compare, has_openmp

ROOT = Path(__file__).resolve().parents[2]

# Knows --version, fails when $FAKE_FAILS is set, else waits a little, writes the output and a line into the log.
FAKE_COMPILER = """#!{python}
import os, sys, time
if "--version" in sys.argv:
    print("fake compiler", os.environ.get("FAKE_VERSION", "1"))
    sys.exit()
output = sys.argv[sys.argv.index("-o") + 1]
probe = any("probe" in argument for argument in sys.argv)
if os.environ.get("FAKE_FAILS") and not probe:
    sys.exit("splat_cpu.cpp:1: error: no such luck")
if "-march=native" in sys.argv and os.environ.get("FAKE_REFUSES_MARCH"):
    sys.exit("unknown argument -march=native" if probe else "assembler: no such instruction")
if not probe:
    time.sleep(0.5)
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write(" ".join(sys.argv[1:]) + "\\n")
with open(output, "w") as library:
    library.write("not really a library")
"""


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty kernel cache."""
    monkeypatch.setenv("MOEGS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


@pytest.fixture
def compilations(cache, tmp_path, monkeypatch) -> Callable[[], list[str]]:
    """Puts the pretending compiler into $CXX; the result lists the compilations so far."""
    compiler, log = tmp_path / "fake-c++", tmp_path / "log"
    compiler.write_text(FAKE_COMPILER.format(python=sys.executable))
    compiler.chmod(0o755)
    log.touch()
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("FAKE_LOG", str(log))
    return lambda: log.read_text().splitlines()


def build_in_another_process() -> subprocess.Popen:
    code = "from moegs_ns.splats.native_build import ensure_library; print(ensure_library().library)"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_built_once_then_found(compilations, cache):
    first = native_build.ensure_library()
    assert Path(first.library).parent.parent == cache
    assert first.compiler == "fake compiler 1"
    assert {"-O3", "-march=native", "-fopenmp"} <= set(first.flags)
    assert native_build.ensure_library() == first
    assert len(compilations()) == 1


def test_two_processes_at_once_compile_once(compilations):
    processes = [build_in_another_process() for _ in range(2)]
    libraries = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(libraries) == 1
    assert Path(libraries.pop()).is_file()
    assert len(compilations()) == 1


@pytest.mark.parametrize("damage", ["truncated library", "missing library", "missing record", "unreadable record"])
def test_a_damaged_cache_is_rebuilt(compilations, damage):
    library = Path(native_build.ensure_library().library)
    record = library.with_name("build.json")
    if damage == "truncated library":
        library.write_bytes(library.read_bytes()[:5])
    elif damage == "missing library":
        library.unlink()
    elif damage == "missing record":
        record.unlink()
    else:
        record.write_text("{")
    rebuilt = native_build.ensure_library()
    assert len(compilations()) == 2
    assert (
        hashlib.sha256(library.read_bytes()).hexdigest() == rebuilt.sha256 == json.loads(record.read_text())["sha256"]
    )


def test_an_interrupted_build_leaves_nothing_to_be_found(compilations, cache, monkeypatch):
    monkeypatch.setenv("FAKE_FAILS", "1")
    with pytest.raises(NativeBuildError):
        native_build.ensure_library()
    assert not list(cache.rglob("*.so"))
    monkeypatch.delenv("FAKE_FAILS")
    assert Path(native_build.ensure_library().library).is_file()


def test_a_changed_source_is_another_library(compilations, tmp_path, monkeypatch):
    sources = tmp_path / "cuda"
    shutil.copytree(resource_dir("cuda"), sources)
    monkeypatch.setattr(native_build, "resource_dir", lambda name: sources)
    before = native_build.ensure_library()
    header = sources / "cpu_frame.h"
    header.write_text(header.read_text() + "\n// changed\n")
    after = native_build.ensure_library()
    assert Path(after.library).parent != Path(before.library).parent
    assert len(compilations()) == 2


def test_the_key_depends_on_compiler_and_processor(compilations, monkeypatch):
    compiler = native_build.find_compiler()
    keys = {native_build.build_key(compiler)}
    monkeypatch.setenv("FAKE_VERSION", "2")
    keys.add(native_build.build_key(compiler))
    monkeypatch.setattr(native_build, "_processor_features", lambda: "avx1024")
    keys.add(native_build.build_key(compiler))
    assert len(keys) == 3


def test_a_compiler_without_march_native_builds_for_any_machine(compilations, monkeypatch):
    monkeypatch.setenv("FAKE_REFUSES_MARCH", "1")
    monkeypatch.setattr(native_build, "_MACHINE_FLAGS", ("-march=native",))
    assert "-march=native" not in native_build.ensure_library().flags
    # The compiler takes the flag, but its assembler does not know the instructions.
    monkeypatch.setattr(native_build, "_accepts", lambda compiler, flag: True)
    monkeypatch.setenv("FAKE_VERSION", "2")
    assert "-march=native" not in native_build.ensure_library().flags


def test_what_the_compiler_says_is_passed_on(compilations, monkeypatch):
    monkeypatch.setenv("FAKE_FAILS", "1")
    with pytest.raises(NativeBuildError, match="no such luck"):
        native_build.ensure_library()


def test_no_compiler(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NativeBuildError, match="expected a C\\+\\+17 compiler, found none of g\\+\\+"):
        native_build.ensure_library()


def test_a_compiler_that_does_not_exist(cache, monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/c++ -x")
    with pytest.raises(NativeBuildError, match=r"\$CXX, found '/nowhere/c\+\+ -x'"):
        native_build.ensure_library()


@pytest.fixture
def unloaded(monkeypatch) -> None:
    """The backend as in a process that has not used it yet."""
    for name in ("library", "info", "failure"):
        monkeypatch.setattr(native_library._Loaded, name, None)


def test_without_a_compiler_the_backend_says_so(cache, unloaded, tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("MOEGS_NATIVE_LIBRARY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not native_backend.available()
    assert "expected a C++17 compiler" in native_backend.unavailable_reason()
    with pytest.raises(NativeBuildError):
        native_backend.build_info()


def test_something_else_in_place_of_the_library(unloaded, tmp_path, monkeypatch):
    library = tmp_path / "splat_cpu.so"
    library.write_text("not really a library")
    monkeypatch.setenv("MOEGS_NATIVE_LIBRARY", str(library))
    assert "does not load" in native_backend.unavailable_reason()


def test_build_info():
    if not native_backend.available():
        pytest.skip(f"no native kernels: {native_backend.unavailable_reason()}")
    info = native_backend.build_info()
    assert Path(info["library"]).is_file()
    assert info["vector_width"] in (4, 8, 16)
    assert info["parallel"] in ("openmp", "threads", "serial")


# --- with the real compiler --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("level", "vector_width"), [("x86-64", 4), ("x86-64-v3", 8), ("x86-64-v4", 16)])
def test_prebuilt_levels_agree_with_the_twin(level, vector_width, tmp_path):
    """What a wheel carries, compiled as setup.py does; a level above this processor's is left out."""
    if not native_prebuilt.runs_on_this_platform():
        pytest.skip("kernels are prebuilt for x86-64 Linux only")
    missing = native_prebuilt.missing_flags(level, native_prebuilt.processor_flags())
    if missing:
        pytest.skip(f"this processor has no {', '.join(missing)}")
    parallel = "openmp" if has_openmp() else "threads"
    assert compile_and_compare(tmp_path, [], level, OMP_WAIT_POLICY="active") == f"{parallel} {vector_width}"


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "parallel"), [(["-pthread"], "threads"), (["-DMOEGS_SERIAL"], "serial")])
def test_builds_without_openmp_agree_with_the_twin(flags, parallel, tmp_path):
    assert compile_and_compare(tmp_path, ["-fno-openmp", *flags]).split()[0] == parallel
