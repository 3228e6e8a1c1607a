"""Points that several views show, and how well each view's pose agrees with what the others say of them.

Two views constrain a point to a line; an error along that line shows only against a third view. Each view is therefore
held against points triangulated from the *other* views: a camera turned by 2 degrees misses them in any direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from moegs_ns.checking.matching import Pair
from moegs_ns.checking.views import View
from moegs_ns.preparation.two_view import project

# Rays of the others must meet at this angle, or depth, and with it the prediction, is too uncertain.
_LEAST_ANGLE = np.radians(3.0)
# Points on which the others themselves disagree (share of the diagonal, or so many pixels in small pictures) say
# nothing about this view.
_OTHERS_AGREE = 0.003
_OTHERS_AGREE_PIXELS = 1.0
# So many of the others may be wrong about a point.
_MOST_DROPPED = 3
#: A view with fewer points that others predict is not judged.
LEAST_POINTS = 30


@dataclass(frozen=True)
class Tracks:
    """M points seen by V views.

    Attributes:
        viewmats: ``[V,4,4]``.
        intrinsics: ``[V,3,3]``.
        pixels: float64 ``[V,M,2]``; 0 where not seen.
        seen: bool ``[V,M]``; every point is seen by two views or more.
        sizes: ``[V,2]`` width and height.
    """

    viewmats: np.ndarray
    intrinsics: np.ndarray
    pixels: np.ndarray
    seen: np.ndarray
    sizes: np.ndarray

    @property
    def diagonals(self) -> np.ndarray:
        """``[V]`` pixels."""
        return np.linalg.norm(self.sizes, axis=1)

    def without(self, views: Iterable[int]) -> Tracks:
        """As if some views had seen nothing."""
        seen = self.seen.copy()
        seen[list(views)] = False
        kept = seen.sum(axis=0) >= 2
        return replace(self, pixels=self.pixels[:, kept], seen=seen[:, kept])


def link(views: Sequence[View], pairs: Sequence[Pair]) -> Tracks:
    """Matches of pairs that share a point of a picture, joined; those that join two points of one picture are left
    out."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    def keys(view: int, frames: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        # Found in one picture at the same place: one point.
        return np.column_stack([np.full(len(frames), view), frames, np.round(pixels * 16)]).astype(np.int64)

    ends = [(keys(p.one, p.frames, p.pixels_one), keys(p.other, p.frames_other, p.pixels_other)) for p in pairs]
    count = len(views)
    viewmats = np.array([view.viewmat for view in views])
    intrinsics = np.array([view.intrinsics for view in views])
    sizes = np.array([view.size for view in views])
    if not ends:
        return Tracks(viewmats, intrinsics, np.zeros((count, 0, 2)), np.zeros((count, 0), dtype=bool), sizes)
    every = np.concatenate([*(one for one, _ in ends), *(other for _, other in ends)])
    points, where = np.unique(every, axis=0, return_inverse=True)
    where = where.reshape(-1)
    one, other = np.split(where, 2)
    graph = coo_matrix((np.ones(len(one)), (one, other)), shape=(len(points), len(points)))
    number, track = connected_components(graph, directed=False)
    occupied = np.zeros((count, number), dtype=np.int64)
    np.add.at(occupied, (points[:, 0], track), 1)
    sound = (occupied.max(axis=0) == 1) & (occupied.sum(axis=0) >= 2)
    position = np.cumsum(sound) - 1
    kept = sound[track]
    pixels = np.zeros((count, int(sound.sum()), 2))
    pixels[points[kept, 0], position[track[kept]]] = points[kept, 2:] / 16
    return Tracks(viewmats, intrinsics, pixels, occupied[:, sound] > 0, sizes)


@dataclass(frozen=True)
class Agreement:
    """How far each of V views is from what the others say.

    Attributes:
        errors: ``[V]`` median pixels between where points are seen and where the other views put them; NaN where too
            few points say anything.
        points: ``[V]`` how many points these are.
    """

    errors: np.ndarray
    points: np.ndarray


def agreement(tracks: Tracks) -> Agreement:
    """Each view against points triangulated from all others."""
    count = len(tracks.viewmats)
    errors, points = np.full(count, np.nan), np.zeros(count, dtype=np.int64)
    equations = _equations(tracks)
    total = equations.sum(axis=0)
    centres = -np.einsum("vji,vj->vi", tracks.viewmats[:, :3, :3], tracks.viewmats[:, :3, 3])
    limits = np.maximum(_OTHERS_AGREE_PIXELS, _OTHERS_AGREE * tracks.diagonals)
    for view in range(count):
        shown = np.flatnonzero(tracks.seen[view] & (tracks.seen.sum(axis=0) >= 3))
        if len(shown) < LEAST_POINTS:
            continue
        seen = tracks.seen[:, shown].copy()
        seen[view] = False
        normal = total[shown] - equations[view, shown]
        places, misses = np.zeros((len(shown), 3)), np.zeros(seen.shape)
        again = np.arange(len(shown))
        for _ in range(_MOST_DROPPED + 1):
            places[again] = _solve(normal[again], tracks)
            projected, depths = project(tracks.viewmats, tracks.intrinsics, places[again])
            away = np.linalg.norm(projected - tracks.pixels[:, shown[again]], axis=-1)
            misses[:, again] = np.where(depths > 0, away, np.inf)
            # Of points that the others disagree on the worst goes, while three are left to outvote it.
            wrong = np.where(seen, misses / limits[:, None], 0.0)
            again = np.flatnonzero((wrong.max(axis=0) > 1) & (seen.sum(axis=0) > 3))
            if not len(again):
                break
            worst = wrong[:, again].argmax(axis=0)
            seen[worst, again] = False
            normal[again] -= equations[worst, shown[again]]
        sound = (wrong.max(axis=0) <= 1) & (_widest_angle(places, centres, seen) > _LEAST_ANGLE)
        points[view] = sound.sum()
        if points[view] >= LEAST_POINTS:
            errors[view] = np.median(misses[view, sound])
    return Agreement(errors, points)


def _equations(tracks: Tracks) -> np.ndarray:
    """Normal matrices ``[V,M,4,4]`` of the linear equations a view has for a point; zero where it is not seen."""
    middle, size = _frame(tracks)
    cameras = tracks.viewmats[:, :3].copy()
    cameras[:, :, 3] = (tracks.viewmats[:, :3, :3] @ middle + tracks.viewmats[:, :3, 3]) / size
    homogeneous = np.concatenate([tracks.pixels, np.ones((*tracks.pixels.shape[:2], 1))], axis=-1)
    rays = homogeneous @ np.swapaxes(np.linalg.inv(tracks.intrinsics), 1, 2)
    rows = rays[..., :2, None] * cameras[:, None, 2:3] - cameras[:, None, :2]
    return np.einsum("vmri,vmrj->vmij", rows, rows) * tracks.seen[..., None, None]


def _solve(normal: np.ndarray, tracks: Tracks) -> np.ndarray:
    """Points ``[M,3]`` that the summed normal matrices ``[M,4,4]`` put least in error."""
    middle, size = _frame(tracks)
    solution = np.linalg.eigh(normal)[1][..., 0]
    weight = np.where(np.abs(solution[:, 3:]) < 1e-12, 1e-12, solution[:, 3:])
    return solution[:, :3] / weight * size + middle


def _frame(tracks: Tracks) -> tuple[np.ndarray, float]:
    """Middle and size of the rig: least squares are sound only near numbers of size 1."""
    centres = -np.einsum("vji,vj->vi", tracks.viewmats[:, :3, :3], tracks.viewmats[:, :3, 3])
    return centres.mean(axis=0), max(float(np.ptp(centres, axis=0).max()), 1e-12)


def _widest_angle(points: np.ndarray, centres: np.ndarray, seen: np.ndarray) -> np.ndarray:
    directions = points - centres[:, None]
    directions /= np.maximum(np.linalg.norm(directions, axis=-1, keepdims=True), 1e-12)
    cosine = np.einsum("vmc,wmc->vwm", directions, directions)
    both = seen[:, None] & seen[None]
    return np.arccos(np.where(both, cosine, 1.0).min(axis=(0, 1)).clip(-1, 1))
