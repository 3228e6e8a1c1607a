"""Seeds where nothing can be matched: random places at which the cameras' colours agree.

Such a place lies on a surface, or before a wall of one colour, or inside the hull that all cameras leave possible. It
needs neither texture nor features, and is far less exact than triangulation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moegs_ns.preparation.two_view import intrinsics_of, project, viewmats_from_poses
from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.points import PointCloud
from moegs_ns.scene.seed_files import points_in_view

# Of so many random places one is kept.
_CANDIDATES = 20
_LEAST_CAMERAS = 3


def agreeing_places(
    count: int,
    images: Sequence[np.ndarray],
    poses: np.ndarray,
    pinholes: Sequence[Pinhole],
    near: float,
    far: float,
    seed: int = 0,
) -> PointCloud:
    """The places, of many random ones between the bounds, at which the pictures of one instant agree best.

    Args:
        count: how many; fewer where three cameras see too little in common.
        images: uint8 ``[H,W,3]`` of every camera.
        poses: ``[N,3,4]`` camera-to-world, OpenGL axes.
        pinholes: of the same cameras.
        near, far: depths, world units.
        seed: of a generator of its own.
    """
    places = points_in_view(_CANDIDATES * count, poses, pinholes, near, far, seed).xyz
    pixels, depths = project(viewmats_from_poses(poses), intrinsics_of(pinholes), places.astype(np.float64))
    shades = np.full((len(images), len(places), 3), np.nan, dtype=np.float32)
    for view, (image, pinhole) in enumerate(zip(images, pinholes, strict=True)):
        columns, rows = np.floor(pixels[view]).astype(np.int64).T
        seen = (depths[view] > 0) & (columns >= 0) & (columns < pinhole.width) & (rows >= 0) & (rows < pinhole.height)
        shades[view, seen] = image[rows[seen], columns[seen]]
    views = np.isfinite(shades[..., 0]).sum(axis=0)
    usable = np.flatnonzero(views >= _LEAST_CAMERAS)
    if not len(usable):
        return PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
    shades = shades[:, usable]
    colours = np.nanmedian(shades, axis=0)
    # What few cameras see agrees more easily: the spread is judged as that of so many.
    freedom = views[usable] / (views[usable] - 1)
    spread = np.nanmean(np.abs(shades - colours).mean(axis=2), axis=0) * freedom
    best = np.sort(np.argsort(spread, kind="stable")[:count])
    return PointCloud(places[usable][best], colours[best].round().astype(np.uint8))
