"""Rigs of views without pictures worth the name: known cameras, known points, and the pairs they would match."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from moegs_ns.checking.matching import Pair
from moegs_ns.checking.views import View
from moegs_ns.preparation.two_view import project

WIDTH, HEIGHT = 320, 240
INTRINSICS = np.array([[300.0, 0, WIDTH / 2], [0, 300.0, HEIGHT / 2], [0, 0, 1]])


def make_views(count: int, picture: np.ndarray | None = None, seed: int = 0) -> list[View]:
    """Cameras at uneven places of half a ring of radius 4, all looking about at the origin."""
    random = np.random.default_rng(seed)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if picture is None else picture
    views = []
    for index, angle in enumerate(np.linspace(0, 2.0, count)):
        angle += random.uniform(-0.05, 0.05)
        centre = np.array([4 * np.sin(angle), random.uniform(-1, 1), 4 * np.cos(angle)])
        ahead = -centre / np.linalg.norm(centre)
        right = np.cross(ahead, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(ahead, right), ahead])
        rotation = Rotation.from_euler("z", random.uniform(-10, 10), degrees=True).as_matrix() @ rotation
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ centre
        views.append(View(f"cam{index:02d}", index, viewmat, INTRINSICS, {0: picture}))
    return views


def make_pairs(views: list[View], noise: float = 0.2, reach: int = 3, seed: int = 1) -> list[Pair]:
    """Matches of 150 points around the origin between views up to ``reach`` apart, with noise in pixels."""
    random = np.random.default_rng(seed)
    points = random.uniform(-1, 1, (150, 3))
    pixels, _ = project(np.array([v.viewmat for v in views]), np.array([v.intrinsics for v in views]), points)
    pixels = np.round((pixels + random.normal(0, noise, pixels.shape)) * 16) / 16
    frames = np.zeros(len(points), dtype=np.int64)
    return [
        Pair(one, other, pixels[one], pixels[other], frames, frames, len(points))
        for one in range(len(views))
        for other in range(one + 1, min(len(views), one + 1 + reach))
    ]


def turned(views: list[View], index: int, axis: tuple[float, float, float], degrees: float = 2.0) -> list[View]:
    """One view's stated pose, turned about an axis of the camera."""
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array(axis)).as_matrix()
    viewmat = views[index].viewmat.copy()
    viewmat[:3] = turn @ viewmat[:3]
    return [replace(view, viewmat=viewmat) if number == index else view for number, view in enumerate(views)]


def reordered(views: list[View], order: np.ndarray) -> list[View]:
    """View i with the pose of view ``order[i]``."""
    return [
        replace(view, viewmat=views[pose].viewmat, intrinsics=views[pose].intrinsics)
        for view, pose in zip(views, order.tolist(), strict=True)
    ]
