"""Which pairs of known cameras are worth matching: those that see the same things, from places not too far apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moegs_ns.preparation.two_view import intrinsics_of, project, viewmats_from_poses
from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.seed_files import points_in_view

_PROBES = 2000
_LEAST_OVERLAP = 0.15
# Degrees between two cameras' rays to a place: below the first its depth is uncertain, above the second it looks
# different.
_LEAST_ANGLE, _LARGEST_ANGLE = 1.0, 45.0


def neighbouring_pairs(
    poses: np.ndarray, pinholes: Sequence[Pinhole], near: float, far: float, neighbours: int
) -> list[tuple[int, int]]:
    """Pairs in which one camera is among the other's nearest, by the angle at which they see places between the bounds.

    Args:
        poses: ``[N,3,4]`` camera-to-world, OpenGL axes.
        pinholes: of the same cameras.
        near, far: between which the scene lies, world units.
        neighbours: of each camera.

    Returns:
        ``(one, other)`` with one < other, sorted; may be empty.
    """
    viewmats, intrinsics = viewmats_from_poses(poses), intrinsics_of(pinholes)
    sizes = np.array([(one.width, one.height) for one in pinholes])
    pairs: set[tuple[int, int]] = set()
    for camera in range(len(poses)):
        places = points_in_view(_PROBES, poses[[camera]], [pinholes[camera]], near, far, seed=camera).xyz.astype(float)
        pixels, depths = project(viewmats, intrinsics, places)
        seen = (depths > 0) & (pixels >= 0).all(axis=2) & (pixels < sizes[:, None]).all(axis=2)
        towards = poses[:, None, :, 3] - places
        towards /= np.maximum(np.linalg.norm(towards, axis=2, keepdims=True), 1e-12)
        angles = np.degrees(np.arccos(np.einsum("nmc,mc->nm", towards, towards[camera]).clip(-1, 1)))
        ranked = []
        for other in range(len(poses)):
            if other == camera or seen[other].mean() < _LEAST_OVERLAP:
                continue
            angle = float(np.median(angles[other][seen[other]]))
            if _LEAST_ANGLE <= angle <= _LARGEST_ANGLE:
                ranked.append((angle, other))
        pairs |= {(min(camera, other), max(camera, other)) for _, other in sorted(ranked)[:neighbours]}
    return sorted(pairs)
