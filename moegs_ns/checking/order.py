"""Whether pictures fit the poses of other views better than their own: swapped files, rows in another order.

Any assignment of pictures to poses is judged by the shares of matches that lie off the epipolar lines. Good assignments
are grown from pairs that fit well, and improved by swaps; nothing is assumed about how the order came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from moegs_ns.checking.matching import Pair
from moegs_ns.checking.result import CheckResult, Verdict, fine, listed, skipped
from moegs_ns.checking.views import View
from moegs_ns.preparation.two_view import fundamental_matrix, sampson_distance

NAME = "order"
# Matches farther than this share of the diagonal from their epipolar line do not fit.
_FITS = 0.005
_MATCHES_PER_PAIR = 60
_STARTS = 60
# Another order counts only if it leaves at most this share of the misfit. Measured (docs/data_check.md): with two files
# of `mixed` or `basketball` swapped, or their rows reversed, the true order leaves 0 to 25 %.
_LEAST_GAIN = 0.5
#: Shares of matches that do not fit, of all pairs; a rig with less is in order.
MISFIT = 0.08


@dataclass(frozen=True)
class Assignment:
    """Whose pose fits each view's pictures best.

    Attributes:
        poses: of each view, the position of the view whose pose its pictures fit.
        misfit: mean share of matches off their epipolar lines with these poses.
        misfit_as_given: the same as the scene says.
    """

    poses: tuple[int, ...]
    misfit: float
    misfit_as_given: float

    @property
    def moved(self) -> list[int]:
        """Views whose pictures fit another's pose."""
        if self.misfit_as_given < MISFIT or self.misfit > _LEAST_GAIN * self.misfit_as_given:
            return []
        return [view for view, pose in enumerate(self.poses) if pose != view]


def assign(views: Sequence[View], pairs: Sequence[Pair]) -> Assignment:
    """Find the assignment of pictures to poses that fits the telling pairs best."""
    telling = [pair for pair in pairs if pair.is_telling]
    count = len(views)
    given = np.arange(count)
    if not telling:
        return Assignment(tuple(given.tolist()), 0.0, 0.0)
    costs = np.stack([_costs(views, pair) for pair in telling])
    ends = np.array([(pair.one, pair.other) for pair in telling])
    as_given = _total(costs, ends, given)
    best, least = given, as_given
    if as_given >= MISFIT:
        for start in [given, given[::-1], *_grown(costs, ends, count)]:
            order, misfit = _improved(costs, ends, start)
            if misfit < least - 1e-9:
                best, least = order, misfit
        best = _settled(costs, ends, best, least)
    return Assignment(tuple(best.tolist()), least, as_given)


def with_order(views: Sequence[View], assignment: Assignment) -> list[View]:
    """The views with the poses their pictures fit."""
    return [
        replace(view, viewmat=views[pose].viewmat, intrinsics=views[pose].intrinsics)
        for view, pose in zip(views, assignment.poses, strict=True)
    ]


def check_order(views: Sequence[View], assignment: Assignment) -> CheckResult:
    """The result; names whose pose fits whose pictures."""
    names = [view.name for view in views]
    moved = assignment.moved
    numbers = {
        "misfit_as_given": assignment.misfit_as_given,
        "misfit_of_best_order": assignment.misfit,
        "limit": MISFIT,
        "fits": {names[view]: names[assignment.poses[view]] for view in moved},
    }
    if not moved:
        return fine(NAME, "No view's pictures fit another view's pose better.", **numbers)
    fits = listed((f"{names[view]} that of {names[assignment.poses[view]]}" for view in moved), most=4)
    if len(moved) == 2:
        one, other = (names[view] for view in moved)
        said = (
            f"The files or poses of {one} and {other} are swapped: each one's pictures fit the other's pose; exchange "
            "the files, or the rows of the poses."
        )
    else:
        said = (
            f"Poses are in another order than the files: {len(moved)} of {len(views)} cameras' pictures fit another's "
            f"pose ({fits}); write the rows of poses_bounds.npy in the sorted order of the cameras' names."
        )
    return CheckResult(NAME, Verdict.UNUSABLE, said, tuple(names[view] for view in moved), numbers)


def skip_order(reason: str) -> CheckResult:
    """Where there is no order to speak of."""
    return skipped(NAME, reason)


def _costs(views: Sequence[View], pair: Pair) -> np.ndarray:
    """``[V,V]``: share of the pair's matches that do not fit, were its pictures taken from any two views' poses."""
    chosen = np.unique(np.linspace(0, len(pair) - 1, _MATCHES_PER_PAIR).round().astype(int))
    viewmats = np.array([view.viewmat for view in views])
    intrinsics = np.array([view.intrinsics for view in views])
    matrices = fundamental_matrix(viewmats[:, None], intrinsics[:, None], viewmats[None], intrinsics[None])
    off = sampson_distance(matrices, *_spread(pair, chosen, len(views))) > _FITS * np.hypot(*views[pair.one].size)
    costs = off.mean(axis=-1)
    np.fill_diagonal(costs, 1.0)
    return costs


def _spread(pair: Pair, chosen: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    shape = (count, count, len(chosen), 2)
    return (
        np.broadcast_to(pair.pixels_one[chosen], shape),
        np.broadcast_to(pair.pixels_other[chosen], shape),
    )


def _total(costs: np.ndarray, ends: np.ndarray, order: np.ndarray) -> float:
    return float(costs[np.arange(len(costs)), order[ends[:, 0]], order[ends[:, 1]]].mean())


def _improved(costs: np.ndarray, ends: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Swaps of two views' poses for as long as one helps."""
    order, misfit = start.copy(), _total(costs, ends, start)
    while True:
        best = None
        for one in range(len(order)):
            for other in range(one + 1, len(order)):
                order[[one, other]] = order[[other, one]]
                total = _total(costs, ends, order)
                order[[one, other]] = order[[other, one]]
                if total < misfit - 1e-9:
                    misfit, best = total, (one, other)
        if best is None:
            return order, misfit
        order[list(best)] = order[list(best[::-1])]


def _settled(costs: np.ndarray, ends: np.ndarray, order: np.ndarray, misfit: float) -> np.ndarray:
    """Views whose pairs say nothing go back to their own poses where these are free."""
    told = np.unique(ends)
    silent = [view for view in range(len(order)) if view not in told]
    order = order.copy()
    for view in silent:
        holder = int(np.flatnonzero(order == view)[0])
        swapped = order.copy()
        swapped[[view, holder]] = swapped[[holder, view]]
        if holder in silent or _total(costs, ends, swapped) <= misfit + 1e-9:
            order = swapped
    return order


def _grown(costs: np.ndarray, ends: np.ndarray, count: int) -> list[np.ndarray]:
    """Assignments grown view by view from a pair and two poses that fit it well."""
    neighbours: dict[int, list[tuple[int, np.ndarray]]] = {view: [] for view in range(count)}
    for (one, other), cost in zip(ends.tolist(), costs, strict=True):
        neighbours[one].append((other, cost))
        neighbours[other].append((one, cost.T))
    flat = costs.reshape(len(costs), -1)
    seeds = np.argsort(flat, axis=None, kind="stable")
    # Spread over pairs: a pair with few matches may fit many poses.
    per_pair: dict[int, int] = {}
    grown = []
    for seed in seeds.tolist():
        pair, place = divmod(seed, flat.shape[1])
        if per_pair.get(pair, 0) >= max(2, _STARTS // len(costs)):
            continue
        per_pair[pair] = per_pair.get(pair, 0) + 1
        grown.append(_grow(tuple(ends[pair].tolist()), divmod(place, count), neighbours, count))
        if len(grown) >= _STARTS:
            break
    return grown


def _grow(
    pair: tuple[int, ...],
    poses: tuple[int, int],
    neighbours: dict[int, list[tuple[int, np.ndarray]]],
    count: int,
) -> np.ndarray:
    placed = dict(zip(pair, poses, strict=True))
    free = set(range(count)) - set(poses)
    while free:
        told = {view: [n for n in neighbours[view] if n[0] in placed] for view in range(count) if view not in placed}
        view = max(told, key=lambda one: (len(told[one]), -one))
        if not told[view]:  # nothing known of any that is left: their own poses where free
            for one in sorted(told, key=lambda one: one not in free):
                pose = one if one in free else min(free)
                placed[one] = pose
                free.remove(pose)
            break
        cost = np.mean([own[:, placed[other]] for other, own in told[view]], axis=0)
        pose = min(free, key=lambda one: (cost[one], one != view))
        placed[view] = pose
        free.remove(pose)
    return np.array([placed[view] for view in range(count)])
