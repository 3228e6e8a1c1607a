"""gsplat's CUDA kernels against the twin. Needs a GPU; ``test_gsplat_path`` runs the same Python without one."""

from __future__ import annotations

import pytest
import torch

from moegs_ns.splats.conventions import conventions_of_gsplat
from moegs_ns.splats.rasterize import resolve_backend
from tests.splats.random_scenes import compare_renderings, hard_cases, random_scene, render

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SCENES = [*hard_cases(), random_scene(90, 2000, k=3, c=7, width=130, height=100, pixels=(0.5, 6.0))]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_kernels_equal_the_twin(scene):
    import gsplat

    actual = render(scene.to("cuda"), "cuda")
    expected = render(scene.under(conventions_of_gsplat(gsplat.__version__)).to(torch.float64), "torch")
    # The kernels are compiled with fast math and add gradients in random order.
    compare_renderings(actual, expected, tolerance=2e-5, gradient_tolerance=1e-3, rounding=scene.rounding)


@pytest.mark.parametrize("seed", [1, 2])
def test_one_pass_equals_single_passes(seed):
    scene = random_scene(seed, 500, k=4, c=7, width=130, height=100).to("cuda")
    together = render(scene, "cuda")
    for expert in range(4):
        alone = render(scene.expert(expert), "cuda")
        for name in ("images", "alphas", "depths"):
            assert torch.equal(getattr(together.result, name)[expert], getattr(alone.result, name)[0]), name


def test_cuda_tensors_resolve_to_gsplat():
    assert resolve_backend("cuda") == "gsplat"
