"""The synthetic scene of the rasterizer benchmarks: Gaussians on surfaces, like those of a trained model.

A wall, a floor and spheres; scales from the distance to the nearest neighbours times a log-normal anisotropy; opacities
logit-normal. Everything follows from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from moegs_ns.splats.splats import Splats


@dataclass(frozen=True, eq=False)
class SurfaceScene:
    """What one call of ``rasterize`` takes, float32."""

    splats: Splats
    channels: Tensor  # [N, C] in [0, 1)
    viewmat: Tensor  # [4, 4]
    K: Tensor  # [3, 3]
    width: int
    height: int


def surface_scene(count: int, channels: int, width: int, height: int, seed: int = 0) -> SurfaceScene:
    """``count`` Gaussians on a wall, a floor and seven spheres, seen by a camera with 60 degrees of horizontal view.

    Args:
        count: number of Gaussians; about four in five fall into the image.
        channels: number of channels C.
        width: image width in pixels.
        height: image height in pixels.
        seed: of positions, shapes, opacities and channels.
    """
    rng = np.random.default_rng(seed)
    focal = float(0.5 * width / np.tan(np.radians(30.0)))
    points = np.concatenate(
        [
            _rectangle(rng, int(0.40 * count), (-4.0, -3.0, 6.0), (8.0, 0.0, 0.0), (0.0, 4.5, 0.0)),
            _rectangle(rng, int(0.25 * count), (-4.0, 1.5, 1.5), (8.0, 0.0, 0.0), (0.0, 0.0, 4.5)),
            _spheres(rng, count - int(0.40 * count) - int(0.25 * count), spheres=7),
        ]
    )
    rng.shuffle(points)
    distances, _ = cKDTree(points).query(points, k=4, workers=-1)
    spacing = np.sqrt((distances[:, 1:] ** 2).mean(axis=1, keepdims=True))
    scales = spacing * np.exp(rng.normal(0.0, 0.5, (count, 3)))
    quats = rng.normal(size=(count, 4))
    opacities = 1.0 / (1.0 + np.exp(-rng.normal(0.0, 2.0, count)))

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))

    return SurfaceScene(
        splats=Splats(
            means=tensor(points),
            quats=tensor(quats / np.linalg.norm(quats, axis=1, keepdims=True)),
            scales=tensor(scales),
            opacities=tensor(opacities),
        ),
        channels=tensor(rng.random((count, channels))),
        viewmat=torch.eye(4),
        K=torch.tensor([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]]),
        width=width,
        height=height,
    )


def _rectangle(rng: np.random.Generator, count: int, corner, side_a, side_b) -> np.ndarray:
    a, b = rng.random((count, 1)), rng.random((count, 1))
    return np.asarray(corner) + a * np.asarray(side_a) + b * np.asarray(side_b)


def _spheres(rng: np.random.Generator, count: int, spheres: int) -> np.ndarray:
    centres = np.stack(
        [rng.uniform(-2.0, 2.0, spheres), rng.uniform(-1.0, 1.2, spheres), rng.uniform(2.5, 5.5, spheres)], axis=1
    )
    radii = rng.uniform(0.3, 0.8, (spheres, 1))
    which = rng.integers(spheres, size=count)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return centres[which] + radii[which] * directions
