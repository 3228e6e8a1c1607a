import pytest
import torch

from moegs_ns.splats.camera import camera_position, viewmat_from_camera_to_world


def pose(*, position=(1.0, -2.0, 3.0)) -> torch.Tensor:
    """An OpenGL camera-to-world pose turned by a random orthonormal matrix. [4, 4] float64."""
    generator = torch.Generator().manual_seed(0)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    camera_to_world = torch.eye(4, dtype=torch.float64)
    camera_to_world[:3, :3] = rotation * torch.sign(torch.linalg.det(rotation))
    camera_to_world[:3, 3] = torch.tensor(position)
    return camera_to_world


@pytest.mark.parametrize("rows", [3, 4])
def test_axes(rows):
    camera_to_world = pose()
    viewmat = viewmat_from_camera_to_world(camera_to_world[:rows])
    right, up, back = camera_to_world[:3, :3].unbind(dim=1)
    position = camera_to_world[:3, 3]
    # One unit to the right, up and ahead of the camera: OpenCV sees it at (1, -1, 1).
    point = torch.cat([position + right + up - back, torch.ones(1, dtype=torch.float64)])
    torch.testing.assert_close(viewmat @ point, torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64))


def test_it_inverts_the_pose():
    camera_to_world = pose()
    opencv_to_opengl = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    product = viewmat_from_camera_to_world(camera_to_world) @ (camera_to_world @ opencv_to_opengl)
    torch.testing.assert_close(product, torch.eye(4, dtype=torch.float64))


def test_camera_position():
    viewmat = viewmat_from_camera_to_world(pose(position=(0.5, 4.0, -7.0)))
    torch.testing.assert_close(camera_position(viewmat), torch.tensor([0.5, 4.0, -7.0], dtype=torch.float64))


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 3), (2, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="camera_to_world: expected shape"):
        viewmat_from_camera_to_world(torch.zeros(shape))
