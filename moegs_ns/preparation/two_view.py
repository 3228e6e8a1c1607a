"""Geometry of images with known cameras: where a point of one may lie in another, and where points of several meet.

Cameras are OpenCV world-to-camera matrices ``[4,4]`` and intrinsics ``[3,3]`` in pixels; pixel centres are at +0.5.
numpy only, float64 throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moegs_ns.scene.geometry import FLIP_Y_AND_Z
from moegs_ns.scene.lens import Pinhole


def viewmats_from_poses(poses: np.ndarray) -> np.ndarray:
    """World-to-camera, OpenCV axes, ``[N,4,4]``, of camera-to-world poses in OpenGL axes ``[N,3,4]``."""
    rotations = np.swapaxes(poses[:, :, :3] @ FLIP_Y_AND_Z, 1, 2)
    viewmats = np.tile(np.eye(4), (len(poses), 1, 1))
    viewmats[:, :3, :3] = rotations
    viewmats[:, :3, 3] = -np.einsum("nij,nj->ni", rotations, poses[:, :, 3])
    return viewmats


def intrinsics_of(pinholes: Sequence[Pinhole]) -> np.ndarray:
    """Matrices ``[N,3,3]`` in pixels."""
    return np.array([[[one.fx, 0, one.cx], [0, one.fy, one.cy], [0, 0, 1]] for one in pinholes], dtype=np.float64)


def fundamental_matrix(
    viewmat_one: np.ndarray, intrinsics_one: np.ndarray, viewmat_other: np.ndarray, intrinsics_other: np.ndarray
) -> np.ndarray:
    """``F`` with ``other^T F one = 0`` for pixels (homogeneous) that show one point. Zero for cameras at one place.

    Broadcasts over leading dimensions: ``[...,4,4]`` and ``[...,3,3]`` to ``[...,3,3]``.
    """
    relative = viewmat_other @ np.linalg.inv(viewmat_one)
    rotation, (x, y, z) = relative[..., :3, :3], np.moveaxis(relative[..., :3, 3], -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    inverse_other = np.swapaxes(np.linalg.inv(intrinsics_other), -1, -2)
    return inverse_other @ cross @ rotation @ np.linalg.inv(intrinsics_one)


def sampson_distance(fundamental: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far pairs of pixels are from showing one point, in pixels: to first order the distance both together have to
    move (Sampson), alike for either order of the images.

    Args:
        fundamental: ``[...,3,3]``.
        one, other: ``[...,M,2]`` pixels.

    Returns:
        ``[...,M]`` >= 0; infinite where the geometry says nothing (cameras at one place, pixels at epipoles).
    """
    homogeneous_one = np.concatenate([one, np.ones((*one.shape[:-1], 1))], axis=-1)
    homogeneous_other = np.concatenate([other, np.ones((*other.shape[:-1], 1))], axis=-1)
    line_in_other = homogeneous_one @ np.swapaxes(fundamental, -1, -2)
    line_in_one = homogeneous_other @ fundamental
    residual = np.abs((homogeneous_other * line_in_other).sum(axis=-1))
    slope = np.sqrt((line_in_other[..., :2] ** 2).sum(axis=-1) + (line_in_one[..., :2] ** 2).sum(axis=-1))
    return np.divide(residual, slope, out=np.full_like(residual, np.inf), where=slope > 0)


@dataclass(frozen=True)
class Triangulation:
    """M points seen by V cameras.

    Attributes:
        points: ``[M,3]`` world units.
        errors: ``[V,M]`` pixels between where a point is seen and where it projects; NaN where it is not seen, infinite
            where it lies behind the camera.
        depths: ``[V,M]`` along the cameras' axes, world units.
        angles: ``[M]`` radians, the largest between two rays that meet in the point; small ones leave depth uncertain.
    """

    points: np.ndarray
    errors: np.ndarray
    depths: np.ndarray
    angles: np.ndarray


def triangulate(
    viewmats: np.ndarray, intrinsics: np.ndarray, pixels: np.ndarray, seen: np.ndarray | None = None
) -> Triangulation:
    """Where rays meet, by linear least squares over all cameras that see a point.

    Args:
        viewmats: ``[V,4,4]``.
        intrinsics: ``[V,3,3]``.
        pixels: ``[V,M,2]``.
        seen: bool ``[V,M]``: which of the pixels count. Default: all.

    Raises:
        ValueError: a point is seen by fewer than two cameras.
    """
    seen = np.ones(pixels.shape[:2], dtype=bool) if seen is None else seen
    if (seen.sum(axis=0) < 2).any():
        alone = np.flatnonzero(seen.sum(axis=0) < 2)
        raise ValueError(
            f"expected points that two cameras or more see, found {len(alone)} of {seen.shape[1]} that fewer do; "
            "leave them out"
        )
    # The least squares are sound only near numbers of size 1, so the rig is moved there.
    centres = -np.einsum("vji,vj->vi", viewmats[:, :3, :3], viewmats[:, :3, 3])
    middle, size = centres.mean(axis=0), max(float(np.ptp(centres, axis=0).max()), 1e-12)
    cameras = viewmats[:, :3].copy()
    cameras[:, :, 3] = viewmats[:, :3, :3] @ middle + viewmats[:, :3, 3]
    cameras[:, :, 3] /= size
    homogeneous = np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], axis=-1)
    rays = homogeneous @ np.swapaxes(np.linalg.inv(intrinsics), 1, 2)
    rays = np.where(seen[..., None], rays, 0.0)
    equations = rays[..., :2, None] * cameras[:, None, 2:3] - np.where(
        seen[..., None, None], cameras[:, None, :2], 0.0
    )  # [V,M,2,4]
    system = np.moveaxis(equations, 1, 0).reshape(pixels.shape[1], -1, 4)
    solution = np.linalg.svd(system, full_matrices=False)[2][:, -1]
    weight = solution[:, 3:]
    weight = np.where(np.abs(weight) < 1e-12, 1e-12, weight)
    points = solution[:, :3] / weight * size + middle
    projected, depths = project(viewmats, intrinsics, points)
    errors = np.linalg.norm(projected - pixels, axis=-1)
    errors = np.where(seen, np.where(depths > 0, errors, np.inf), np.nan)
    return Triangulation(points, errors, depths, _widest_angle(points, centres, seen))


def project(viewmats: np.ndarray, intrinsics: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``[V,M,2]`` and depths ``[V,M]`` of world points ``[M,3]``; pixels mean nothing where depth <= 0."""
    local = points @ np.swapaxes(viewmats[:, :3, :3], 1, 2) + viewmats[:, None, :3, 3]
    depths = local[..., 2]
    image = local @ np.swapaxes(intrinsics, 1, 2)
    return image[..., :2] / np.where(np.abs(depths) < 1e-12, 1e-12, depths)[..., None], depths


def _widest_angle(points: np.ndarray, centres: np.ndarray, seen: np.ndarray) -> np.ndarray:
    directions = points - centres[:, None]
    directions /= np.maximum(np.linalg.norm(directions, axis=-1, keepdims=True), 1e-12)
    widest = np.zeros(len(points))
    for view in range(len(centres)):
        cosine = np.einsum("vmc,mc->vm", directions, directions[view]).clip(-1, 1)
        angle = np.where(seen & seen[view], np.arccos(cosine), 0.0)
        widest = np.maximum(widest, angle.max(axis=0))
    return widest
