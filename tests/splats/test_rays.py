"""Rays against nerfstudio's own."""

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from moegs_ns.splats.camera import viewmat_from_camera_to_world
from moegs_ns.splats.rays import ray_image
from tests.router.building import make_camera


@pytest.mark.parametrize(("width", "height"), [(37, 26), (1, 3)])
def test_equal_nerfstudios_rays(width: int, height: int) -> None:
    camera: Cameras = make_camera(width=width, height=height)
    assert abs(float(camera.cx) - width / 2) > 0.05 and float(camera.fx) != float(camera.fy)
    viewmat = viewmat_from_camera_to_world(camera.camera_to_worlds[0])
    image = ray_image(viewmat, camera.get_intrinsics_matrices()[0], width, height)
    bundle = camera.generate_rays(camera_indices=0)
    torch.testing.assert_close(image[:3].permute(1, 2, 0), bundle.origins, atol=1e-5, rtol=0)
    torch.testing.assert_close(image[3:].permute(1, 2, 0), bundle.directions, atol=1e-5, rtol=0)
    torch.testing.assert_close(image[3:].norm(dim=0), torch.ones(height, width))
