"""How near and how far a scene's content is, from its seed points, for layouts that do not say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moegs_ns.scene.lens import Pinhole

# As LLFF takes the bounds of poses_bounds.npy: the few points nearest to a camera and farthest from it are strays.
_NEAREST_PERCENT, _FARTHEST_PERCENT = 0.1, 99.9
# Enough to know the range of a capture of thousands of images, in a moment.
_MOST_IMAGES, _MOST_POINTS = 64, 50_000


def depth_range(points: np.ndarray, poses: np.ndarray, pinholes: Sequence[Pinhole]) -> tuple[float, float] | None:
    """The smallest near and the largest far bound of images, each from the depths of the points it shows.

    Args:
        points: ``[M,3]`` world units.
        poses: ``[N,3,4]`` camera-to-world, OpenGL axes.
        pinholes: of the same N images.

    Returns:
        Near and far in world units; None where no image shows any point.
    """
    points = points[:: max(1, len(points) // _MOST_POINTS)].astype(np.float64)
    bounds = []
    for image in np.unique(np.linspace(0, len(poses) - 1, _MOST_IMAGES).round().astype(int)):
        pose, pinhole = poses[image], pinholes[image]
        local = (points - pose[:, 3]) @ pose[:, :3]
        depth = -local[:, 2]
        ahead = np.where(depth > 0, depth, np.nan)
        column = pinhole.cx + pinhole.fx * local[:, 0] / ahead
        row = pinhole.cy - pinhole.fy * local[:, 1] / ahead
        seen = (column >= 0) & (column < pinhole.width) & (row >= 0) & (row < pinhole.height)
        if seen.any():
            bounds.append(np.percentile(depth[seen], [_NEAREST_PERCENT, _FARTHEST_PERCENT]))
    if not bounds:
        return None
    return float(np.min(bounds, axis=0)[0]), float(np.max(bounds, axis=0)[1])
