"""``gate`` against numpy and against what a partition of unity must be."""

import numpy as np
import pytest
import torch

from moegs_ns.router.gate import gate


def numpy_softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=0))
    return powers / powers.sum(axis=0)


@pytest.fixture
def logits() -> torch.Tensor:
    return 3 * torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("top_k", [0, 1, 2, 3, 4])
def test_gates_are_a_partition_of_unity(logits: torch.Tensor, temperature: float, top_k: int) -> None:
    gates = gate(logits, temperature, top_k)
    assert gates.shape == logits.shape
    torch.testing.assert_close(gates.sum(dim=0), torch.ones(5, 6))
    assert gates.min() >= 0 and gates.max() <= 1


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 7.0])
def test_equals_numpy(logits: torch.Tensor, temperature: float) -> None:
    expected = numpy_softmax(logits.numpy().astype(np.float64) / temperature)
    np.testing.assert_allclose(gate(logits, temperature).numpy(), expected, atol=1e-6)


def test_limits_of_the_temperature(logits: torch.Tensor) -> None:
    one_hot = torch.nn.functional.one_hot(logits.argmax(dim=0), 4).permute(2, 0, 1).float()
    # 1e-40 is a subnormal float: logits / temperature alone would overflow to inf - inf.
    for temperature in (1e-6, 1e-40):
        assert torch.equal(gate(logits, temperature), one_hot)
    torch.testing.assert_close(gate(logits, 1e9), torch.full((4, 5, 6), 0.25))
    assert torch.equal(gate(logits, float("inf")), torch.full((4, 5, 6), 0.25))


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_top_k_gives_exact_zeros_and_a_softmax_of_the_rest(logits: torch.Tensor, temperature: float) -> None:
    gates = gate(logits, temperature, top_k=2).numpy()
    assert ((gates == 0).sum(axis=0) == 2).all()
    order = np.argsort(-logits.numpy(), axis=0)
    kept = np.take_along_axis(logits.numpy() / temperature, order[:2], axis=0)
    np.testing.assert_allclose(np.take_along_axis(gates, order[:2], axis=0), numpy_softmax(kept), atol=1e-6)
    winners = gate(logits, temperature, top_k=1)
    assert torch.equal(winners, (winners == 1).float())
    assert torch.equal(winners.argmax(dim=0), logits.argmax(dim=0))


def test_of_equal_logits_the_first_are_kept() -> None:
    assert gate(torch.zeros(4), top_k=2).tolist() == [0.5, 0.5, 0.0, 0.0]
    assert gate(torch.tensor([0.0, 1.0, 1.0, 1.0]), top_k=1).tolist() == [0.0, 1.0, 0.0, 0.0]
    assert gate(torch.zeros(3)).tolist() == pytest.approx([1 / 3] * 3)


def test_any_shape_behind_the_experts() -> None:
    assert gate(torch.zeros(1)).tolist() == [1.0]
    assert gate(torch.zeros(2, 3, 4, 5)).shape == (2, 3, 4, 5)


def test_permuting_logits_permutes_gates(logits: torch.Tensor) -> None:
    order = [2, 0, 3, 1]
    for top_k in (0, 2):
        torch.testing.assert_close(gate(logits[order], 0.5, top_k), gate(logits, 0.5, top_k)[order])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("top_k", [0, 2])
def test_gradient(temperature: float, top_k: int) -> None:
    logits = torch.tensor([[0.3, 2.0], [1.1, -0.4], [-0.7, 0.9]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gate(x, temperature, top_k), (logits,))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_impossible_temperatures(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature above 0"):
        gate(torch.zeros(2), temperature)


@pytest.mark.parametrize("top_k", [-1, 3])
def test_impossible_numbers_of_experts(top_k: int) -> None:
    with pytest.raises(ValueError, match=rf"number of experts 2, found {top_k}"):
        gate(torch.zeros(2), top_k=top_k)
