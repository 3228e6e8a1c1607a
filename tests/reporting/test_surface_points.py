"""Depth against known surface points, on a sphere."""

import math

import numpy as np
import pytest
import torch

from moegs_ns.reporting.depth_consistency import ConsistencyRules, DepthView
from moegs_ns.reporting.surface_points import DepthErrors, visible_points

SIZE, FOCAL, CENTRE, RADIUS = 48, 60.0, np.array([0.1, 0.0, 4.0]), 1.0


def sphere_view() -> tuple[DepthView, np.ndarray]:
    """True z-depth of a sphere before a wall at z = 6, seen from the origin; and the sphere's mask."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2) / FOCAL
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    a, b = (rays**2).sum(axis=-1), rays @ CENTRE
    root = b**2 - a * (CENTRE @ CENTRE - RADIUS**2)
    depth = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, 6.0)
    intrinsics = torch.tensor([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]], dtype=torch.float64)
    view = DepthView(torch.from_numpy(depth), torch.ones(SIZE, SIZE), torch.eye(4, dtype=torch.float64), intrinsics)
    return view, root > 0


def sphere_points(count: int = 600) -> np.ndarray:
    """Spread evenly (Fibonacci)."""
    z = 1 - (2 * np.arange(count) + 1) / count
    angle = np.arange(count) * math.pi * (3 - math.sqrt(5))
    ring = np.sqrt(1 - z**2)
    return CENTRE + RADIUS * np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)


def test_the_far_side_is_hidden() -> None:
    view, mask = sphere_view()
    points = sphere_points()
    found = visible_points(torch.from_numpy(points), view, mask).numpy()
    facing = ((points - CENTRE) * points).sum(axis=1) < 0
    assert not (found & ~facing).any()
    slope = ((CENTRE - points) * points).sum(axis=1) / np.linalg.norm(points, axis=1) / RADIUS
    assert found[slope > 0.6].mean() > 0.95  # 1 faces the camera, 0 is on the outline


def test_errors_are_those_of_the_depth() -> None:
    view, mask = sphere_view()
    moved = DepthView(view.depth + 0.25, view.accumulation, view.viewmat, view.intrinsics)
    for shown, expected in ((view, 0.0), (moved, 0.25)):
        errors = DepthErrors(ConsistencyRules())
        errors.update(shown, {"ball": sphere_points()}, {"ball": mask})
        found = errors.compute()["ball"]
        assert found.error == pytest.approx(expected, abs=0.01) and found.shown == 1.0
        assert found.relative == pytest.approx(expected / 3.2, rel=0.1, abs=0.003)


def test_objects_hidden_by_others_or_not_rendered() -> None:
    view, mask = sphere_view()
    errors = DepthErrors(ConsistencyRules())
    errors.update(view, {"ball": sphere_points(), "unmasked": sphere_points()}, {"ball": np.zeros_like(mask)})
    assert errors.compute() == {}
    empty = DepthView(view.depth, torch.zeros(SIZE, SIZE), view.viewmat, view.intrinsics)
    errors.update(empty, {"ball": sphere_points()}, {"ball": mask})
    found = errors.compute()["ball"]
    assert found.points > 100 and found.shown == 0.0 and math.isnan(found.error)
