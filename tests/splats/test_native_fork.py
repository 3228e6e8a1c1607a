"""Forked children may render, with several threads, whatever their parent's threads were doing at that moment.

In processes of their own: a child that waits for a team of threads it does not have would hang the test run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moegs_ns.splats import native_backend, native_build
from tests.splats.native_builds import has_openmp

ROOT = Path(__file__).resolve().parents[2]

if not native_backend.available():
    pytest.skip(f"no native kernels: {native_backend.unavailable_reason()}", allow_module_level=True)

COMMON = """
import hashlib, os, signal, sys, threading
import torch
from moegs_ns.splats import native_backend, native_library
from tests.splats.random_scenes import random_scene, rasterize_scene, render

torch.set_num_threads(4)
# Few enough pixels and Gaussians that torch's own operations stay with one thread: those would hang in a child.
SCENE = random_scene(70, 400, k=2, c=3, width=60, height=50)


def forward():
    with torch.no_grad():
        return rasterize_scene(SCENE, "native").images


def digest():
    rendered = render(SCENE, "native")  # forward and backward
    tensors = [rendered.result.images.detach(), *(rendered.gradients[name] for name in sorted(rendered.gradients))]
    return hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)).hexdigest()


def in_child(work):
    \"\"\"What `work` returns, a text, in a forked child; a child that hangs is ended by its alarm.\"\"\"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os.write(writer, work().encode())
        os._exit(0)
    os.close(writer)
    status = os.waitpid(child, 0)[1]
    answer = os.read(reader, 1000).decode()
    os.close(reader)
    assert status == 0, f"the child ended with status {status}"
    return answer


parallel = os.environ["EXPECTED_PARALLEL"]
"""

AFTER_A_RENDERING = """
forward()  # now the parent's team is up; its own backward pass comes later, as torch refuses one in a child after it
assert native_backend.build_info()["parallel"] == parallel
from_child = in_child(digest)
assert in_child(lambda: in_child(digest)) == from_child  # a grandchild
assert digest() == from_child, "parent and child differ"
"""

BEFORE_THE_LIBRARY_IS_LOADED = """
torch.rand(1 << 21).exp_()  # torch's team is up, the same runtime's
assert native_library._Loaded.library is None
from_child = in_child(digest)
assert digest() == from_child
"""

WHILE_OTHER_THREADS_RENDER = """
expected = forward()
running = True


def render_on():
    while running:
        forward()


threads = [threading.Thread(target=render_on) for _ in range(3)]
for thread in threads:
    thread.start()
try:
    for _ in range(25):
        assert in_child(lambda: str(torch.equal(forward(), expected))) == "True"
finally:
    running = False
for thread in threads:
    thread.join()
"""

PROGRAMS = {
    "after a rendering": AFTER_A_RENDERING,
    "before the library is loaded": BEFORE_THE_LIBRARY_IS_LOADED,
    "while other threads render": WHILE_OTHER_THREADS_RENDER,
}


def run(program: str, parallel: str, **environment: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", COMMON + program],
        cwd=ROOT,
        env={**os.environ, "EXPECTED_PARALLEL": parallel, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("policy", ["active", "passive"])
def test_a_forked_child_renders(program, policy):
    """Of a parent with an OpenMP team of the kernels, and of one whose kernels leave that to torch."""
    if native_backend.build_info()["parallel"] == "serial":
        pytest.skip("the kernels have one thread here")
    run(PROGRAMS[program], "openmp" if policy == "active" and has_openmp() else "threads", OMP_WAIT_POLICY=policy)


@pytest.fixture(scope="module")
def without_openmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("threads") / "splat_cpu.so"
    native_build.compile_library(library, native_build.find_compiler(), ["-fno-openmp", "-pthread"])
    return library


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_forked_child_renders_without_openmp(program, without_openmp):
    run(PROGRAMS[program], "threads", MOEGS_NATIVE_LIBRARY=str(without_openmp))
