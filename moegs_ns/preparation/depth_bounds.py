"""Near and far of each camera of a prepared scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moegs_ns.scene.depth_range import depth_range
from moegs_ns.scene.lens import Pinhole

# Points are fewer than what is seen: something may stand a little nearer or farther.
_NEARER, _FARTHER = 0.9, 1.1
# Without any points: of the distance to where the cameras look.
_GUESSED_NEAR, _GUESSED_FAR = 0.3, 3.0


def bounds_from_points(points: np.ndarray, poses: np.ndarray, pinholes: Sequence[Pinhole]) -> np.ndarray | None:
    """``[N,2]`` near and far of each camera from the points ``[M,3]`` it shows, a little wider; of all together for a
    camera that shows none. None where no camera shows any."""
    whole = depth_range(points, poses, pinholes)
    if whole is None:
        return None
    bounds = np.array(
        [depth_range(points, poses[[index]], [pinhole]) or whole for index, pinhole in enumerate(pinholes)]
    )
    return bounds * [_NEARER, _FARTHER]


def guessed_bounds(poses: np.ndarray) -> np.ndarray:
    """``[N,2]`` from the place nearest to all cameras' axes, for cameras of which nothing else is known.

    Args:
        poses: ``[N,3,4]`` camera-to-world, OpenGL axes.
    """
    forward, centres = -poses[:, :, 2], poses[:, :, 3]
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    focus = np.linalg.lstsq(across.sum(axis=0), np.einsum("nij,nj->i", across, centres), rcond=None)[0]
    depths = np.einsum("nc,nc->n", focus - centres, forward)
    size = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max()) or 1.0
    depth = float(np.median(depths)) if np.median(depths) > 0 else 3 * size  # parallel axes meet nowhere
    return np.tile([_GUESSED_NEAR * depth, _GUESSED_FAR * depth], (len(poses), 1))
