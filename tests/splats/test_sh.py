import numpy as np
import pytest
import torch
from gsplat.cuda._torch_impl import _spherical_harmonics

from moegs_ns.splats.sh import evaluate_sh


def inputs(bases: int, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(bases)
    directions = 3 * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    sh = torch.randn(count, bases, 3, generator=generator, dtype=torch.float64)
    return directions.requires_grad_(), sh.requires_grad_()


@pytest.mark.parametrize(("degree", "bases"), [(0, 1), (0, 16), (1, 4), (1, 9), (2, 9), (3, 16)])
def test_values_and_gradients_equal_gsplats(degree, bases):
    directions, sh = inputs(bases)
    actual = evaluate_sh(degree, directions, sh)
    expected = _spherical_harmonics(degree, directions, sh)
    # gsplat's constants carry about 15 digits, some about 13.
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    weights = torch.randn_like(expected)
    wanted = (sh,) if degree == 0 else (directions, sh)
    for mine, theirs in zip(
        torch.autograd.grad(actual, wanted, weights), torch.autograd.grad(expected, wanted, weights), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_the_basis_is_orthonormal_on_the_sphere():
    """Checked by a product quadrature, which integrates polynomials of degree 6 exactly."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    angles = torch.arange(16, dtype=torch.float64) * (torch.pi / 8)
    z = torch.tensor(nodes).repeat_interleave(16)
    radius = (1 - z * z).sqrt()
    directions = torch.stack([radius * angles.cos().repeat(8), radius * angles.sin().repeat(8), z], dim=-1)
    measure = torch.tensor(weights).repeat_interleave(16) * (torch.pi / 8)
    columns = []
    for index in range(16):
        sh = torch.zeros(len(z), 16, 3, dtype=torch.float64)
        sh[:, index] = 1.0
        columns.append(evaluate_sh(3, directions, sh)[:, 0])
    basis = torch.stack(columns, dim=1)
    torch.testing.assert_close(basis.T @ (basis * measure[:, None]), torch.eye(16, dtype=torch.float64))


def test_no_gaussians():
    assert evaluate_sh(3, torch.zeros(0, 3), torch.zeros(0, 16, 3)).shape == (0, 3)


@pytest.mark.parametrize("degree", [-1, 4])
def test_degrees_out_of_range(degree):
    with pytest.raises(ValueError, match="degree from 0 to 3"):
        evaluate_sh(degree, torch.ones(2, 3), torch.ones(2, 25, 3))


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="B >= 9"):
        evaluate_sh(2, torch.ones(2, 3), torch.ones(2, 4, 3))
    with pytest.raises(ValueError, match="directions"):
        evaluate_sh(1, torch.ones(3, 3), torch.ones(2, 4, 3))
