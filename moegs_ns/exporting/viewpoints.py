"""From where a scene was recorded, which is from where exported Gaussians should look right."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.splats.camera import camera_position, viewmat_from_camera_to_world


class Viewpoint(NamedTuple):
    """A camera as the rasterizer knows it."""

    viewmat: Tensor
    """``[4,4]`` OpenCV world-to-camera."""
    intrinsics: Tensor
    """``[3,3]`` in pixels."""
    width: int
    height: int

    @staticmethod
    def of(camera: Cameras, device: torch.device | str = "cpu") -> "Viewpoint":
        """Of a camera of size 1."""
        return Viewpoint(
            viewmat_from_camera_to_world(camera.camera_to_worlds[0].to(device)),
            camera.get_intrinsics_matrices()[0].to(device),
            int(camera.width.item()),
            int(camera.height.item()),
        )

    @property
    def position(self) -> Tensor:
        """``[3]`` in the world."""
        return camera_position(self.viewmat)


def spread_viewpoints(cameras: Cameras, most: int, device: torch.device | str = "cpu") -> list[Viewpoint]:
    """At most ``most`` different poses of a split's cameras, evenly over their order; a still camera has one.

    Args:
        cameras: of a split, one per image.
        most: how many, at least 1.
        device: of the result.
    """
    poses = cameras.camera_to_worlds.reshape(len(cameras), -1)
    _, groups = torch.unique(poses, dim=0, return_inverse=True)
    first: dict[int, int] = {}
    for index, group in enumerate(groups.tolist()):
        first.setdefault(group, index)
    chosen = _evenly([*first.values()], most)
    return [Viewpoint.of(cameras[index : index + 1], device) for index in chosen]


def _evenly(values: Sequence[int], most: int) -> list[int]:
    if len(values) <= most:
        return [*values]
    return [values[round(number * (len(values) - 1) / max(1, most - 1))] for number in range(most)]
