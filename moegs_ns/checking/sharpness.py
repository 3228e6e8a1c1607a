"""Whether one view's pictures are softer than the others': out of focus, moved, or enlarged from a smaller size.

How fine a picture is depends on what it shows. So views are compared at points that both show: by how much stronger the
finest details around them are than somewhat coarser ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moegs_ns.checking.matching import Pair
from moegs_ns.checking.result import CheckResult, Verdict, fine, listed, skipped
from moegs_ns.checking.shared_points import log_ratios
from moegs_ns.checking.views import View

NAME = "sharpness"
# Natural logarithm of the ratio of fine to coarse details, below the median of all views. Measured
# (docs/data_check.md): views of good scenes 0.04 to 0.38, a video halved and enlarged again 0.64 and more.
LIMIT = 0.5
_COARSE = 2.0
_AROUND = 4.0
# Energy of Laplacians that is noise of 8-bit pictures, so that flat places do not count.
_NOISE_FINE, _NOISE_COARSE = 1.0, 0.02


def fineness(picture: np.ndarray) -> np.ndarray:
    """float32 ``[H,W,1]``: energy of the finest details around each pixel over that of coarser ones."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    details = [cv2.Laplacian(image, cv2.CV_32F) ** 2 for image in (grey, cv2.GaussianBlur(grey, (0, 0), _COARSE))]
    fine_energy, coarse_energy = (cv2.GaussianBlur(one, (0, 0), _AROUND) for one in details)
    return ((fine_energy + _NOISE_FINE) / (coarse_energy + _NOISE_COARSE))[..., None]


def check_sharpness(views: Sequence[View], pairs: Sequence[Pair]) -> CheckResult:
    """The result, with every view's fineness beside the others'."""
    maps = [{frame: fineness(picture) for frame, picture in view.pictures.items()} for view in views]
    found = log_ratios(views, pairs, maps)[:, 0]
    told = ~np.isnan(found)
    if told.sum() < 2:
        return skipped(NAME, "Too few things are seen by several views to compare their sharpness.")
    names = [view.name for view in views]
    numbers = {
        "limit_below_median": LIMIT,
        "largest_below_median": float(-np.nanmin(found)),
        "log_fineness": dict(zip(names, found.tolist(), strict=True)),
    }
    soft = [view for view in np.argsort(found).tolist() if found[view] < -LIMIT]
    if not soft:
        return fine(NAME, "Views show the same things about equally sharp.", **numbers)
    each = listed(f"{names[view]} ({100 * np.exp(found[view]):.0f} % of the usual fine detail)" for view in soft)
    return CheckResult(
        NAME,
        Verdict.DOUBTFUL,
        f"Softer than the other views: {each}; out of focus, moved, or enlarged from a smaller size: record or encode "
        "them anew, or leave them out (--exclude-cams).",
        tuple(names[view] for view in soft),
        numbers,
    )
