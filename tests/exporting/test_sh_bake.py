"""Features baked into spherical harmonics: exact where they are colours, close where a network makes them."""

import torch

from moegs_ns.exporting.frame_gaussians import frame_gaussians
from moegs_ns.exporting.sh_bake import BakedExpert
from moegs_ns.exporting.viewpoints import Viewpoint
from moegs_ns.reporting.export_losses import viewer_picture
from moegs_ns.reporting.metrics import psnr
from moegs_ns.splats.splats import sh_of
from tests.router.building import NUM_FRAMES, make_camera, make_expert


def views() -> list[Viewpoint]:
    """The test camera, and two that stand a little beside it."""
    found = []
    for shift in (0.0, 0.3, -0.3):
        camera = make_camera(0.5)
        camera.camera_to_worlds[0, 0, 3] += shift
        found.append(Viewpoint.of(camera))
    return found


def loss(baked: BakedExpert, expert) -> float:
    (found,) = frame_gaussians(baked, [2], NUM_FRAMES)
    own = expert.eval().get_outputs_for_camera(make_camera(0.5))["rgb"]
    assert own.std() > 0.05
    return psnr(viewer_picture(found.splats, make_camera()), own)


def test_lite_features_are_colours_already() -> None:
    expert = make_expert("stg", head="lite")
    with torch.no_grad():
        expert.gaussians["features"].clamp_(0.0, 1.0)
    assert loss(BakedExpert(expert, views(), degree=0, steps=0), expert) > 50.0


def test_a_network_is_followed_and_descent_follows_closer() -> None:
    expert = make_expert("stg", head="full")
    fitted = loss(BakedExpert(expert, views(), degree=2, steps=0), expert)
    descended = loss(BakedExpert(expert, views(), degree=2, steps=90), expert)
    assert descended > fitted + 3.0


def test_colours_in_harmonics_are_passed_on() -> None:
    expert = make_expert("stg")
    (baked,), (given,) = (
        [*frame_gaussians(source, [1], NUM_FRAMES)] for source in (BakedExpert(expert, views()), expert)
    )
    assert torch.equal(sh_of(baked.splats), sh_of(given.splats))


def test_a_bake_is_the_same_every_time() -> None:
    expert = make_expert("stg", head="full")
    first, second = (
        next(frame_gaussians(BakedExpert(expert, views(), steps=5), [2], NUM_FRAMES)).splats for _ in range(2)
    )
    assert torch.equal(sh_of(first), sh_of(second))
