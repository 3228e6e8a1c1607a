"""Whether the seed points are there, cover the pictures, and lie where the pictures show things."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moegs_ns.checking.result import CheckResult, Verdict, fine, skipped
from moegs_ns.checking.tracks import Tracks
from moegs_ns.checking.views import View
from moegs_ns.preparation.two_view import project, triangulate
from moegs_ns.scene.points import PointCloud

COVERAGE_NAME = "seed coverage"
PLACE_NAME = "seed places"
_COLUMNS, _ROWS = 8, 6
# Share of the cells of an 8x6 grid over each picture that hold a seed, the mean over views. Measured
# (docs/data_check.md): 0.67 to 1.0 in the scenes that train well.
LEAST_COVERAGE = 0.4
_UNUSABLE_COVERAGE = 0.05
#: Fewer seeds start a scene with hardly anything.
LEAST_POINTS = 300
# Median share by which the depth of a triangulated point differs from that of the seed nearest to it in the picture.
# Measured (docs/data_check.md): 0.002 to 0.016; seeds scaled by 1.3 about the world's origin 0.11 to 0.26.
DEPTH_LIMIT = 0.08
_UNUSABLE_DEPTH = 0.3
# A seed farther from a point than this share of the diagonal belongs to something else.
_NEAR = 0.03
_LEAST_COMPARED = 40
_LEAST_SHARE_COMPARED = 0.05
_LEAST_ANGLE = np.radians(2.0)
_AGREES = 0.004


def check_coverage(views: Sequence[View], cloud: PointCloud | None, random_points: int = 0) -> CheckResult:
    """How much of the pictures seed points cover; ``random_points`` take their place where there are none."""
    if (cloud is None or not len(cloud)) and random_points:
        return CheckResult(
            COVERAGE_NAME,
            Verdict.DOUBTFUL,
            f"There are no seed points, {random_points} at random places take their place: training is slower and ends "
            "lower; make some (`moegs data prepare`), or pass --point-cloud.",
            numbers={"points": 0, "random_points": random_points},
        )
    if cloud is None or not len(cloud):
        return CheckResult(
            COVERAGE_NAME,
            Verdict.UNUSABLE,
            "There are no seed points, and training needs some: make them (`moegs data prepare`), pass --point-cloud, "
            "or --random-points to start from random places.",
            numbers={"points": 0},
        )
    covered = np.array([_covered(view, cloud.xyz) for view in views])
    names = [view.name for view in views]
    numbers = {
        "points": len(cloud),
        "limit_mean": LEAST_COVERAGE,
        "mean": float(covered.mean()),
        "views": dict(zip(names, covered.tolist(), strict=True)),
    }
    said = f"{len(cloud)} seed points cover {100 * covered.mean():.0f} % of the pictures"
    if covered.mean() < _UNUSABLE_COVERAGE:
        return CheckResult(
            COVERAGE_NAME,
            Verdict.UNUSABLE,
            f"{said}: hardly any lies where the views look; they are of another world or scale than the poses, make "
            "them anew with these poses.",
            numbers=numbers,
        )
    if covered.mean() < LEAST_COVERAGE or len(cloud) < LEAST_POINTS:
        return CheckResult(
            COVERAGE_NAME,
            Verdict.DOUBTFUL,
            f"{said}: much of the scene starts from nothing; make a denser cloud, or more of them at other frames.",
            numbers=numbers,
        )
    return fine(COVERAGE_NAME, f"{said}.", **numbers)


def check_places(views: Sequence[View], tracks: Tracks, cloud: PointCloud | None) -> CheckResult:
    """Depths of seeds against those of points triangulated from the pictures, in the views that show both."""
    from scipy.spatial import cKDTree

    if cloud is None or not len(cloud):
        return skipped(PLACE_NAME, "There are no seed points.")
    if not tracks.seen.shape[1]:
        return skipped(PLACE_NAME, "No points could be triangulated to compare the seeds with.")
    found = triangulate(tracks.viewmats, tracks.intrinsics, tracks.pixels, tracks.seen)
    misses = np.where(tracks.seen, found.errors / tracks.diagonals[:, None], 0.0)
    sound = (misses <= _AGREES).all(axis=0) & (found.angles > _LEAST_ANGLE)
    differences, offsets = [], []
    asked = 0
    for index, view in enumerate(views):
        seeds, depths = project(view.viewmat[None], view.intrinsics[None], cloud.xyz.astype(np.float64))
        inside = _inside(seeds[0], depths[0], view)
        own = np.flatnonzero(sound & tracks.seen[index])
        asked += len(own)
        if not inside.any() or not len(own):
            continue
        away, nearest = cKDTree(seeds[0][inside]).query(tracks.pixels[index, own])
        close = away < _NEAR * np.hypot(*view.size)
        seed_depths = depths[0][inside][nearest[close]]
        differences.append(np.abs(np.log(seed_depths / found.depths[index, own[close]])))
        offsets.append(away[close] / np.hypot(*view.size))
    every = np.concatenate([np.zeros(0), *differences])
    numbers = {
        "triangulated_points": int(sound.sum()),
        "compared": len(every),
        "limit_median_log_depth_difference": DEPTH_LIMIT,
    }
    if asked * _LEAST_SHARE_COMPARED > max(len(every), _LEAST_COMPARED):
        return CheckResult(
            PLACE_NAME,
            Verdict.DOUBTFUL,
            f"Hardly any seed lies near what the views show ({len(every)} of {asked} points have one): they are of "
            "another world or moment than the poses, or very few; make them anew with these poses.",
            numbers=numbers,
        )
    if len(every) < _LEAST_COMPARED:
        return skipped(PLACE_NAME, "Too few triangulated points lie near seeds in the pictures to compare them.")
    difference = float(np.median(every))
    numbers |= {
        "median_log_depth_difference": difference,
        "median_distance_share_of_diagonal": float(np.median(np.concatenate(offsets))),
    }
    said = f"Seeds lie at depths {100 * (np.exp(difference) - 1):.1f} % (median) from those the pictures show"
    if difference <= DEPTH_LIMIT:
        return fine(PLACE_NAME, f"{said}, over {len(every)} comparisons.", **numbers)
    return CheckResult(
        PLACE_NAME,
        Verdict.UNUSABLE if difference > _UNUSABLE_DEPTH else Verdict.DOUBTFUL,
        f"{said}: they are of another world, scale or moment than the poses; make them anew with these poses.",
        numbers=numbers,
    )


def _inside(pixels: np.ndarray, depths: np.ndarray, view: View) -> np.ndarray:
    width, height = view.size
    columns, rows = pixels.T
    return (depths > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)


def _covered(view: View, points: np.ndarray) -> float:
    pixels, depths = project(view.viewmat[None], view.intrinsics[None], points.astype(np.float64))
    inside = _inside(pixels[0], depths[0], view)
    width, height = view.size
    columns = (pixels[0][inside, 0] / width * _COLUMNS).astype(int)
    rows = (pixels[0][inside, 1] / height * _ROWS).astype(int)
    return len(np.unique(rows * _COLUMNS + columns)) / (_COLUMNS * _ROWS)
