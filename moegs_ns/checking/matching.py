"""Which points of the views' pictures show the same things, found without believing any pose.

Each pair of views keeps the matches that some epipolar geometry explains, whatever the poses say (a *consensus*, found
by RANSAC). Wrong matches are sorted out thereby, and what is left can be held against the poses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moegs_ns.checking.views import View
from moegs_ns.preparation.features import Features, detect, match

_FEATURES = 1500
# Every view is compared with every other one up to so many views, beyond with so many neighbours in the rig.
_MOST_FOR_ALL_PAIRS = 40
_NEIGHBOURS = 12
# The best pairs of each view are looked at at all instants.
_PAIRS_PER_VIEW = 9
_RANSAC_PIXELS = 1.0
_LEAST_MATCHES = 15
# Pairs that tell something. Between views of a real rig 20 to 30 degrees apart 45 to 70 % of the matches agree, and 80
# of them or more; at 50 degrees RANSAC finds 20 to 40 matches, up to a third of all, that agree in nothing real.
LEAST_CONSENSUS = 40
LEAST_SHARE = 0.4


@dataclass(frozen=True)
class Pair:
    """Two views and M points that both show.

    Attributes:
        one, other: positions of the views.
        pixels_one, pixels_other: float64 ``[M,2]``, only those of the consensus.
        frames, frames_other: int64 ``[M]``, the frames of both they were found in; the same where cameras stand still.
        matches: how many there were before the consensus.
    """

    one: int
    other: int
    pixels_one: np.ndarray
    pixels_other: np.ndarray
    frames: np.ndarray
    frames_other: np.ndarray
    matches: int

    def __len__(self) -> int:
        return len(self.pixels_one)

    @property
    def is_telling(self) -> bool:
        """Whether so many matches agree that it cannot be chance."""
        return len(self) >= LEAST_CONSENSUS and len(self) >= LEAST_SHARE * self.matches


def match_views(views: Sequence[View], on_step: Callable[[float], None] = lambda done: None) -> list[Pair]:
    """The pairs of views that show the same things best.

    Args:
        views: in any order.
        on_step: called now and then with the share of the work that is done.

    Returns:
        Pairs with some consensus, of each view at least the best ones.
    """
    from concurrent.futures import ThreadPoolExecutor
    from os import cpu_count

    done = 0.0

    def step(share: float) -> None:
        nonlocal done
        done += share
        on_step(min(done, 1.0))

    with ThreadPoolExecutor(min(8, cpu_count() or 1)) as pool:

        def detect_in(view: View) -> dict[int, Features]:
            found = {frame: detect(picture, _FEATURES) for frame, picture in view.pictures.items()}
            step(0.4 / len(views))
            return found

        features = list(pool.map(detect_in, views))
        middle = [list(own)[len(own) // 2] for own in features]
        candidates = _candidates(views)

        def match_pair(pair: tuple[int, int]) -> np.ndarray:
            one, other = pair
            matches = match(features[one][middle[one]], features[other][middle[other]])
            step(0.4 / len(candidates))
            return matches

        first = dict(zip(candidates, pool.map(match_pair, candidates), strict=True))
        chosen = _best({pair: len(matches) for pair, matches in first.items()}, len(views))

        def complete(pair: tuple[int, int]) -> Pair | None:
            one, other = pair
            parts = [(middle[one], middle[other], first[pair])]
            parts += [
                (frame, frame, match(features[one][frame], features[other][frame]))
                for frame in features[one]
                if frame in features[other] and frame != middle[one]
            ]
            step(0.2 / len(chosen))
            return _agree(pair, [(features[one][a], features[other][b], a, b, matches) for a, b, matches in parts])

        pairs = list(pool.map(complete, chosen))
    return [pair for pair in pairs if pair is not None]


def _candidates(views: Sequence[View]) -> list[tuple[int, int]]:
    count = len(views)
    if count <= _MOST_FOR_ALL_PAIRS:
        return [(one, other) for one in range(count) for other in range(one + 1, count)]
    axes = np.array([view.viewmat[2, :3] for view in views])
    alike = axes @ axes.T
    np.fill_diagonal(alike, -np.inf)
    nearest = np.argsort(-alike, axis=1)[:, :_NEIGHBOURS]
    return sorted({(min(one, int(other)), max(one, int(other))) for one in range(count) for other in nearest[one]})


def _best(counts: dict[tuple[int, int], int], views: int) -> list[tuple[int, int]]:
    """Of every view the pairs with most matches."""
    chosen: set[tuple[int, int]] = set()
    for view in range(views):
        own = sorted((pair for pair in counts if view in pair), key=lambda pair: -counts[pair])
        chosen.update(pair for pair in own[:_PAIRS_PER_VIEW] if counts[pair] >= _LEAST_MATCHES)
    return sorted(chosen)


def _agree(pair: tuple[int, int], parts: Sequence[tuple[Features, Features, int, int, np.ndarray]]) -> Pair | None:
    import cv2

    one = np.concatenate([first.points[matches[:, 0]] for first, *_, matches in parts])
    other = np.concatenate([second.points[matches[:, 1]] for _, second, *_, matches in parts])
    frames = np.concatenate([np.full((len(matches), 2), (a, b)) for _, _, a, b, matches in parts])
    # What stands still is found at each instant at the same pixels; counting it once leaves what moves its weight.
    _, unique = np.unique(np.concatenate([one, other], axis=1).round(), axis=0, return_index=True)
    one, other, frames = one[unique], other[unique], frames[unique]
    if len(one) < _LEAST_MATCHES:
        return None
    cv2.setRNGSeed(0)
    _, mask = cv2.findFundamentalMat(one, other, cv2.USAC_MAGSAC, _RANSAC_PIXELS, 0.999, 2000)
    if mask is None or not mask.any():
        return None
    agreeing = mask[:, 0] > 0
    return Pair(
        *pair,
        one[agreeing].astype(np.float64),
        other[agreeing].astype(np.float64),
        frames[agreeing, 0],
        frames[agreeing, 1],
        len(one),
    )
