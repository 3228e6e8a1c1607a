"""Whether cameras agree on the colours of what they see: exposure and white balance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moegs_ns.checking.matching import Pair
from moegs_ns.checking.result import CheckResult, Verdict, fine, listed, skipped
from moegs_ns.checking.shared_points import log_ratios
from moegs_ns.checking.views import View

NAME = "colours"
# How much brighter or darker one view shows a thing than the views' median does, in any channel. Measured
# (docs/data_check.md): `mixed` and phone captures within 1.04, the cameras of `basketball` within 1.27, with which it
# trains well because presets learn gains.
LIMIT = 1.5
UNUSABLE = 3.0
_PATCH = 5
# Values near black and white say little of gains.
_DARKEST, _BRIGHTEST = 20.0, 235.0


def gains(views: Sequence[View], pairs: Sequence[Pair]) -> np.ndarray:
    """Factors ``[V,3]`` by which each view shows the same things brighter, red, green and blue; their median is 1. NaN
    where no pair tells."""
    import cv2

    smooth = [
        {frame: cv2.blur(picture, (_PATCH, _PATCH)).astype(np.float32) for frame, picture in view.pictures.items()}
        for view in views
    ]
    return np.exp(log_ratios(views, pairs, smooth, _DARKEST, _BRIGHTEST))


def check_colours(views: Sequence[View], pairs: Sequence[Pair]) -> CheckResult:
    """The result, with every view's gains."""
    found = gains(views, pairs)
    told = ~np.isnan(found).any(axis=1)
    if told.sum() < 2:
        return skipped(NAME, "Too few things are seen by several views to compare their colours.")
    away = np.exp(np.abs(np.log(found)).max(axis=1))
    names = [view.name for view in views]
    numbers = {
        "limit": LIMIT,
        "largest": float(np.nanmax(away)),
        "gains": {name: gain.tolist() for name, gain in zip(names, found, strict=True)},
    }
    off = [view for view in range(len(views)) if told[view] and away[view] > LIMIT]
    if not off:
        return fine(
            NAME, f"Views agree on colours: gains up to {100 * (np.nanmax(away) - 1):.0f} % from the median.", **numbers
        )
    off.sort(key=lambda view: -away[view])
    each = listed(f"{names[view]} ({_words(found[view])})" for view in off)
    return CheckResult(
        NAME,
        Verdict.UNUSABLE if away[off[0]] > UNUSABLE else Verdict.DOUBTFUL,
        f"Exposure or white balance differ from the other views': {each}; match the colours before training, or train "
        "with --pipeline.model.camera-gains True (in the presets but paper's), which learns a gain per camera.",
        tuple(names[view] for view in off),
        numbers,
    )


def _words(gain: np.ndarray) -> str:
    return ", ".join(f"{channel} x{one:.2f}" for channel, one in zip(("red", "green", "blue"), gain, strict=True))
