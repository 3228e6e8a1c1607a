"""New viewers stand at a camera of the scene and look at the scene."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

from moegs_ns.viewer.start_view import StartView


def row_of_cameras(height: int = 30) -> Cameras:
    """Three cameras in a row at z = 4 that look along -z, with y up and 90 degrees of vertical view."""
    poses = torch.eye(4)[None, :3].repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([-1.0, 0.2, 1.0])
    poses[:, 2, 3] = 4.0
    return Cameras(
        camera_to_worlds=poses, fx=height / 2, fy=height / 2, cx=20.0, cy=height / 2, width=40, height=height
    )


def client() -> SimpleNamespace:
    return SimpleNamespace(atomic=nullcontext, camera=SimpleNamespace())


def test_the_view_is_that_of_the_central_camera_at_the_scenes_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    wall = torch.rand(500, 3, generator=generator) * torch.tensor([2.0, 2.0, 0.0]) - torch.tensor([1.0, 1.0, 3.0])
    behind = torch.tensor([[0.0, 0.0, 50.0]]).repeat(2000, 1)
    view = StartView(row_of_cameras(), torch.cat([wall, behind]))
    np.testing.assert_allclose(view.position, [0.2, 0.0, 4.0], atol=1e-6)
    np.testing.assert_allclose(view.look_at, [0.2, 0.0, -3.0], atol=1e-6)
    np.testing.assert_allclose(view.up, [0.0, 1.0, 0.0], atol=1e-6)
    assert view.field_of_view == pytest.approx(np.pi / 2)


@pytest.mark.parametrize("points", [None, torch.zeros(0, 3), torch.tensor([[0.0, 0.0, 9.0]])])
def test_without_points_in_view_the_given_distance_counts(points: torch.Tensor | None) -> None:
    np.testing.assert_allclose(StartView(row_of_cameras(), points, 2.5).look_at, [0.2, 0.0, 1.5], atol=1e-6)


def test_a_client_is_moved_there_in_the_viewers_units() -> None:
    view, someone = StartView(row_of_cameras(), None, 1.0), client()
    view.place(someone)
    np.testing.assert_allclose(someone.camera.position, VISER_NERFSTUDIO_SCALE_RATIO * np.array([0.2, 0.0, 4.0]))
    np.testing.assert_allclose(someone.camera.look_at, VISER_NERFSTUDIO_SCALE_RATIO * np.array([0.2, 0.0, 3.0]))
    assert someone.camera.fov == view.field_of_view


def test_every_new_client_is_placed() -> None:
    view = StartView(row_of_cameras())
    placed: list = []
    server = SimpleNamespace(on_client_connect=placed.append)
    view._setup(SimpleNamespace(viser_server=server, config=SimpleNamespace(camera_frustum_scale=0.1)))
    assert placed == [view.place]
    view.place(someone := client())
    # In front of the camera's own frustum, whose photograph would fill the window; still looking the same way.
    np.testing.assert_allclose(someone.camera.position, [2.0, 0.0, 40.0 - 0.3], atol=1e-5)
    np.testing.assert_allclose(someone.camera.look_at, [2.0, 0.0, 30.0], atol=1e-5)
