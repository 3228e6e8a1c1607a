"""Compiling and caching the native kernels. Quick tests use a compiler that only pretends; slow ones the real one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from moegs_ns.paths import resource_dir
from moegs_ns.splats import native_backend, native_build, native_library
from moegs_ns.splats.native_build import NativeBuildError

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

# Renders forward and backward with the library in $MOEGS_NATIVE_LIBRARY and compares with the float64 twin.
CHECK = """
import os
import signal

import torch
from moegs_ns.splats import native_backend
from tests.splats.comparisons import compare_renderings
from tests.splats.function_cases import compare_all
from tests.splats.random_scenes import hard_cases, random_scene, render

torch.set_num_threads(2)
for scene in [*hard_cases(), random_scene(90, 400, k=2, c=11, width=90, height=70)]:
    compare_renderings(render(scene, "native"), render(scene.to(torch.float64), "torch"), rounding=scene.rounding)
compare_all()
parallel = native_backend.build_info()["parallel"]
if parallel == "threads":  # a forked child lost its parent's helpers and must go on (torch's own operations might not)
    splats, camera = scene.splats, (scene.viewmat, scene.K, scene.width, scene.height)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        native_backend.project(splats.means, splats.quats, splats.scales, *camera, scene.settings[0])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print("all equal with", parallel)
"""


def check_build(folder: Path, flags: list[str], parallel: str, **environment: str) -> None:
    """Compiles the kernels with extra flags and runs ``CHECK`` on them in another process.

    Args:
        folder: for the library.
        flags: appended to the usual ones.
        parallel: the kind of parallelism the build is expected to have.
        environment: further variables of the process.
    """
    try:
        compiler = native_build.find_compiler()
    except NativeBuildError as error:
        pytest.skip(str(error))
    library = folder / "splat_cpu.so"
    native_build.compile_library(library, compiler, flags)
    result = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=ROOT,
        env={**os.environ, "MOEGS_NATIVE_LIBRARY": str(library), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"all equal with {parallel}" in result.stdout
    assert "runtime error" not in result.stderr, result.stderr  # what UBSan says without ending the process


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["x86-64", "x86-64-v3"])
def test_other_instruction_sets_agree_with_the_twin(architecture, tmp_path):
    if os.uname().machine != "x86_64":
        pytest.skip("an x86 instruction set")
    check_build(tmp_path, [f"-march={architecture}"], _parallelism())


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "parallel"), [(["-pthread"], "threads"), (["-DMOEGS_SERIAL"], "serial")])
def test_builds_without_openmp_agree_with_the_twin(flags, parallel, tmp_path):
    check_build(tmp_path, ["-fno-openmp", *flags], parallel)


def _parallelism() -> str:
    try:
        has_openmp = native_build._accepts(native_build.find_compiler(), "-fopenmp")
    except NativeBuildError as error:
        pytest.skip(str(error))
    return "openmp" if has_openmp else "threads"


@pytest.mark.slow
def test_sanitizers_find_nothing(tmp_path):
    """AddressSanitizer and UndefinedBehaviorSanitizer over every hard case, each array its own allocation."""
    _parallelism()  # skips without a compiler
    compiler = native_build.find_compiler()
    runtime = subprocess.run(
        [*compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip(f"'{compiler[0]}' has no shared AddressSanitizer runtime")
    flags = ["-O1", "-g1", "-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-DMOEGS_EXACT_ALLOCATIONS"]
    # Python and torch allocate what they never free; only invalid accesses count.
    check_build(tmp_path, flags, _parallelism(), LD_PRELOAD=runtime, ASAN_OPTIONS="detect_leaks=0")
