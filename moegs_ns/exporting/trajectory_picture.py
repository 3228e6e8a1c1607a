"""Trajectories of Gaussians drawn over a frame, as in the paper's Appendix E."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from moegs_ns.exporting.panels import Color

#: Colours of a trajectory's beginning and end.
_EARLY: Color = (40, 120, 255)
_LATE: Color = (255, 90, 20)
_DIMMED = 0.6
_SUPERSAMPLING = 2


def choose_trajectories(lengths: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """``count`` trajectories, drawn at random with a chance in proportion to their length ``[N]``; all if fewer move.

    The longest alone would show one object, a plain draw mostly what stands still.
    """
    moving = np.flatnonzero(lengths > 0)
    if len(moving) <= count:
        return moving
    chance = lengths[moving] / lengths[moving].sum()
    return np.sort(np.random.default_rng(seed).choice(moving, count, replace=False, p=chance))


def draw_trajectories(picture: np.ndarray, paths: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Lines from early (blue) to late (orange) over a dimmed picture.

    Args:
        picture: uint8 ``[H,W,3]``.
        paths: ``[T,n,2]`` pixels (column, row), pixel centres at +0.5.
        shown: ``[T,n]`` bool; a stretch is drawn where both its ends are shown.

    Returns:
        uint8 ``[H,W,3]``.
    """
    height, width = picture.shape[:2]
    canvas = Image.fromarray((picture * _DIMMED).astype(np.uint8))
    canvas = canvas.resize((_SUPERSAMPLING * width, _SUPERSAMPLING * height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(canvas)
    last = max(1, len(paths) - 2)
    for step in range(len(paths) - 1):
        color = _between(_EARLY, _LATE, step / last)
        for gaussian in np.flatnonzero(shown[step] & shown[step + 1]):
            ends = _SUPERSAMPLING * paths[step : step + 2, gaussian]
            pen.line([tuple(end) for end in ends.tolist()], fill=color, width=_SUPERSAMPLING)
    return np.asarray(canvas.resize((width, height), Image.Resampling.LANCZOS))


def _between(first: Sequence[int], second: Sequence[int], share: float) -> Color:
    mixed = [round(a + share * (b - a)) for a, b in zip(first, second, strict=True)]
    return mixed[0], mixed[1], mixed[2]
