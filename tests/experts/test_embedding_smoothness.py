"""The difference between neighbours' embeddings, against every pair of Gaussians looked at."""

import io

import numpy as np
import pytest
import torch

from moegs_ns.experts.fields import embedding_smoothness
from moegs_ns.experts.fields.embedding_smoothness import EmbeddingSmoothness


def brute_force(z: np.ndarray, x: np.ndarray, neighbors: int, falloff: float) -> float:
    total = 0.0
    for i in range(len(x)):
        distance = np.linalg.norm(x - x[i], axis=1)
        distance[i] = np.inf
        for j in np.argsort(distance)[:neighbors]:
            total += np.sqrt(np.exp(-falloff * distance[j] ** 2) * ((z[i] - z[j]) ** 2).sum() + 1e-20)
    return total / (len(x) * neighbors)


def gaussians(count: int, size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(count, size, generator=generator, dtype=torch.float64)
    return embeddings, 0.1 * torch.randn(count, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("rows", [512, 7])  # Gaussians handled at a time
def test_value_equals_brute_force(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setitem(embedding_smoothness._ROWS, "cpu", rows)
    z, x = gaussians(60)
    actual = float(EmbeddingSmoothness(5, 40.0).double()(z, x))
    assert actual == pytest.approx(brute_force(z.numpy(), x.numpy(), 5, 40.0), rel=1e-9)


@pytest.mark.parametrize("rows", [512, 7])
def test_gradients_equal_finite_differences(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setitem(embedding_smoothness._ROWS, "cpu", rows)
    z, x = gaussians(20, size=3)
    smoothness = EmbeddingSmoothness(4, 40.0).double()
    assert torch.autograd.gradcheck(lambda z: 2 * smoothness(z, x), (z.requires_grad_(),))


def test_equal_embeddings_have_no_gradient() -> None:
    _, x = gaussians(30)
    z = torch.zeros(30, 4, dtype=torch.float64, requires_grad=True)
    EmbeddingSmoothness(3, 40.0)(z, x).backward()
    assert not z.grad.any()


def test_positions_feel_nothing() -> None:
    z, x = gaussians(10)
    x.requires_grad_()
    EmbeddingSmoothness(3, 40.0)(z.requires_grad_(), x).backward()
    assert x.grad is None


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (3, 2)])
def test_fewer_gaussians_than_neighbours(count: int, expected: int) -> None:
    z, x = gaussians(count)
    value = float(EmbeddingSmoothness(20, 40.0)(z, x))
    reference = brute_force(z.numpy(), x.numpy(), expected, 40.0) if expected else 0.0
    assert value == pytest.approx(reference)


def test_neighbours_are_looked_for_when_the_set_changes_and_not_before() -> None:
    z, x = gaussians(40)
    smoothness = EmbeddingSmoothness(5, 40.0).double()
    before = float(smoothness(z, x))
    moved = x[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    assert float(smoothness(z, moved)) == before
    smoothness.forget()
    after = float(smoothness(z, moved))
    assert after == pytest.approx(brute_force(z.numpy(), moved.numpy(), 5, 40.0))
    assert after != pytest.approx(before)
    assert float(smoothness(z[:30], moved[:30])) == pytest.approx(
        brute_force(z[:30].numpy(), moved[:30].numpy(), 5, 40.0)
    )


def test_neighbours_survive_a_checkpoint() -> None:
    z, x = gaussians(40)
    smoothness = EmbeddingSmoothness(5, 40.0).double()
    value = float(smoothness(z, x))
    file = io.BytesIO()
    torch.save(smoothness.state_dict(), file)
    file.seek(0)
    other = EmbeddingSmoothness(5, 40.0).double()
    other(z[:7], x[:7])
    other.load_state_dict(torch.load(file, weights_only=True))
    assert float(other(z, x + 1.0 * torch.rand_like(x))) == value
    smoothness.forget()
    other.load_state_dict(smoothness.state_dict())
    assert float(other(z, 2 * x)) == pytest.approx(brute_force(z.numpy(), 2 * x.numpy(), 5, 40.0))


def test_edges_are_sorted_by_where_they_lead_and_then_by_number() -> None:
    index = torch.randint(30, (40, 5), generator=torch.Generator().manual_seed(2)) + 5  # some without any
    order, starts = embedding_smoothness._sorted_edges(index)
    assert order.tolist() == sorted(range(200), key=lambda edge: (int(index.reshape(-1)[edge]), edge))
    assert starts.tolist() == [int((index < node).sum()) for node in range(40)]
    assert order.dtype == starts.dtype == torch.int64
