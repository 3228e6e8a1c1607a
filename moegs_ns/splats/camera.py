"""The one conversion between nerfstudio's cameras and the rasterizer's.

nerfstudio stores camera-to-world in OpenGL axes (x right, y up, z towards the viewer); the rasterizer works with
world-to-camera in OpenCV axes (x right, y down, z forward), as gsplat does.
"""

from __future__ import annotations

import torch
from torch import Tensor


def viewmat_from_camera_to_world(camera_to_world: Tensor) -> Tensor:
    """World-to-camera matrix of a nerfstudio pose.

    Args:
        camera_to_world: [3, 4] or [4, 4], OpenGL axes, rotation part orthonormal (it is inverted by transposition).

    Returns:
        [4, 4] world-to-camera in OpenCV axes.

    Raises:
        ValueError: the shape is neither of the two; take one camera of a batch first.
    """
    if tuple(camera_to_world.shape) not in ((3, 4), (4, 4)):
        raise ValueError(
            f"camera_to_world: expected shape [3, 4] or [4, 4] of one camera, found {list(camera_to_world.shape)}"
        )
    flip_y_and_z = camera_to_world.new_tensor([1.0, -1.0, -1.0])
    rotation = (camera_to_world[:3, :3] * flip_y_and_z).T
    translation = -rotation @ camera_to_world[:3, 3:]
    last_row = camera_to_world.new_tensor([[0.0, 0.0, 0.0, 1.0]])
    return torch.cat([torch.cat([rotation, translation], dim=1), last_row])


def camera_position(viewmat: Tensor) -> Tensor:
    """World position [3] of the camera with world-to-camera matrix ``viewmat`` [4, 4]."""
    return -viewmat[:3, :3].T @ viewmat[:3, 3]
