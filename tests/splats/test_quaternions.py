import torch

from moegs_ns.splats.quaternions import unit_quaternions


def test_values_are_torchs_own_bit_for_bit_and_gradients_agree():
    quats = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    actual, expected = unit_quaternions(quats), torch.nn.functional.normalize(quats, dim=-1)
    assert torch.equal(actual, expected)
    upstream = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    mine, theirs = (torch.autograd.grad(result, quats, upstream)[0] for result in (actual, expected))
    torch.testing.assert_close(mine, theirs)


def test_gradients_equal_finite_differences():
    quats = torch.randn(6, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(unit_quaternions, (quats,))


def test_no_length_gives_no_nan():
    quats = torch.zeros(2, 4, requires_grad=True)
    unit = unit_quaternions(quats)
    unit.sum().backward()
    assert not unit.any() and torch.isfinite(quats.grad).all()
