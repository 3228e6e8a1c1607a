"""Points in space from matches between many images of known cameras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from moegs_ns.preparation.two_view import Triangulation, triangulate

_ROUNDS = 8


@dataclass(frozen=True)
class Tracks:
    """M points of the scene, each seen by several of V images.

    Attributes:
        pixels: float64 ``[V,M,2]``; anything where not seen.
        seen: bool ``[V,M]``.
    """

    pixels: np.ndarray
    seen: np.ndarray

    def __len__(self) -> int:
        return self.seen.shape[1]


def join(points: Sequence[np.ndarray], pairs: Mapping[tuple[int, int], np.ndarray]) -> Tracks:
    """What matches with the same is the same; where that makes two points of one image the same, both are left out.

    Args:
        points: ``[N_v,2]`` pixels of the points of each image.
        pairs: of images ``(one, other)`` the positions of matching points, ``[M,2]``.
    """
    counts = [len(one) for one in points]
    starts = np.cumsum([0, *counts])
    total = int(starts[-1])
    edges = [found + starts[[one, other]] for (one, other), found in pairs.items() if len(found)]
    if not edges:
        return Tracks(np.zeros((len(points), 0, 2)), np.zeros((len(points), 0), dtype=bool))
    ends = np.concatenate(edges)
    graph = coo_matrix((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(total, total))
    _, group = connected_components(graph, directed=False)
    image = np.repeat(np.arange(len(points)), counts)
    # Of each group the number of points in each image; only what is matched at all.
    matched = np.unique(ends)
    labels, compact = np.unique(group[matched], return_inverse=True)
    occurrences = np.zeros((len(points), len(labels)), dtype=np.int64)
    np.add.at(occurrences, (image[matched], compact), 1)
    pixels = np.zeros((len(points), len(labels), 2))
    pixels[image[matched], compact] = np.concatenate([np.asarray(one, dtype=np.float64) for one in points])[matched]
    seen = occurrences == 1
    usable = seen.sum(axis=0) >= 2
    return Tracks(pixels[:, usable], seen[:, usable])


@dataclass(frozen=True)
class Located:
    """M points that survived.

    Attributes:
        points: ``[M,3]`` world units.
        seen: bool ``[V,M]``: by which images.
        errors: ``[V,M]`` pixels; NaN where not seen.
    """

    points: np.ndarray
    seen: np.ndarray
    errors: np.ndarray

    def __len__(self) -> int:
        return len(self.points)


def locate(
    tracks: Tracks,
    viewmats: np.ndarray,
    intrinsics: np.ndarray,
    tolerance: float,
    least_views: int,
    least_angle: float,
) -> Located:
    """Triangulate, leaving out the worst view of a point again and again until all agree with it.

    Args:
        tracks: to triangulate.
        viewmats: ``[V,4,4]`` OpenCV world-to-camera.
        intrinsics: ``[V,3,3]``.
        tolerance: pixels by which a point may miss any of its views.
        least_views: that must agree.
        least_angle: degrees between some two of the rays.
    """
    kept_points, kept_seen, kept_errors = [], [], []
    remaining = tracks
    for _ in range(_ROUNDS):
        enough = remaining.seen.sum(axis=0) >= max(2, least_views)
        remaining = Tracks(remaining.pixels[:, enough], remaining.seen[:, enough])
        if not len(remaining):
            break
        found: Triangulation = triangulate(viewmats, intrinsics, remaining.pixels, remaining.seen)
        worst = np.where(remaining.seen, found.errors, -np.inf)
        good = worst.max(axis=0) <= tolerance
        wide = found.angles >= np.radians(least_angle)
        kept_points.append(found.points[good & wide])
        kept_seen.append(remaining.seen[:, good & wide])
        kept_errors.append(found.errors[:, good & wide])
        seen = remaining.seen.copy()
        seen[worst.argmax(axis=0), np.arange(seen.shape[1])] = False
        remaining = Tracks(remaining.pixels[:, ~good], seen[:, ~good])
    if not kept_points:
        views = len(viewmats)
        return Located(np.zeros((0, 3)), np.zeros((views, 0), dtype=bool), np.zeros((views, 0)))
    return Located(
        np.concatenate(kept_points), np.concatenate(kept_seen, axis=1), np.concatenate(kept_errors, axis=1)
    )  # fmt: skip
