"""The formulas of the motion fields against numpy and finite differences."""

import numpy as np
import torch

from moegs_ns.experts.fields.polynomial import linear_rotation, polynomial_displacement
from moegs_ns.experts.fields.temporal_rbf import temporal_rbf


def test_polynomial_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    coefficients, offset = rng.standard_normal((7, 9)), rng.standard_normal(7)
    expected = np.stack(
        [
            [np.polyval([c[6 + axis], c[3 + axis], c[axis], 0.0], d) for axis in range(3)]
            for c, d in zip(coefficients, offset, strict=True)
        ]
    )
    actual = polynomial_displacement(torch.tensor(coefficients), torch.tensor(offset))
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-12)


def test_displacement_vanishes_at_the_centre() -> None:
    assert not polynomial_displacement(torch.randn(4, 9), torch.zeros(4)).any()


def test_rbf_equals_numpy_and_peaks_at_the_centre() -> None:
    offset, log_scale = np.linspace(-1, 1, 9), np.linspace(-2, 0.5, 9)
    actual = temporal_rbf(torch.tensor(offset), torch.tensor(log_scale))
    np.testing.assert_allclose(actual.numpy(), np.exp(-((offset / np.exp(log_scale)) ** 2)), rtol=1e-12)
    assert float(actual[4]) == 1.0


def test_gradients_equal_finite_differences() -> None:
    torch.manual_seed(0)
    offset = torch.randn(3, dtype=torch.float64, requires_grad=True)
    coefficients = torch.randn(3, 9, dtype=torch.float64, requires_grad=True)
    log_scale = torch.randn(3, dtype=torch.float64, requires_grad=True)
    quats, rate = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True).unbind(0)
    assert torch.autograd.gradcheck(polynomial_displacement, (coefficients, offset))
    assert torch.autograd.gradcheck(temporal_rbf, (offset, log_scale))
    assert torch.autograd.gradcheck(linear_rotation, (quats, rate, offset))
