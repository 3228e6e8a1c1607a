"""Points of an image that can be found again in another one, and which of them are the same.

SIFT of OpenCV, its descriptors as RootSIFT (Arandjelovic and Zisserman, 2012): Euclidean distance of square roots,
which tells more matches apart than that of the histograms themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A quarter of OpenCV's: small and soft pictures, such as 320x240 of a textured room, have few blobs of high contrast.
_CONTRAST_THRESHOLD = 0.01
# Rows compared at once: 1,000 x 4,000 similarities are 16 MB.
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Features:
    """N points of one image.

    Attributes:
        points: float32 ``[N,2]`` (column, row) in pixels; the centre of the top-left pixel is at (0.5, 0.5).
        descriptors: float32 ``[N,128]``, of length 1.
    """

    points: np.ndarray
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.points)


def detect(image: np.ndarray, limit: int = 4000) -> Features:
    """The most distinct points of an image.

    Args:
        image: uint8 ``[H,W,3]`` RGB.
        limit: how many at most.

    Raises:
        ValueError: not such an image, or no limit above 0.
    """
    import cv2

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an image uint8 [H,W,3], found {image.dtype} {list(image.shape)}")
    if limit < 1:
        raise ValueError(f"expected a limit of 1 point or more, found {limit}")
    # Without the precise upscaling OpenCV's points lie a quarter of a pixel off.
    sift = cv2.SIFT_create(nfeatures=limit, contrastThreshold=_CONTRAST_THRESHOLD, enable_precise_upscale=True)  # type: ignore[attr-defined]
    keypoints, histograms = sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    if not keypoints:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    points = np.array([point.pt for point in keypoints[:limit]], dtype=np.float32) + 0.5
    histograms = histograms[:limit]
    sums = np.maximum(histograms.sum(axis=1, keepdims=True), 1e-6)
    return Features(points, np.sqrt(histograms / sums))


def match(one: Features, other: Features, ratio: float = 0.8) -> np.ndarray:
    """Points that are each other's nearest neighbours, and clearly nearer than the second nearest (Lowe, 2004).

    Args:
        one: M1 points of an image.
        other: M2 points of another image.
        ratio: the nearest may be at most this share of the second nearest's distance away, in (0,1].

    Returns:
        int64 ``[M,2]``: positions in ``one``, ascending, and in ``other``.

    Raises:
        ValueError: the ratio is out of range.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"expected a ratio in (0,1], found {ratio}")
    if len(one) < 2 or len(other) < 2:  # nothing to be the second nearest
        return np.zeros((0, 2), dtype=np.int64)
    nearest = np.empty(len(one), dtype=np.int64)
    distinct = np.empty(len(one), dtype=bool)
    best_back = np.full(len(other), -np.inf, dtype=np.float32)
    nearest_back = np.empty(len(other), dtype=np.int64)
    for start in range(0, len(one), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        similarity = one.descriptors[part] @ other.descriptors.T
        rows, columns = np.arange(len(similarity)), np.arange(len(other))
        back = similarity.argmax(axis=0)
        better = similarity[back, columns] > best_back
        best_back[better] = similarity[back, columns][better]
        nearest_back[better] = start + back[better]
        best = similarity.argmax(axis=1)
        first = similarity[rows, best]
        similarity[rows, best] = -np.inf
        second = similarity.max(axis=1)
        nearest[part] = best
        # Descriptors have length 1, so squared distances are 2 - 2 similarity.
        distinct[part] = 1 - first < ratio**2 * (1 - second)
    positions = np.arange(len(one))
    kept = distinct & (nearest_back[nearest] == positions)
    return np.stack([positions[kept], nearest[kept]], axis=1).astype(np.int64)
