"""Seed points of one instant, triangulated from what neighbouring views of known cameras show alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moegs_ns.preparation.features import Features, detect
from moegs_ns.preparation.guided_matching import guided_match
from moegs_ns.preparation.tracks import Located, Tracks, join, locate
from moegs_ns.preparation.two_view import fundamental_matrix, intrinsics_of, project, viewmats_from_poses
from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.points import PointCloud

# Pixels of an image 640 wide; larger ones have proportionally more, up to a point.
_TOLERANCE, _TOLERANCE_WIDTH = 1.5, 640
# Degrees between rays. Nothing but the angle speaks for a point that only two cameras see.
_LEAST_ANGLE, _LEAST_ANGLE_OF_TWO = 1.0, 3.0
# Three cameras must agree on a point, where there are so many points.
_VIEWS, _ENOUGH = 3, 500
# Pictures narrower than this are enlarged before details are sought: theirs span too few pixels. Of one of 320 pixels
# more than a doubling finds nothing but its interpolation.
_WIDE_ENOUGH, _MOST_ENLARGED = 1280, 2


@dataclass(frozen=True)
class Seeds:
    """Points of one instant and how they came about."""

    cloud: PointCloud
    """Without times."""
    reprojection_error: float | None
    """Median over all points and views, pixels; None without points."""
    views_per_point: float | None
    """Mean; None without points."""
    least_views: int
    """Cameras that had to agree on a point."""


def detect_enlarged(image: np.ndarray, limit: int) -> Features:
    """Features of an image uint8 ``[H,W,3]``, sought in an enlarged one where it is small; in pixels of the image."""
    factor = min(_MOST_ENLARGED, -(-_WIDE_ENOUGH // image.shape[1]))
    if factor <= 1:
        return detect(image, limit)
    import cv2

    enlarged = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    found = detect(enlarged, limit)
    return Features(found.points / np.float32(factor), found.descriptors)


def triangulated_seeds(
    images: Sequence[np.ndarray],
    poses: np.ndarray,
    pinholes: Sequence[Pinhole],
    pairs: Sequence[tuple[int, int]],
    features_per_image: int,
    least_views: int | None = None,
) -> Seeds:
    """Seeds of an instant.

    Args:
        images: uint8 ``[H,W,3]`` of every camera.
        poses: ``[N,3,4]`` camera-to-world, OpenGL axes.
        pinholes: of the same cameras.
        pairs: of cameras to match.
        features_per_image: at most.
        least_views: cameras that must agree on a point. Default: three, or two where that leaves few points.
    """
    tolerance = _TOLERANCE * max(1.0, max(one.width for one in pinholes) / _TOLERANCE_WIDTH)
    viewmats, intrinsics = viewmats_from_poses(poses), intrinsics_of(pinholes)
    features = [detect_enlarged(image, features_per_image) for image in images]
    matches = {}
    for one, other in pairs:
        fundamental = fundamental_matrix(viewmats[one], intrinsics[one], viewmats[other], intrinsics[other])
        matches[one, other] = guided_match(features[one], features[other], fundamental, tolerance)
    tracks = join([one.points for one in features], matches)
    located, views = _located(tracks, viewmats, intrinsics, tolerance, least_views)
    if not len(located):
        empty = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
        return Seeds(empty, None, None, views)
    rgb = _colours(images, viewmats, intrinsics, located.points, located.seen)
    cloud = PointCloud(located.points.astype(np.float32), rgb)
    return Seeds(cloud, float(np.nanmedian(located.errors)), float(located.seen.sum(axis=0).mean()), views)


def _located(
    tracks: Tracks, viewmats: np.ndarray, intrinsics: np.ndarray, tolerance: float, least_views: int | None
) -> tuple[Located, int]:
    """Points on which enough cameras agree, and how many that is."""

    def by(views: int) -> Located:
        angle = _LEAST_ANGLE if views > 2 else _LEAST_ANGLE_OF_TWO
        return locate(tracks, viewmats, intrinsics, tolerance, views, angle)

    if least_views is not None:
        return by(least_views), least_views
    if len(viewmats) >= _VIEWS:
        found = by(_VIEWS)
        if len(found) >= _ENOUGH:
            return found, _VIEWS
    return by(2), 2


def _colours(
    images: Sequence[np.ndarray], viewmats: np.ndarray, intrinsics: np.ndarray, points: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """uint8 ``[M,3]``: the median over the views that see a point of the pixel it falls on."""
    pixels, _ = project(viewmats, intrinsics, points)
    shades = np.full((len(images), len(points), 3), np.nan)
    for view, image in enumerate(images):
        height, width = image.shape[:2]
        columns = pixels[view, :, 0].astype(int).clip(0, width - 1)
        rows = pixels[view, :, 1].astype(int).clip(0, height - 1)
        shades[view] = np.where(seen[view][:, None], image[rows, columns], np.nan)
    return np.nanmedian(shades, axis=0).round().astype(np.uint8)
