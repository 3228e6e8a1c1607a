"""Which Gaussians a region of the picture shows, and the lines they move along."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.splats.camera import viewmat_from_camera_to_world

#: What is less opaque than this is not there.
VISIBLE = 0.1
# Share of the depth of what is seen: Gaussians nearer or farther than that belong to something else.
_SAME_DEPTH = 0.1


@dataclass(frozen=True)
class Region:
    """A rectangle of the picture, in shares of its width and height from the upper left corner.

    Raises:
        ValueError: it is empty, or not within the picture.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise ValueError(f"expected a rectangle within the picture, found {self}")

    @staticmethod
    def between(corner: Sequence[float], other: Sequence[float]) -> "Region":
        """Of two opposite corners, cut to the picture."""
        (left, right), (top, bottom) = (
            sorted(min(max(float(place), 0.0), 1.0) for place in axis) for axis in zip(corner, other, strict=True)
        )
        return Region(left, top, right, bottom)


MIDDLE = Region(0.35, 0.35, 0.65, 0.65)


def seen_in(region: Region, camera: Cameras, means: Tensor, opacities: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """The Gaussians whose centres a region shows.

    Args:
        region: of the camera's picture.
        camera: of size 1.
        means: ``[N,3]``.
        opacities: ``[N]``.
        depth: ``[H,W]`` z-depth of what the picture shows; centres far before or behind that are not meant.

    Returns:
        Which ``[n]``, and the pixel (row, column) of each ``[n,2]``.
    """
    viewmat = viewmat_from_camera_to_world(camera.camera_to_worlds[0].to(means))
    intrinsics = camera.get_intrinsics_matrices()[0].to(means)
    inside = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    distances = inside[:, 2]
    places = (inside @ intrinsics.T)[:, :2] / distances[:, None].clamp_min(1e-6)
    height, width = depth.shape
    x, y = places[:, 0] / width, places[:, 1] / height
    wanted = (distances > 0) & (opacities >= VISIBLE)
    wanted &= (x >= region.left) & (x < region.right) & (y >= region.top) & (y < region.bottom)
    which = wanted.nonzero()[:, 0]
    pixels = places[which].flip(1).long()
    seen = depth[pixels[:, 0], pixels[:, 1]]
    near = (distances[which] - seen).abs() <= _SAME_DEPTH * seen
    return which[near], pixels[near]


def visible_stretch(positions: np.ndarray, opacities: np.ndarray, now: int) -> np.ndarray:
    """The part of a Gaussian's line ``[T,3]`` around the instant ``now`` throughout which it is visible, ``[m,3]``."""
    shown = opacities >= VISIBLE
    first = last = now
    while first > 0 and shown[first - 1]:
        first -= 1
    while last < len(shown) - 1 and shown[last + 1]:
        last += 1
    return positions[first : last + 1]


def length(line: np.ndarray) -> float:
    """Of a line ``[m,3]`` from point to point, 0 for a single one."""
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def instants(num_frames: int, now: float, most: int) -> tuple[list[float], int]:
    """At most ``most`` times in [0,1] spread over a clip, one of them ``now``; and its place."""
    times = {*torch.linspace(0, 1, min(num_frames, most)).tolist()}
    nearest = min(times, key=lambda time: abs(time - now))
    ordered = sorted((times - {nearest}) | {now})
    return ordered, ordered.index(now)
