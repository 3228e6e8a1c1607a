"""The similarity (turn, scale, shift) between two worlds in which the same points are known.

Structure from motion finds cameras up to one, so only aligned ones can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LEAST_POINTS = 3


@dataclass(frozen=True)
class Similarity:
    """``x -> scale * rotation @ x + shift``."""

    scale: float
    rotation: np.ndarray
    """``[3,3]``"""
    shift: np.ndarray
    """``[3]``"""

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Points ``[...,3]`` in the other world."""
        return self.scale * points @ self.rotation.T + self.shift


def align_similarity(points: np.ndarray, to: np.ndarray) -> Similarity:
    """The similarity with the least squared distances (Umeyama, 1991).

    Args:
        points: ``[N,3]``, N >= 3, not all on one line.
        to: ``[N,3]``: where they should lie.

    Raises:
        ValueError: too few points, or all at one place.
    """
    if len(points) < _LEAST_POINTS or points.shape != to.shape:
        raise ValueError(f"expected {_LEAST_POINTS} points or more in two worlds, found {len(points)} and {len(to)}")
    centre, centre_to = points.mean(axis=0), to.mean(axis=0)
    variance = float(((points - centre) ** 2).sum())
    if variance == 0:
        raise ValueError("expected points at several places, found all at one")
    left, values, right = np.linalg.svd((to - centre_to).T @ (points - centre))
    handed = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * handed) @ right
    scale = float((values * handed).sum()) / variance
    return Similarity(scale, rotation, centre_to - scale * rotation @ centre)
