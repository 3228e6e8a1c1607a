"""Ex4DGS's Gaussians of an instant and its regularisers by compiled kernels, against the torch twins in float64."""

import copy

import pytest
import torch

from moegs_ns.experts import keyframed_splats as module
from moegs_ns.experts.keyframed_splats import Instant
from moegs_ns.splats import native_backend
from moegs_ns.splats.gaussian_parts import GaussianParts
from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.splats.native_keyframes import keyframes_at

if not native_backend.available():
    pytest.skip(f"no native kernels: {native_backend.unavailable_reason()}", allow_module_level=True)

KEYFRAMES = 7
FIELDS = ("means", "quats", "scales", "opacities", "sh")


def parts(static: int, dynamic: int) -> GaussianParts:
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    def shared(count: int) -> dict[str, torch.Tensor]:
        return {
            "scales": noise(count, 3),
            "opacities": noise(count),
            "sh_base": noise(count, 3),
            "sh_rest": noise(count, 3, 3),
        }

    quats = noise(dynamic, KEYFRAMES, 4)
    if dynamic > 8:
        quats[0] = quats[0, :1]  # no rotation at all, as good as none, and half a turn's worth of sign
        quats[1] = quats[1, :1] + 1e-3 * noise(KEYFRAMES, 4)
        quats[2] = quats[2, :1] * (-1.0) ** torch.arange(KEYFRAMES)[:, None]
    centers = 3 + 1.5 * noise(dynamic, 2)
    centers[3:4, 1] = centers[3:4, 0]
    return GaussianParts(
        {
            "static": GaussianSet(
                {
                    "means": noise(static, 3),
                    "displacement": noise(static, 3),
                    "quats": noise(static, 4),
                    **shared(static),
                }
            ),
            "dynamic": GaussianSet(
                {
                    "means": noise(dynamic, KEYFRAMES, 3),
                    "quats": quats,
                    "time_centers": centers,
                    "time_log_widths": noise(dynamic, 2) - 0.5,
                    **shared(dynamic),
                }
            ),
        }
    )


def values_and_gradients(function, gaussians: GaussianParts, instant: Instant) -> list[torch.Tensor]:
    splats = function(gaussians, instant)
    results = [getattr(splats, name) for name in FIELDS]
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(one.shape, generator=generator).to(one) for one in results]
    return [*results, *torch.autograd.grad(results, list(gaussians.params.values()), upstream)]


@pytest.mark.parametrize(("static", "dynamic"), [(30, 40), (0, 9), (5, 0)])
@pytest.mark.parametrize("position", [1.0, 2.4, 3.999, 4.0])
def test_gaussians_of_an_instant_equal_the_twin(static: int, dynamic: int, position: float, monkeypatch) -> None:
    gaussians, instant = parts(static, dynamic), Instant(0.7, position, 0.2)
    exact = copy.deepcopy(gaussians).double()
    expected = values_and_gradients(module.keyframed_splats_torch, exact, instant)
    monkeypatch.setattr(module, "keyframed_splats_torch", None)
    actual = values_and_gradients(module.keyframed_splats, gaussians, instant)
    for mine, theirs in zip(actual, expected, strict=True):
        assert mine.shape == theirs.shape
        torch.testing.assert_close(mine.double(), theirs, rtol=2e-4, atol=2e-5)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    gaussians, results = parts(30, 40), []
    for threads in (1, 3, 50):
        torch.set_num_threads(threads)
        keyframes = gaussians["dynamic"]["means"]
        reach = module.mean_reach(keyframes, 5)
        results.append(
            [
                *values_and_gradients(module.keyframed_splats, gaussians, Instant(0.7, 2.4, 0.2)),
                reach.detach(),
                *torch.autograd.grad(reach, keyframes),
            ]
        )
    torch.set_num_threads(1)
    for other in results[1:]:
        assert all(torch.equal(one, same) for one, same in zip(results[0], other, strict=True))


@pytest.mark.parametrize("reached", [2, 5, 7, 9])
def test_the_reach_of_keyframes_equals_the_twin(reached: int) -> None:
    keyframes = torch.randn(20, KEYFRAMES, 3, generator=torch.Generator().manual_seed(2))
    keyframes[0, 1] = keyframes[0, 0]  # a distance of nothing has no gradient
    mine, theirs = keyframes.clone().requires_grad_(), keyframes.double().requires_grad_()
    actual, expected = module.mean_reach(mine, reached), module.mean_reach_torch(theirs, reached)
    (3 * actual).backward()
    (3 * expected).backward()
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-8)


def test_the_mean_log_length_has_autograds_gradient() -> None:
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(2))
    rows[3] = 0
    mine, theirs = rows.clone().requires_grad_(), rows.double().requires_grad_()
    actual, expected = module.mean_log_length(mine, 1e-3), torch.log(theirs.norm(dim=-1) + 1e-3).mean()
    (3 * actual).backward()
    (3 * expected).backward()
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-8)


def test_other_dtypes_and_keyframes_without_neighbours(monkeypatch) -> None:
    gaussians = parts(4, 4).double()
    assert module.keyframed_splats(gaussians, Instant(0.5, 2.0, 0.1)).means.dtype == torch.float64
    tensors = tuple(parts(0, 4)["dynamic"][name] for name in ("means", "quats", "time_centers", "time_log_widths"))
    with pytest.raises(ValueError, match="from 1 to 4, found 5"):
        keyframes_at(tensors, 5, (0.0, 1.0, 0.0, 0.0), 0.0, 5.0, 0.1)
