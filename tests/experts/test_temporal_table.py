"""Reading a table of time embeddings, against numpy and torch's own image resizing."""

import numpy as np
import pytest
import torch

from moegs_ns.experts.fields.temporal_table import TemporalTable, growing_points


def table(rows: int = 7, size: int = 3) -> TemporalTable:
    torch.manual_seed(0)
    return TemporalTable(rows, size, std=1.0).double()


def at(time: float) -> torch.Tensor:
    return torch.tensor(time, dtype=torch.float64)


def reference(weight: np.ndarray, time: float, points: int) -> np.ndarray:
    """Resample the rows at ``points`` equally spaced places, then interpolate at ``time``."""
    rows, size = weight.shape
    columns = []
    for column in range(size):
        controls = np.interp(np.linspace(0, rows - 1, points), np.arange(rows), weight[:, column])
        columns.append(np.interp(time * (points - 1), np.arange(points), controls))
    return np.array(columns)


@pytest.mark.parametrize("points", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("time", [0.0, 0.13, 0.5, 0.77, 1.0])
def test_values_equal_numpy_interpolation(points: int, time: float) -> None:
    one = table()
    actual = one(at(time), points).detach().numpy()
    np.testing.assert_allclose(actual, reference(one.weight.detach().numpy(), time, points), atol=1e-12)


def test_control_points_are_those_of_torchs_bilinear_resize() -> None:
    one = table(rows=150, size=4).float()
    for points in (30, 77, 150):
        resized = torch.nn.functional.interpolate(
            one.weight.T[None, :, :, None], size=(points, 1), mode="bilinear", align_corners=True
        )[0, :, :, 0].T
        read = torch.stack([one(torch.tensor(index / (points - 1)), points) for index in range(points)])
        torch.testing.assert_close(read, resized, atol=2e-4, rtol=0)


def test_few_points_are_samples_and_not_averages() -> None:
    one = table()
    one.weight.data[1] = 1e6  # lies between the control points at rows 0, 3 and 6
    assert float(one(at(0.25), 3).detach().abs().max()) < 10
    assert torch.equal(one(at(0.5), 3), one.weight[3])


@pytest.mark.parametrize(("outside", "inside"), [(-0.2, 0.2), (1.3, 0.7), (-1.0, 1.0), (2.4, 0.4)])
def test_times_outside_are_reflected(outside: float, inside: float) -> None:
    one = table()
    torch.testing.assert_close(one(at(outside), 7), one(at(inside), 7))


def test_gradients_equal_finite_differences() -> None:
    one = table()
    time = torch.tensor(0.37, dtype=torch.float64, requires_grad=True)  # between two control points
    for points in (3, 7):
        assert torch.autograd.gradcheck(lambda t, _, p=points: one(t, p), (time, one.weight))
    early = torch.tensor(-0.11, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: one(t, 5), (early,))


def test_a_single_row_is_the_embedding_of_all_times() -> None:
    one = table(rows=1)
    assert torch.equal(one(at(0.0), 1), one(at(0.8), 1))


def test_growth() -> None:
    grown = [growing_points(step, 30, 150, 10000) for step in (0, 83, 84, 5000, 9999, 10000, 80000)]
    assert grown == [30, 30, 31, 90, 149, 150, 150]
    assert growing_points(0, 5, 25, 0) == 25
