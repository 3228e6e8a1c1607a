"""From where a scene is best seen first: its most central camera, upright."""

import math
from dataclasses import dataclass, replace

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor


@dataclass(frozen=True, eq=False)
class StartPlace:
    """A view.

    Attributes:
        position: ``[3]`` float64, of the camera.
        look_at: ``[3]`` what it looks at, around which to turn.
        up: ``[3]`` unit.
        field_of_view: from bottom to top, in radians.
        aspect: width by height.
    """

    position: Tensor
    look_at: Tensor
    up: Tensor
    field_of_view: float
    aspect: float

    def turned(self, rotation: Tensor) -> "StartPlace":
        """The same view in a world turned by ``rotation [3,3]``: ``x' = rotation @ x``."""
        turn = rotation.to(self.position)
        return replace(self, position=turn @ self.position, look_at=turn @ self.look_at, up=turn @ self.up)


def start_place(cameras: Cameras, points: Tensor | None = None, default_distance: float = 1.0) -> StartPlace:
    """The most central camera, turning around what it looks at, with one up for the whole rig.

    Args:
        cameras: N cameras of the scene, N > 0.
        points: ``[M,3]`` points of the scene, to know how far away it is; None or empty if there are none.
        default_distance: of the scene where no point lies before the camera, in world units.
    """
    poses = cameras.camera_to_worlds.cpu().double()
    centres = poses[:, :, 3]
    index = int((centres - centres.mean(dim=0)).norm(dim=1).argmin())
    forward = -poses[index, :, 2]  # OpenGL cameras look along -z
    look_at = centres[index] + _distance(centres[index], forward, points, default_distance) * forward
    # One up for the whole rig: orbiting stays level although single cameras are tilted.
    up = poses[:, :, 1].mean(dim=0)
    up = up / up.norm() if up.norm() > 0.1 else poses[index, :, 1]
    height, focal = float(cameras.height[index]), float(cameras.fy[index])
    return StartPlace(
        centres[index], look_at, up, 2 * math.atan(height / 2 / focal), float(cameras.width[index]) / height
    )


def _distance(centre: Tensor, forward: Tensor, points: Tensor | None, default: float) -> float:
    """Median distance along the view of the points in the middle of it."""
    if points is None or len(points) == 0:
        return default
    offsets = points.cpu().double() - centre
    along = offsets @ forward
    aside = (offsets - along[:, None] * forward).norm(dim=1)
    seen = along[(along > 0) & (aside < 0.25 * along)]
    return float(seen.median()) if torch.numel(seen) else default
