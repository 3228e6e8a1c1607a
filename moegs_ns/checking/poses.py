"""Which view's pose does not agree with what all other views say of the scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moegs_ns.checking.result import CheckResult, Verdict, fine, listed
from moegs_ns.checking.tracks import LEAST_POINTS, Agreement, Tracks, agreement
from moegs_ns.checking.views import View

NAME = "poses"
# Median reprojection error of a view's points, triangulated from the other views, as a share of the diagonal. Measured
# (docs/data_check.md): `mixed` up to 0.07 %, `basketball` 0.15 %, phone captures 0.35 %; a camera turned by 2 degrees
# about its own axis 0.5 % (the smallest such error), about any other 2.4 %.
LIMIT_FIXED = 0.0035
LIMIT_MOVING = 0.008
# Beyond, details of one view fall on other things in another.
UNUSABLE = 0.01
# Of views that disagree so many are tried as the one to blame, those with the largest errors.
_TRIED = 6


def blamed_views(tracks: Tracks, limit: float) -> tuple[list[int], Agreement]:
    """Views to leave out until all others agree, the worst first, and the agreement of all.

    A wrong view spoils points that others are held against. So of the views that are off the one goes whose absence
    leaves the fewest others off.
    """
    first = agreement(tracks)
    blamed: list[int] = []
    now = first
    while True:
        shares = now.errors / tracks.diagonals
        off = [view for view in range(len(shares)) if shares[view] > limit and view not in blamed]
        if not off or len(blamed) >= len(shares) // 2:
            return blamed, first
        off.sort(key=lambda view: -shares[view])
        outcomes = []
        for view in off[:_TRIED]:
            left = agreement(tracks.without([*blamed, view]))
            remaining = np.nan_to_num(left.errors / tracks.diagonals)
            outcomes.append((int((remaining > limit).sum()), -shares[view], view, left))
        _, _, worst, now = min(outcomes, key=lambda outcome: outcome[:3])
        blamed.append(worst)


def check_poses(views: Sequence[View], tracks: Tracks, stands_still: bool) -> CheckResult:
    """The result, with every view's error."""
    limit = LIMIT_FIXED if stands_still else LIMIT_MOVING
    blamed, found = blamed_views(tracks, limit)
    names = [view.name for view in views]
    shares = found.errors / tracks.diagonals
    judged = ~np.isnan(shares)
    numbers = {
        "limit_share_of_diagonal": limit,
        "views": {
            name: {"points": int(points), "error_pixels": error, "error_share_of_diagonal": share}
            for name, points, error, share in zip(names, found.points, found.errors, shares, strict=True)
        },
        "worst_share_of_diagonal": float(np.nanmax(shares)) if judged.any() else None,
    }
    silent = [name for name, told in zip(names, judged, strict=True) if not told]
    note = f"; {listed(silent)}: fewer than {LEAST_POINTS} points that others see too, not judged" if silent else ""
    if not judged.any():
        return CheckResult(
            NAME,
            Verdict.DOUBTFUL,
            f"No view has {LEAST_POINTS} points that two others see too: whether the poses fit cannot be said; views "
            "may be too far apart, or all poses be wrong.",
            numbers=numbers,
        )
    if not blamed:
        return fine(
            NAME,
            f"Each view shows points where the others put them: {np.nanmedian(found.errors):.2f} pixels (median), "
            f"{np.nanmax(found.errors):.2f} in the worst view{note}.",
            **numbers,
        )
    worst = max(shares[blamed])
    each = listed(f"{names[view]} ({found.errors[view]:.1f} pixels)" for view in blamed)
    return CheckResult(
        NAME,
        Verdict.UNUSABLE if worst > UNUSABLE else Verdict.DOUBTFUL,
        f"The poses of {each} disagree with all others'; calibrate them anew, or leave them out "
        f"(--exclude-cams){note}.",
        tuple(names[view] for view in blamed),
        numbers,
    )
