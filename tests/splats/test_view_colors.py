"""Colours seen from a place, in one pass and by torch: the series plus 0.5, at least 0."""

import math

import pytest
import torch

from moegs_ns.splats import native_backend
from moegs_ns.splats.sh import evaluate_sh_torch, view_colors

BACKENDS = ["torch"] + (["native"] if native_backend.available() else [])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("degree", "bases", "count"), [(0, 1, 5), (0, 4, 5), (1, 4, 37), (2, 9, 64), (3, 16, 100)])
def test_values_and_gradients(backend, degree, bases, count, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MOEGS_RASTER", backend)
    generator = torch.Generator().manual_seed(count)
    means, position = torch.randn(count, 3, generator=generator), torch.tensor([0.5, -2.0, 1.0])
    sh = torch.randn(count, bases, 3, generator=generator).requires_grad_()
    weights = torch.randn(count, 3, generator=generator)
    exact = sh.detach().double().requires_grad_()
    expected = (evaluate_sh_torch(degree, (means - position).double(), exact) + 0.5).clamp_min(0)
    assert 0 < int((expected == 0).sum()) < expected.numel()
    actual = view_colors(degree, means.requires_grad_(), position, sh)
    torch.testing.assert_close(actual, expected.float(), rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(actual, sh, weights)
    (reference,) = torch.autograd.grad(expected, exact, weights.double())
    torch.testing.assert_close(gradient, reference.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_colour_of_exactly_zero_has_a_gradient_and_one_below_has_none(backend, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MOEGS_RASTER", backend)
    norm = torch.tensor(math.sqrt(1 / (4 * math.pi)))
    coefficient = -0.5 / norm
    assert float(norm * coefficient) == -0.5
    sh = torch.stack([coefficient, 1.001 * coefficient, torch.tensor(0.0)]).reshape(1, 1, 3).requires_grad_()
    colors = view_colors(0, torch.ones(1, 3), torch.zeros(3), sh)
    assert colors[0, :2].eq(0).all() and float(colors[0, 2].detach()) == 0.5
    colors.sum().backward()
    torch.testing.assert_close(sh.grad.reshape(3), norm * torch.tensor([1.0, 0.0, 1.0]))
