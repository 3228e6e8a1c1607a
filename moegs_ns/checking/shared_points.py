"""Quantities that views of the same things should agree on, compared at the points that pairs of views match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from moegs_ns.checking.epipolar import distances
from moegs_ns.checking.matching import Pair
from moegs_ns.checking.views import View

# Matches farther than this share of the diagonal from their epipolar line are of different things.
_FITS = 0.005
_LEAST_MATCHES = 15


def log_ratios(
    views: Sequence[View],
    pairs: Sequence[Pair],
    maps: Sequence[Mapping[int, np.ndarray]],
    low: float = 0.0,
    high: float = np.inf,
) -> np.ndarray:
    """By how much each view's values are larger than the others' at the same things.

    Args:
        views: V of them.
        pairs: their matches; those count that fit the poses.
        maps: of each view, by frame, values ``[H,W,D]`` > 0 of its pictures.
        low, high: matches whose values are not between these do not count.

    Returns:
        Natural logarithms ``[V,D]``, of median 0; NaN for views of which no pair tells.
    """
    ends, values, weights = [], [], []
    for pair in pairs:
        fits = distances(views[pair.one], views[pair.other], pair) < _FITS * np.hypot(*views[pair.one].size)
        one = _sample(maps[pair.one], pair.frames[fits], pair.pixels_one[fits])
        other = _sample(maps[pair.other], pair.frames_other[fits], pair.pixels_other[fits])
        usable = ((np.minimum(one, other) > low) & (np.maximum(one, other) < high)).all(axis=1)
        if usable.sum() >= _LEAST_MATCHES:
            ends.append((pair.one, pair.other))
            values.append(np.median(np.log(other[usable] / one[usable]), axis=0))
            weights.append(np.sqrt(usable.sum()))
    channels = next(iter(maps[0].values())).shape[-1] if maps else 0
    logs = np.full((len(views), channels), np.nan)
    if not ends:
        return logs
    weight = np.array(weights)[:, None]
    system = np.zeros((len(ends), len(views)))
    for index, (first, second) in enumerate(ends):
        system[index, first], system[index, second] = -1.0, 1.0
    solution = np.linalg.lstsq(system * weight, np.array(values) * weight, rcond=None)[0]
    told = np.unique(np.array(ends))
    logs[told] = solution[told] - np.median(solution[told], axis=0)
    return logs


def _sample(maps: Mapping[int, np.ndarray], frames: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """``[M,D]`` values at pixels of the pictures of these frames."""
    values = np.zeros((len(frames), next(iter(maps.values())).shape[-1]))
    for frame, image in maps.items():
        own = frames == frame
        height, width = image.shape[:2]
        columns = np.clip(pixels[own, 0].astype(int), 0, width - 1)
        rows = np.clip(pixels[own, 1].astype(int), 0, height - 1)
        values[own] = image[rows, columns]
    return values
