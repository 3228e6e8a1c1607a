"""The native kernels give the same bits for any number of threads, and serve several callers at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import torch

from moegs_ns.splats import native_backend
from tests.splats.comparisons import Rendered
from tests.splats.native_builds import ROOT, has_openmp
from tests.splats.random_scenes import ANTIALIASED, CLASSIC, Scene, hard_cases, random_scene, render

if not native_backend.available():
    pytest.skip(f"no native kernels: {native_backend.unavailable_reason()}", allow_module_level=True)

MIXED = random_scene(80, 800, k=3, c=7, width=150, height=110, settings=(CLASSIC, ANTIALIASED, CLASSIC))
WIDE = random_scene(81, 500, k=2, c=11, width=150, height=110)


def assert_same_bits(actual: Rendered, expected: Rendered) -> None:
    assert torch.equal(actual.result.images, expected.result.images)
    assert torch.equal(actual.result.alphas, expected.result.alphas)
    assert actual.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        assert torch.equal(actual.gradients[name], gradient), name


def render_with(threads: int, scene: Scene) -> Rendered:
    torch.set_num_threads(threads)
    return render(scene, "native")


@pytest.mark.parametrize("threads", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("scene", [MIXED, WIDE], ids=["mixed", "wide"])
def test_any_number_of_threads_gives_the_same_bits(scene, threads):
    assert_same_bits(render_with(threads, scene), render_with(1, scene))


RENDER = """
import hashlib, torch
from moegs_ns.splats import native_backend
from tests.splats.random_scenes import random_scene, render

digest = hashlib.sha256()
for threads in (1, 2, 5):
    torch.set_num_threads(threads)
    drawn = render(random_scene(80, 800, k=3, c=7, width=150, height=110), "native")
    for tensor in (drawn.result.images, *drawn.gradients.values()):
        digest.update(tensor.detach().numpy().tobytes())
print(native_backend.build_info()["parallel"], digest.hexdigest())
"""


def test_a_team_of_openmp_gives_the_same_bits_as_threads_of_our_own():
    said = {}
    for policy in ("active", "passive"):
        environment = {**os.environ, "OMP_WAIT_POLICY": policy}
        command = [sys.executable, "-c", RENDER]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said[policy] = done.stdout.split()
    if has_openmp():
        assert [said[policy][0] for policy in ("active", "passive")] == ["openmp", "threads"]
    assert said["active"][1] == said["passive"][1]


@pytest.mark.parametrize("scene", hard_cases(), ids=lambda scene: scene.name)
def test_hard_cases_on_more_threads_than_they_have_work_for(scene):
    assert_same_bits(render_with(5, scene), render_with(1, scene))


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("present", [(0, 1, 2, 3), (0, 1, 3), (2,), (1, 2)])
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
def test_experts_one_after_the_other_are_what_their_rows_are_in_any_order(descending, present, threads):
    """As mixtures lay them each is sorted apart; lists, images and gradients are the same to the last bit."""
    scene = random_scene(82, 500, k=4, c=6, width=150, height=110)
    known = torch.tensor(present, dtype=torch.int32)
    scene = replace(scene, expert_ids=known[scene.expert_ids.long() % len(present)])
    expected = render_with(1, scene)
    order = torch.argsort(scene.expert_ids, stable=True, descending=descending)
    actual = render_with(threads, scene.permuted(order))
    assert torch.equal(actual.result.images, expected.result.images)
    assert torch.equal(actual.result.alphas, expected.result.alphas)
    for name, gradient in expected.gradients.items():
        assert torch.equal(actual.gradients[name], gradient[order]), name


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_run_to_run(threads):
    assert_same_bits(render_with(threads, MIXED), render_with(threads, MIXED))


@pytest.mark.parametrize("callers", [2, 5])
def test_several_callers_at_once(callers):
    """Viewers and trainers: Python threads render different scenes, forward and backward, many times."""
    scenes = [(MIXED, WIDE)[caller % 2] for caller in range(callers)]
    expected = [render_with(2, scene) for scene in scenes]
    start = threading.Barrier(len(scenes))
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            start.wait(timeout=30)
            for _ in range(15):
                assert_same_bits(render(scenes[index], "native"), expected[index])
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(len(scenes))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert not any(worker.is_alive() for worker in workers)
    assert not failures, failures
