"""Cameras and points that are known exactly, and what features of them look like, without any image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moegs_ns.preparation.features import Features
from moegs_ns.scene.lens import Lens

SIZE = (320, 240)


def poses_on_an_arc(count: int, spread: float = 1.0, distance: float = 4.0) -> np.ndarray:
    """``[N,3,4]`` camera-to-world, OpenGL axes: around the origin at two heights, looking at it, z up."""
    poses = []
    for index, angle in enumerate(np.linspace(-spread / 2, spread / 2, count)):
        centre = distance * np.array([np.sin(angle), -np.cos(angle), 0.15 * (index % 2)])
        backward = centre / np.linalg.norm(centre)
        right = np.cross([0.0, 0.0, 1.0], backward)
        right /= np.linalg.norm(right)
        poses.append(np.column_stack([right, np.cross(backward, right), backward, centre]))
    return np.array(poses)


def seen_through(poses: np.ndarray, lenses: Sequence[Lens], points: np.ndarray) -> np.ndarray:
    """``[N,M,2]`` pixels of points ``[M,3]``."""
    pixels = []
    for pose, lens in zip(poses, lenses, strict=True):
        x, y, z = ((points - pose[:, 3]) @ pose[:, :3]).T
        pixels.append(lens.project(np.stack([x / -z, y / z], axis=1)))
    return np.array(pixels)


def features_of(
    poses: np.ndarray, lenses: Sequence[Lens], points: np.ndarray, seed: int = 0, noise: float = 0.2
) -> list[Features]:
    """Every camera's view of all points that fall into its picture, with descriptors that tell them apart."""
    random = np.random.default_rng(seed)
    descriptors = np.abs(random.normal(size=(len(points), 128)))
    features = []
    for pixels in seen_through(poses, lenses, points):
        inside = ((pixels >= 0) & (pixels < SIZE)).all(axis=1)
        kept = random.permutation(np.flatnonzero(inside))
        seen = descriptors[kept] + 0.05 * random.normal(size=(len(kept), 128))
        seen /= np.linalg.norm(seen, axis=1, keepdims=True)
        moved = pixels[kept] + random.normal(scale=noise, size=(len(kept), 2))
        features.append(Features(moved.astype(np.float32), seen.astype(np.float32)))
    return features
