"""A dense cloud of one instant: depth maps of every camera by sweeping planes, kept where neighbours agree.

For each of many distances a plane before the camera is assumed, and the neighbours' pictures are seen in it; where the
plane is right they look like the camera's own (Collins, 1996). Unlike triangulated features this covers whatever has a
little texture, not only corners.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from moegs_ns.preparation.dense_cloud import one_per_voxel
from moegs_ns.preparation.two_view import intrinsics_of, project, viewmats_from_poses
from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.points import PointCloud

# Pictures are made so small, which leaves far more points than seeds are needed.
_WIDTH = 320
_PLANES = 96
_WINDOW = 7
# Of grey values in [0,1]: windows that vary less are as good as blank and correlate with nothing.
_NOISE = 0.004
# Neighbours that must look alike (those that do best; others may not see the place), and how much.
_LIKE_LEAST = 2
_LEAST_CORRELATION = 0.6
# Depths that agree: of so many neighbours, to a share of a step between planes.
_AGREEING = 2
_AGREE_STEPS = 1.5


def swept_cloud(
    images: Sequence[np.ndarray],
    poses: np.ndarray,
    pinholes: Sequence[Pinhole],
    pairs: Sequence[tuple[int, int]],
    bounds: np.ndarray,
    most_points: int,
) -> PointCloud:
    """Points on what at least three cameras see, at most so many, evenly spread.

    Args:
        images: uint8 ``[H,W,3]`` of every camera.
        poses: ``[N,3,4]`` camera-to-world, OpenGL axes.
        pinholes: of the same cameras.
        pairs: of cameras that see the same things.
        bounds: ``[N,2]`` near and far of each camera, world units.
        most_points: to keep.
    """
    neighbours = [[b if a == camera else a for a, b in pairs if camera in (a, b)] for camera in range(len(images))]
    scale = min(1.0, _WIDTH / max(one.width for one in pinholes))
    small = [one.resized(round(one.width * scale), round(one.height * scale)) for one in pinholes]
    shrunk = [
        cv2.resize(image, (one.width, one.height), interpolation=cv2.INTER_AREA)
        for image, one in zip(images, small, strict=True)
    ]
    viewmats, intrinsics = viewmats_from_poses(poses), intrinsics_of(small)
    inverse = [
        _inverse_depths(shrunk, viewmats, intrinsics, camera, neighbours[camera], bounds[camera])
        for camera in range(len(images))
    ]
    xyz, rgb = [np.zeros((0, 3), np.float32)], [np.zeros((0, 3), np.uint8)]
    for camera in range(len(images)):
        points, pixels = _places(inverse[camera], viewmats[camera], intrinsics[camera])
        agree = sum(
            _agrees(points, inverse[other], viewmats[other], intrinsics[other], bounds[other])
            for other in neighbours[camera]
        )
        kept = agree >= _AGREEING if len(points) else np.zeros(0, dtype=bool)
        xyz.append(points[kept].astype(np.float32))
        rgb.append(shrunk[camera][pixels[kept, 1], pixels[kept, 0]])
    return _thinned(PointCloud(np.concatenate(xyz), np.concatenate(rgb)), most_points)


def _inverse_depths(
    images: Sequence[np.ndarray],
    viewmats: np.ndarray,
    intrinsics: np.ndarray,
    camera: int,
    neighbours: Sequence[int],
    near_far: np.ndarray,
) -> np.ndarray:
    """float32 ``[H,W]`` of one camera; 0 where nothing is known."""
    height, width = images[camera].shape[:2]
    if len(neighbours) < _LIKE_LEAST:
        return np.zeros((height, width), np.float32)
    greys = {index: _grey(images[index]) for index in (camera, *neighbours)}
    own = _Window(greys[camera])
    inverse_depths = np.linspace(1 / near_far[1], 1 / near_far[0], _PLANES)
    scores = np.zeros((_PLANES, height, width), np.float32)
    for plane, inverse_depth in enumerate(inverse_depths):
        likeness = [
            own.correlation(_seen_in_plane(greys[other], viewmats, intrinsics, camera, other, inverse_depth, own.grey))
            for other in neighbours
        ]
        best = np.partition(np.stack(likeness), len(likeness) - _LIKE_LEAST, axis=0)[-_LIKE_LEAST:]
        scores[plane] = best.mean(axis=0)
    winner = scores.argmax(axis=0)
    inner = winner.clip(1, _PLANES - 2)
    before, at, after = (np.take_along_axis(scores, (inner + step)[None], axis=0)[0] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.where(bend < -1e-6, 0.5 * (before - after) / np.minimum(bend, -1e-6), 0.0).clip(-0.5, 0.5)
    refined = np.interp(inner + shift, np.arange(_PLANES), inverse_depths)
    # A best plane at the end of the sweep says that the true one lies beyond.
    good = (at > _LEAST_CORRELATION) & (winner == inner)
    return np.where(good, refined, 0.0).astype(np.float32)


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def _mean(values: np.ndarray) -> np.ndarray:
    return cv2.boxFilter(values, -1, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT)


class _Window:
    """A picture's means and deviations around every pixel, to correlate others with."""

    def __init__(self, grey: np.ndarray) -> None:
        self.grey = grey
        self._mean = _mean(grey)
        self._variance = np.maximum(_mean(grey * grey) - self._mean**2, 0) + _NOISE**2

    def correlation(self, other: np.ndarray) -> np.ndarray:
        """Normalised, in [-1,1], of the windows around every pixel; -1 where the other shows nothing (NaN)."""
        blank = np.isnan(other)
        filled = np.where(blank, 0.0, other).astype(np.float32)
        mean = _mean(filled)
        variance = np.maximum(_mean(filled * filled) - mean**2, 0) + _NOISE**2
        covariance = _mean(self.grey * filled) - self._mean * mean
        return np.where(blank, -1.0, covariance / np.sqrt(self._variance * variance)).astype(np.float32)


def _seen_in_plane(
    grey: np.ndarray,
    viewmats: np.ndarray,
    intrinsics: np.ndarray,
    camera: int,
    other: int,
    inverse_depth: float,
    like: np.ndarray,
) -> np.ndarray:
    """What ``camera`` would see of the other's picture if all of it lay in a plane before it; NaN outside."""
    relative = viewmats[other] @ np.linalg.inv(viewmats[camera])
    plane = relative[:3, :3] + np.outer(relative[:3, 3], [0.0, 0.0, inverse_depth])
    homography = intrinsics[other] @ plane @ np.linalg.inv(intrinsics[camera])
    to_centres = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV counts pixel centres at whole numbers
    homography = np.linalg.inv(to_centres) @ homography @ to_centres
    size = like.shape[1], like.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(
        grey, homography, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=[float("nan")]
    )


def _places(inverse: np.ndarray, viewmat: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points ``[M,3]`` of a map's known pixels, and these, int ``[M,2]`` (column, row)."""
    rows, columns = np.nonzero(inverse > 0)
    pixels = np.stack([columns, rows], axis=1)
    rays = np.column_stack([pixels + 0.5, np.ones(len(pixels))]) @ np.linalg.inv(intrinsics).T
    local = rays / inverse[rows, columns][:, None]
    return (local - viewmat[:3, 3]) @ viewmat[:3, :3], pixels


def _agrees(
    points: np.ndarray, inverse: np.ndarray, viewmat: np.ndarray, intrinsics: np.ndarray, near_far: np.ndarray
) -> np.ndarray:
    """int ``[M]``: 1 where a camera's own map has a point at the same depth."""
    pixels, depths = (values[0] for values in project(viewmat[None], intrinsics[None], points))
    columns, rows = np.floor(pixels).astype(np.int64).T
    height, width = inverse.shape
    inside = (depths > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    found = np.zeros(len(points))
    found[inside] = inverse[rows[inside], columns[inside]]
    step = (1 / near_far[0] - 1 / near_far[1]) / (_PLANES - 1)
    same = np.abs(found - 1 / np.where(inside, depths, 1.0)) < _AGREE_STEPS * step
    return (inside & (found > 0) & same).astype(int)


def _thinned(cloud: PointCloud, most: int) -> PointCloud:
    """One point per voxel of the smallest size that leaves no more than ``most``."""
    if len(cloud) <= most:
        return cloud
    low, high = np.percentile(cloud.xyz, [1, 99], axis=0)
    smallest, largest = 0.0, float((high - low).max())
    for _ in range(20):
        voxel = (smallest + largest) / 2
        if len(one_per_voxel(cloud, voxel)) > most:
            smallest = voxel
        else:
            largest = voxel
    return one_per_voxel(cloud, largest)
