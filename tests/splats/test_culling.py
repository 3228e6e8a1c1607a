"""What is left out of a view is never what the rasterizer would have shown."""

import math
from dataclasses import replace

import pytest
import torch

from moegs_ns.splats.conventions import GSPLAT_1_5
from moegs_ns.splats.culling import may_show
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import rasterize
from tests.splats.random_scenes import ANTIALIASED, CLASSIC, Scene, hard_cases, random_scene

DEPTHS = ProjectionSettings(near=3.0, far=5.0, radius_clip=1.0)


def both(scene: Scene, settings: ProjectionSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Which Gaussians may be shown, and which are."""
    camera = scene.viewmat, scene.K, scene.width, scene.height
    shown = rasterize(scene.splats, scene.channels, *camera, settings=settings).visible
    return may_show(scene.splats.means, scene.splats.scales, *camera, settings), shown


@pytest.mark.parametrize(
    "settings",
    [CLASSIC, ANTIALIASED, DEPTHS, replace(CLASSIC, conventions=GSPLAT_1_5)],
    ids=["classic", "antialiased", "depths", "gsplat 1.5"],
)
@pytest.mark.parametrize("scene", [*hard_cases(), random_scene(5, 3000, width=90, height=70)], ids=lambda s: s.name)
def test_all_that_is_shown_may_be_shown(scene, settings, backend, monkeypatch):
    monkeypatch.setenv("MOEGS_RASTER", backend)
    allowed, shown = both(scene, settings)
    assert not (shown & ~allowed).any()


def test_small_gaussians_out_of_view_are_left_out(backend, monkeypatch):
    monkeypatch.setenv("MOEGS_RASTER", backend)
    # Ten pixels left of the image, right in it, behind the camera, and beyond far.
    means = torch.tensor([[-1.6, 0.0, 4.0], [0.1, 0.0, 4.0], [0.1, 0.0, -4.0], [0.1, 0.0, 40.0]])
    camera = torch.eye(4), torch.tensor([[100.0, 0.0, 30.0], [0.0, 100.0, 20.0], [0.0, 0.0, 1.0]]), 60, 40
    settings = replace(CLASSIC, far=30.0)

    def allowed(scale: float) -> list[bool]:
        return may_show(means, torch.full((4, 3), scale), *camera, settings).tolist()

    assert allowed(0.01) == [False, True, False, False]
    reach = 10 / 3 * 4 / 100  # the standard deviation whose triple is ten pixels
    assert allowed(1.1 * reach)[0] and not allowed(0.7 * reach)[0]
    assert math.isclose(reach, 0.1333, rel_tol=1e-3)
