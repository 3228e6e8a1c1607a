"""Matches between images of known cameras: a point's partner lies on a line, so few others can be mistaken for it."""

from __future__ import annotations

import numpy as np

from moegs_ns.preparation.features import Features

# Rows compared at once: 1,000 x 4,000 distances are 16 MB.
_ROWS_AT_ONCE = 1000
# The farthest descriptors of one and the same point lie apart; of length 1, unrelated ones are 0.8 and more apart.
_FARTHEST = 0.7
_NONE = -1.0  # similarity to nothing at all


def guided_match(
    one: Features, other: Features, fundamental: np.ndarray, tolerance: float, ratio: float = 0.85
) -> np.ndarray:
    """Each other's nearest neighbours among the points that the cameras' geometry allows.

    The second nearest, from which the nearest must stand out, is sought there too; not among points at the same place,
    which are the same detail at another scale or turn.

    Args:
        one, other: of the two images.
        fundamental: ``[3,3]``, ``other^T F one = 0``.
        tolerance: pixels (Sampson distance).
        ratio: of the nearest distance to the second nearest, at most.

    Returns:
        int64 ``[M,2]``: positions in ``one``, ascending, and in ``other``.
    """
    rows, columns = _allowed(one.points, other.points, fundamental, tolerance)
    similarity = np.einsum("md,md->m", one.descriptors[rows], other.descriptors[columns])
    best_of_one, distinct = _best(rows, columns, similarity, len(one), other.points, tolerance, ratio)
    best_of_other, distinct_back = _best(columns, rows, similarity, len(other), one.points, tolerance, ratio)
    kept = np.flatnonzero(distinct)
    partners = best_of_one[kept]
    mutual = (best_of_other[partners] == kept) & distinct_back[partners]
    return np.stack([kept[mutual], partners[mutual]], axis=1).astype(np.int64)


def _allowed(
    one: np.ndarray, other: np.ndarray, fundamental: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all pairs of points ``[N,2]`` and ``[M,2]`` within ``tolerance`` of showing one place."""
    scaled = (fundamental / max(np.abs(fundamental).max(), 1e-30)).astype(np.float32)
    homogeneous_one = np.column_stack([one, np.ones(len(one))]).astype(np.float32)
    homogeneous_other = np.column_stack([other, np.ones(len(other))]).astype(np.float32)
    lines = homogeneous_one @ scaled.T  # in the other image
    slopes = ((homogeneous_other @ scaled)[:, :2] ** 2).sum(axis=1)
    rows, columns = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(one), _ROWS_AT_ONCE):
        part = lines[start : start + _ROWS_AT_ONCE]
        residual = part @ homogeneous_other.T
        slope = (part[:, :2] ** 2).sum(axis=1, keepdims=True) + slopes
        row, column = np.nonzero(residual * residual <= tolerance**2 * slope)
        rows.append(row + start)
        columns.append(column)
    return np.concatenate(rows), np.concatenate(columns)


def _best(
    owner: np.ndarray,
    candidate: np.ndarray,
    similarity: np.ndarray,
    count: int,
    places: np.ndarray,
    tolerance: float,
    ratio: float,
) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``count`` owners its most similar candidate (0 where it has none), and whether that is near and
    stands out from the next that lies elsewhere (``places [M,2]`` of the candidates)."""
    first = np.full(count, _NONE, dtype=np.float32)
    np.maximum.at(first, owner, similarity)
    best = np.zeros(count, dtype=np.int64)
    is_best = similarity == first[owner]
    best[owner[is_best]] = candidate[is_best]
    elsewhere = (np.abs(places[candidate] - places[best[owner]]) >= tolerance).any(axis=1)
    second = np.full(count, _NONE, dtype=np.float32)
    np.maximum.at(second, owner[elsewhere], similarity[elsewhere])
    # Descriptors have length 1, so squared distances are 2 - 2 similarity.
    return best, (2 - 2 * first < _FARTHEST**2) & (1 - first < ratio**2 * (1 - second))
