"""A world for cameras that structure from motion placed: it knows neither scale nor up, nor where the middle is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moegs_ns.preparation.rig import Rig

# Cameras tell which way is up by the directions to their right, which are level; these must differ by more than this
# (root mean square sine), or a common nod of all cameras would be taken for a slope of the world.
_TURNED = 0.2


def levelled(rig: Rig, depth: float) -> Rig:
    """The rig with z up, the origin amid its points, and points at a median ``depth`` before the cameras.

    Up is perpendicular to all cameras' right, as photographers hold them level; where all cameras face the same way, it
    is the mean of their own ups.

    Args:
        rig: with points.
        depth: world units.

    Raises:
        ValueError: no points, or a depth that is not above 0.
    """
    if rig.points is None or not len(rig.points):
        raise ValueError("expected points that structure from motion triangulated, found none; give --poses")
    if depth <= 0:
        raise ValueError(f"expected --depth above 0, found {depth}")
    rotations = rig.camera_to_worlds[:, :, :3]
    middle = np.median(rig.points, axis=0)
    depths = np.einsum("nmc,nc->nm", rig.points[None] - rig.centres[:, None], -rotations[:, :, 2])
    scale = depth / float(np.median(depths[depths > 0]))
    turn = _turn_upright(_up(rotations), -rotations[:, :, 2].mean(axis=0))
    poses = np.concatenate([turn @ rotations, ((rig.centres - middle) @ turn.T * scale)[:, :, None]], axis=2)
    return replace(rig, camera_to_worlds=poses, points=(rig.points - middle) @ turn.T * scale)


def _up(rotations: np.ndarray) -> np.ndarray:
    """Unit vector, from camera-to-world rotations ``[N,3,3]`` of OpenGL axes."""
    right, mean_up = rotations[:, :, 0], rotations[:, :, 1].mean(axis=0)
    values, vectors = np.linalg.eigh(right.T @ right / len(right))  # ascending
    if np.sqrt(max(values[1], 0.0)) < _TURNED:
        up = mean_up
    else:
        up = vectors[:, 0] * (1 if vectors[:, 0] @ mean_up >= 0 else -1)
    return up / max(np.linalg.norm(up), 1e-12)


def _turn_upright(up: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """The rotation ``[3,3]`` that takes up to z, and forward as near to y as that allows."""
    ahead = forward - (forward @ up) * up
    if np.linalg.norm(ahead) < 1e-6:  # cameras all around, or looking down: any heading will do
        ahead = np.eye(3)[np.abs(up).argmin()]
        ahead = ahead - (ahead @ up) * up
    ahead /= np.linalg.norm(ahead)
    return np.stack([np.cross(ahead, up), ahead, up])
