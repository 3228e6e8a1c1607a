"""HexPlane look-ups and regularisers against scipy and numpy."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from moegs_ns.experts.fields.deformation import DeformationHeads
from moegs_ns.experts.fields.hexplane import HexPlane


@pytest.fixture
def grid() -> HexPlane:
    torch.manual_seed(0)
    plane = HexPlane(torch.tensor([[-1.0, 0.0, 2.0], [3.0, 1.0, 6.0]]), 2, 4, (1, 2), 5).double()
    for parameter in plane.parameters():
        parameter.data.normal_()
    return plane


def reference(grid: HexPlane, points: np.ndarray, time: float) -> np.ndarray:
    low, high = grid.bounds.numpy()
    unit = np.clip((points - low) / (high - low), 0, 1)
    features = []
    for spatial, temporal in zip(grid.spatial, grid.temporal, strict=True):
        n, t = spatial.shape[-1], temporal.shape[2]
        axis, clock = np.linspace(0, 1, n), np.linspace(0, 1, t)
        product = 1.0
        for plane, (a, b) in zip(spatial.detach().numpy(), ((0, 1), (0, 2), (1, 2)), strict=True):
            values = RegularGridInterpolator((axis, axis), np.moveaxis(plane, 0, -1))
            product = product * values(unit[:, [b, a]])  # rows follow the pair's second axis
        for plane, a in zip(temporal.detach().numpy(), range(3), strict=True):
            values = RegularGridInterpolator((clock, axis), np.moveaxis(plane, 0, -1))
            product = product * values(np.stack([np.full(len(unit), time), unit[:, a]], axis=1))
        features.append(product)
    return np.concatenate(features, axis=1)


@pytest.mark.parametrize("time", [0.0, 0.37, 1.0])
def test_features_equal_scipy_interpolation(grid: HexPlane, time: float) -> None:
    points = np.random.default_rng(0).uniform([-1.5, -0.2, 1.5], [3.5, 1.2, 6.5], (20, 3))  # some outside: clamped
    actual = grid(torch.tensor(points), time).detach().numpy()
    np.testing.assert_allclose(actual, reference(grid, points, time), atol=1e-6)
    assert actual.shape == (20, grid.feature_size)


def test_gradients_equal_finite_differences(grid: HexPlane) -> None:
    # Keep the points off the cell borders, where bilinear interpolation has a kink.
    points = torch.tensor([[0.13, 0.21, 3.1], [1.7, 0.77, 4.9]], dtype=torch.float64, requires_grad=True)
    planes = tuple(grid.parameters())
    assert torch.autograd.gradcheck(lambda p, *_: grid(p, 0.3), (points, *planes))


def test_time_changes_nothing_before_training() -> None:
    fresh = HexPlane(torch.tensor([[0.0] * 3, [1.0] * 3]), 3, 4, (1,), 6)
    points = torch.rand(5, 3)
    assert torch.equal(fresh(points, 0.0), fresh(points, 0.7))


def test_regularisers_equal_numpy(grid: HexPlane) -> None:
    def second(planes: torch.Tensor) -> np.ndarray:
        values = planes.detach().numpy()
        return values[:, :, 2:] - 2 * values[:, :, 1:-1] + values[:, :, :-2]

    spatial = sum(3 * (second(p) ** 2).mean() for p in grid.spatial)
    time = sum(3 * (second(p) ** 2).mean() for p in grid.temporal)
    sparse = sum(3 * np.abs(p.detach().numpy() - 1).mean() for p in grid.temporal)
    assert float(grid.spatial_smoothness().detach()) == pytest.approx(spatial)
    assert float(grid.time_smoothness().detach()) == pytest.approx(time)
    assert float(grid.time_sparsity().detach()) == pytest.approx(sparse)


def test_heads_share_a_trunk_and_have_their_sizes() -> None:
    heads = DeformationHeads(6, 8, {"means": 3, "sh": 12})
    features = torch.randn(5, 6)
    out = heads(features)
    assert {name: tuple(value.shape) for name, value in out.items()} == {"means": (5, 3), "sh": (5, 12)}
    hidden = features @ heads.trunk.weight.T + heads.trunk.bias
    _, first, _, second = heads.heads["means"]
    expected = (hidden.relu() @ first.weight.T + first.bias).relu() @ second.weight.T + second.bias
    assert torch.allclose(out["means"], expected, atol=1e-6)
