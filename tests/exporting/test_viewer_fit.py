"""Experts with a blur of their own look in viewers as they do at home, from where they were recorded."""

from dataclasses import replace

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from moegs_ns.exporting.frame_gaussians import Selection, frame_gaussians
from moegs_ns.exporting.viewer_fit import drawn_alike, fit_to_viewers
from moegs_ns.exporting.viewpoints import Viewpoint, spread_viewpoints
from moegs_ns.reporting.export_losses import viewer_picture
from moegs_ns.reporting.metrics import psnr
from moegs_ns.splats.projection import VIEWER_SETTINGS, ProjectionSettings
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.splats.sh import view_colors
from moegs_ns.splats.splats import Splats, sh_of
from tests.exporting.gaussian_sets import make_camera, make_splats
from tests.router.building import NUM_FRAMES, make_expert
from tests.router.building import make_camera as make_home_camera

MIP = ProjectionSettings(eps2d=0.1, antialiased=True)


def drawn(splats: Splats, settings: ProjectionSettings, angle: float) -> torch.Tensor:
    view = Viewpoint.of(make_camera(angle))
    colors = view_colors(3, splats.means, view.position, sh_of(splats))
    return rasterize(splats, colors, *view, settings=settings).images[0].clamp(0, 1)


def test_a_mip_filter_survives_the_viewer() -> None:
    given = make_splats(400)
    splats = replace(given, scales=0.25 * given.scales)  # about a pixel
    views = [Viewpoint.of(make_camera(angle)) for angle in (0.2, 0.6)]
    own = drawn(splats, MIP, 0.4)  # between the viewpoints
    before = psnr(viewer_picture(splats, make_camera(0.4)), own)
    after = psnr(viewer_picture(fit_to_viewers(splats, MIP, views), make_camera(0.4)), own)
    assert before < 30.0
    assert after > before + 8.0


def test_what_viewers_draw_alike_stays_as_it_is() -> None:
    splats, views = make_splats(20), [Viewpoint.of(make_camera())]
    assert fit_to_viewers(splats, replace(VIEWER_SETTINGS, near=1.0), views) is splats
    assert drawn_alike(ProjectionSettings()) and not drawn_alike(MIP)


def test_what_no_viewpoint_sees_keeps_its_size_and_opacity() -> None:
    given = make_splats(30)
    splats = replace(given, means=given.means + torch.tensor([0.0, 500.0, 0.0]))
    fitted = fit_to_viewers(splats, MIP, [Viewpoint.of(make_camera())])
    assert torch.equal(fitted.opacities, splats.opacities)
    torch.testing.assert_close(fitted.scales, splats.scales)


def test_frames_are_fitted_part_by_part() -> None:
    ex4dgs, stg = make_expert("ex4dgs"), make_expert("stg")
    views = [Viewpoint.of(make_home_camera())]
    for expert, changes in ((ex4dgs, True), (stg, False)):
        (plain,), (fitted,) = (
            [*frame_gaussians(expert.eval(), [2], NUM_FRAMES, Selection(min_opacity=0.0, viewpoints=given))]
            for given in ((), views)
        )
        assert torch.equal(plain.splats.scales, fitted.splats.scales) is not changes
    own = ex4dgs.get_outputs_for_camera(make_home_camera(0.5))["rgb"]
    pictures = [
        viewer_picture(next(frame_gaussians(ex4dgs, [2], NUM_FRAMES, Selection(viewpoints=given))).splats, camera)
        for given, camera in (((), make_home_camera()), (views, make_home_camera()))
    ]
    assert psnr(pictures[1], own) > psnr(pictures[0], own) + 3.0


def cameras_at(*angles: float) -> Cameras:
    """One camera per image, as a split has them."""
    poses = torch.cat([make_camera(angle).camera_to_worlds for angle in angles])
    return Cameras(camera_to_worlds=poses, fx=60.0, fy=62.0, cx=30.0, cy=25.0, width=64, height=48)


def test_viewpoints_are_different_poses() -> None:
    cameras = cameras_at(0.1, 0.1, 0.2, 0.3, 0.3, 0.5)
    found = spread_viewpoints(cameras, 10)
    assert len(found) == 4
    few = spread_viewpoints(cameras, 2)
    assert torch.equal(few[0].viewmat, found[0].viewmat) and torch.equal(few[1].viewmat, found[-1].viewmat)
    torch.testing.assert_close(found[1].position, cameras.camera_to_worlds[2, :, 3], atol=1e-5, rtol=0)


@pytest.mark.parametrize("most", [1, 3])
def test_a_still_camera_is_one_viewpoint(most: int) -> None:
    assert len(spread_viewpoints(cameras_at(0.2, 0.2, 0.2, 0.2), most)) == 1
