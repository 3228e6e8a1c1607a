"""The compiler's sanitizers over hard, fuzzed and degenerate scenes: nothing may be reported.

The libraries run in a process of their own, whose Python is told to load the sanitizer's runtime first.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from moegs_ns.splats import native_backend, native_build
from tests.splats.fuzzed_scenes import fuzzed_scene
from tests.splats.native_builds import COMPARE, real_compiler, run_with
from tests.splats.random_scenes import render

# Every kernel against its twin, and what the fuzzed scenes reach beyond that.
FUZZ = """
import torch
from tests.splats.fuzzed_scenes import draw_in_parts, fuzzed_scene
from tests.splats.random_scenes import render

for seed in range(90):
    torch.set_num_threads(1 + seed % 3)
    render(fuzzed_scene(seed), "native", depth=seed % 2 == 0, absgrad=seed % 5 != 0)
    draw_in_parts(fuzzed_scene(seed), "native", depth=seed % 2 == 0)
print("no crash")
"""

# Calls from several Python threads, each with several threads of the kernels: whatever the callers share is touched.
TOGETHER = """
import threading
import torch
from moegs_ns.splats import native_backend
from tests.splats.fuzzed_scenes import fuzzed_scene
from tests.splats.random_scenes import random_scene, render

assert native_backend.build_info()["parallel"] == "threads"
# Threads for the kernels only: of torch's own, whose synchronisation is not instrumented, races would be reported.
torch.set_num_threads(1)
torch.get_num_threads = lambda: 3
scenes = [random_scene(80, 300, k=3, c=4, width=50, height=40), random_scene(81, 200, k=2, c=11, width=40, height=30)]


def work(index):
    for repeat in range(4):
        render(scenes[(index + repeat) % 2], "native")
        render(fuzzed_scene(10 * index + repeat), "native")


workers = [threading.Thread(target=work, args=(index,)) for index in range(3)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print("no crash")
"""


def runtime_library(name: str) -> str:
    """Path of a sanitizer's shared runtime; without one the test is skipped."""
    command = [*real_compiler(), f"-print-file-name={name}"]
    path = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    if not path.is_file():
        pytest.skip(f"'{command[0]}' has no shared {name}")
    return str(path)


@pytest.mark.parametrize("seed", range(30))
def test_fuzzed_scenes_stay_within_range(seed):
    """Without sanitizers: alphas in [0, 1], finite images, and every gradient of the right shape."""
    if not native_backend.available():
        pytest.skip(f"no native kernels: {native_backend.unavailable_reason()}")
    scene = fuzzed_scene(seed)
    rendered = render(scene, "native", depth=False)
    assert torch.isfinite(rendered.result.images).all()
    assert 0.0 <= float(rendered.result.alphas.detach().min()) <= float(rendered.result.alphas.detach().max()) <= 1.0
    assert rendered.gradients["means"].shape == scene.splats.means.shape


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AddressSanitizer and UndefinedBehaviorSanitizer, each array its own allocation of its own size."""
    library = tmp_path_factory.mktemp("sanitized") / "splat_cpu.so"
    flags = ["-O1", "-g1", "-fsanitize=address,undefined,float-cast-overflow", "-fno-omit-frame-pointer"]
    native_build.compile_library(library, real_compiler(), [*flags, "-DMOEGS_EXACT_ALLOCATIONS"])
    return library


@pytest.mark.slow
@pytest.mark.parametrize("program", [COMPARE, FUZZ], ids=["against the twin", "fuzzed"])
def test_no_invalid_access_and_no_undefined_behaviour(program, sanitized):
    # Python and torch allocate what they never free; only invalid accesses count.
    options = {"LD_PRELOAD": runtime_library("libasan.so"), "ASAN_OPTIONS": "detect_leaks=0"}
    result = run_with(sanitized, program, timeout=600, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "runtime error" not in result.stderr, result.stderr  # what UBSan says without ending the process
    assert "Sanitizer" not in result.stderr, result.stderr


@pytest.mark.slow
def test_no_data_race(tmp_path):
    """ThreadSanitizer over the build with threads of its own. (OpenMP's runtime is not instrumented: TSan cannot see
    how it synchronises and would report every loop. The tasks are the same.)"""
    library = tmp_path / "splat_cpu.so"
    flags = ["-fno-openmp", "-pthread", "-O1", "-g1", "-fsanitize=thread", "-fno-omit-frame-pointer"]
    native_build.compile_library(library, real_compiler(), flags)
    result = run_with(library, TOGETHER, timeout=600, LD_PRELOAD=runtime_library("libtsan.so"))
    skip_without_tsan(result)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "ThreadSanitizer" not in result.stderr, result.stderr


def skip_without_tsan(result: subprocess.CompletedProcess[str]) -> None:
    if "unexpected memory mapping" in result.stderr:
        pytest.skip("ThreadSanitizer's runtime does not start under this system's address randomisation")


READ_BEHIND_THE_END = """
#include <cstdlib>
extern "C" int fault() {
    int *numbers = (int *)calloc(4, sizeof(int));
    volatile int end = 4;
    const int read = numbers[end];
    free(numbers);
    return read;
}
"""
UNGUARDED_COUNTER = """
#include <thread>
extern "C" int fault() {
    int count = 0;
    std::thread other([&] { for (int i = 0; i < 1000; ++i) ++count; });
    for (int i = 0; i < 1000; ++i) ++count;
    other.join();
    return count;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "sanitizer", "runtime", "report"),
    [
        (READ_BEHIND_THE_END, "address", "libasan.so", "heap-buffer-overflow"),
        (UNGUARDED_COUNTER, "thread", "libtsan.so", "data race"),
    ],
    ids=["address", "thread"],
)
def test_the_sanitizers_would_report(source, sanitizer, runtime, report, tmp_path):
    """The same way of running, on libraries with a fault."""
    file, library = tmp_path / "faulty.cpp", tmp_path / "faulty.so"
    file.write_text(source)
    flags = [f"-fsanitize={sanitizer}", "-g1", "-pthread", "-fPIC", "-shared"]
    subprocess.run([*real_compiler(), str(file), *flags, "-o", str(library)], check=True)
    options = {"LD_PRELOAD": runtime_library(runtime), "ASAN_OPTIONS": "detect_leaks=0"}
    result = run_with(library, f"import ctypes; ctypes.CDLL({str(library)!r}).fault()", **options)
    skip_without_tsan(result)
    assert result.returncode != 0
    assert report in result.stderr
