"""Whether matched features lie where the poses of pairs of views allow, and which view's pairs are off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moegs_ns.checking.matching import Pair
from moegs_ns.checking.result import CheckResult, Verdict, fine, listed
from moegs_ns.checking.views import View
from moegs_ns.preparation.two_view import fundamental_matrix, sampson_distance

NAME = "epipolar"
# Median Sampson distance of a pair's consensus, as a share of the picture's diagonal. Measured (docs/data_check.md):
# pairs of `mixed` 0.03 %, of `basketball` 0.07 %, of phone captures up to 0.13 %; all pairs of a camera tilted by 2
# degrees 1 to 2 %, where the error does not happen to run along the epipolar lines.
LIMIT = 0.003
# A view is to blame if so many of its pairs are off: each view beside it has one pair that is off with it. Repeated
# patterns leave single pairs of a sound rig off by chance.
_SHARE_OFF = 0.7
_LEAST_PAIRS = 2


@dataclass(frozen=True)
class PairErrors:
    """Of each telling pair, the median Sampson distance of its consensus."""

    pairs: Sequence[Pair]
    errors: np.ndarray
    """``[P]`` pixels."""
    shares: np.ndarray
    """``[P]`` of the diagonal."""

    @property
    def off(self) -> np.ndarray:
        """bool ``[P]``"""
        return self.shares > LIMIT


def pair_errors(views: Sequence[View], pairs: Sequence[Pair]) -> PairErrors:
    """Hold the pairs that tell something against the poses."""
    telling = [pair for pair in pairs if pair.is_telling]
    errors = np.array([float(np.median(distances(views[p.one], views[p.other], p))) for p in telling])
    diagonals = np.array([np.hypot(*views[pair.one].size) for pair in telling])
    return PairErrors(telling, errors, errors / diagonals if len(errors) else errors)


def distances(one: View, other: View, pair: Pair) -> np.ndarray:
    """Sampson distances ``[M]`` in pixels of a pair's matches, were it taken by these views' cameras."""
    matrix = fundamental_matrix(one.viewmat, one.intrinsics, other.viewmat, other.intrinsics)
    return sampson_distance(matrix, pair.pixels_one, pair.pixels_other)


def blamed_views(errors: PairErrors, count: int) -> list[int]:
    """Views nearly all of whose pairs are off; the worst first, and those that are off only with it not at all."""
    ends = np.array([(pair.one, pair.other) for pair in errors.pairs]).reshape(-1, 2)
    off, left = errors.off.copy(), np.ones(len(ends), dtype=bool)
    blamed: list[int] = []
    while True:
        own = [left & (ends == view).any(axis=1) for view in range(count)]
        shares = [off[mine].mean() if mine.sum() >= _LEAST_PAIRS else 0.0 for mine in own]
        totals = [off[mine].sum() for mine in own]
        worst = max(range(count), key=lambda view: (shares[view] >= _SHARE_OFF, totals[view]), default=-1)
        if worst < 0 or shares[worst] < _SHARE_OFF:
            return blamed
        blamed.append(worst)
        left &= ~own[worst]


def check_epipolar(views: Sequence[View], errors: PairErrors) -> CheckResult:
    """The result, with every pair's numbers; there is at least one."""
    names = [view.name for view in views]
    numbers = {
        "limit_share_of_diagonal": LIMIT,
        "pairs": [
            {
                "views": [names[pair.one], names[pair.other]],
                "matches": pair.matches,
                "agreeing": len(pair),
                "error_pixels": float(error),
                "error_share_of_diagonal": float(share),
            }
            for pair, error, share in zip(errors.pairs, errors.errors, errors.shares, strict=True)
        ],
    }
    numbers["median_share_of_diagonal"] = float(np.median(errors.shares))
    numbers["worst_share_of_diagonal"] = float(errors.shares.max())
    blamed = blamed_views(errors, len(views))
    said = (
        f"{len(errors.pairs)} pairs of views, matches {np.median(errors.errors):.2f} pixels (median) from their "
        f"epipolar lines, {int(errors.off.sum())} pairs off"
    )
    if not blamed:
        return fine(NAME, f"{said}, no view in most of its pairs.", **numbers)
    own = [
        float(np.median(errors.errors[[view in (pair.one, pair.other) for pair in errors.pairs]])) for view in blamed
    ]
    return CheckResult(
        NAME,
        Verdict.UNUSABLE,
        f"{said}: nearly all pairs of {listed(names[view] for view in blamed)}, by {max(own):.1f} pixels; calibrate "
        "these cameras anew, check which file belongs to which pose, or leave them out (--exclude-cams).",
        tuple(names[view] for view in blamed),
        numbers,
    )
