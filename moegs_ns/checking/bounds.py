"""Whether the scene's content lies between its near and far bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from moegs_ns.checking.result import CheckResult, Verdict, fine, skipped
from moegs_ns.checking.tracks import Tracks
from moegs_ns.checking.views import View
from moegs_ns.preparation.two_view import project, triangulate
from moegs_ns.scene.points import PointCloud

NAME = "bounds"
# Share of what views show that may lie before the near bound, where nothing is drawn: strays of triangulation. Measured
# (docs/data_check.md): up to 0.5 % in good scenes.
LIMIT = 0.05
_UNUSABLE = 0.5
_LEAST_ANGLE = np.radians(2.0)
_AGREES = 0.004


def check_bounds(
    views: Sequence[View], tracks: Tracks, cloud: PointCloud | None, near_far: tuple[float, float]
) -> CheckResult:
    """Depths of seeds and of triangulated points against the bounds."""
    near, far = near_far
    depths = _depths(views, tracks, cloud)
    numbers: dict[str, Any] = {"near": near, "far": far, "limit": LIMIT}
    if not len(depths):
        return skipped(NAME, "There are neither seeds nor triangulated points to hold the bounds against.")
    before, beyond = float((depths < near).mean()), float((depths > far).mean())
    low, middle, high = np.percentile(depths, [0.1, 50, 99.9]).tolist()
    numbers |= {"share_before_near": before, "share_beyond_far": beyond, "depths_0.1_50_99.9": [low, middle, high]}
    if before > LIMIT:
        return CheckResult(
            NAME,
            Verdict.UNUSABLE if before > _UNUSABLE else Verdict.DOUBTFUL,
            f"{100 * before:.0f} % of what the views show lies before the near bound {near:.3g} and cannot be drawn "
            f"(content from {low:.3g} to {high:.3g}): pass --near {0.9 * low:.2g}, or correct the bounds in the file.",
            numbers=numbers,
        )
    if beyond > _UNUSABLE:
        return CheckResult(
            NAME,
            Verdict.DOUBTFUL,
            f"{100 * beyond:.0f} % of what the views show lies beyond the far bound {far:.3g} (content from {low:.3g} "
            f"to {high:.3g}): bounds and poses are of different scales; pass --near and --far.",
            numbers=numbers,
        )
    return fine(
        NAME, f"Content lies {low:.3g} to {high:.3g} before the cameras, within near {near:.3g} and far {far:.3g}"
        + (f" but for {100 * (before + beyond):.1f} %." if before + beyond > 0 else "."), **numbers
    )  # fmt: skip


def _depths(views: Sequence[View], tracks: Tracks, cloud: PointCloud | None) -> np.ndarray:
    found = [np.zeros(0)]
    if cloud is not None and len(cloud):
        for view in views:
            pixels, depths = project(view.viewmat[None], view.intrinsics[None], cloud.xyz.astype(np.float64))
            width, height = view.size
            columns, rows = pixels[0].T
            inside = (depths[0] > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
            found.append(depths[0][inside])
    if tracks.seen.shape[1]:
        points = triangulate(tracks.viewmats, tracks.intrinsics, tracks.pixels, tracks.seen)
        misses = np.where(tracks.seen, points.errors / tracks.diagonals[:, None], 0.0)
        sound = (misses <= _AGREES).all(axis=0) & (points.angles > _LEAST_ANGLE)
        found.append(points.depths[tracks.seen & sound])
    return np.concatenate(found)
