"""The router's weights and network against a few lines of numpy."""

import numpy as np
import pytest
import torch

from moegs_ns.router.gaussian_weights import GaussianWeights
from moegs_ns.router.volume_aware import RayInput, RefinementNetwork, VolumeAwareRouter
from tests.router.views import make_view

RAYS: dict[RayInput, slice] = {"origin+direction": slice(0, 6), "direction": slice(3, 6), "none": slice(0, 0)}


@pytest.mark.parametrize("rays", list(RAYS))
def test_logits_equal_numpy(rays: RayInput) -> None:
    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    router = VolumeAwareRouter([3, 4], 0.9, rays, 1)
    splatted = generator.normal(size=(2, 5, 7, 3)).astype(np.float32)
    ray_image = generator.normal(size=(6, 5, 7)).astype(np.float32)
    first, second, third = (p.detach().numpy()[:, :, 0, 0] for p in router.network.parameters())
    assert (first.shape, second.shape, third.shape) == ((6, 2 + RAYS[rays].stop - RAYS[rays].start), (3, 6), (1, 3))
    expected = np.empty((2, 5, 7))
    for expert, row, column in np.ndindex(2, 5, 7):
        w, w_dir, w_time = splatted[expert, row, column]
        inputs = np.concatenate([[w_dir, w_time], ray_image[RAYS[rays], row, column]])
        hidden = np.maximum(second @ np.maximum(first @ inputs, 0), 0)
        expected[expert, row, column] = w + (third @ hidden)[0]
    logits = router.logits(make_view(torch.from_numpy(splatted), torch.from_numpy(ray_image)))
    np.testing.assert_allclose(logits.detach().numpy(), expected, atol=1e-5)


def test_the_network_has_the_authors_size_and_no_bias() -> None:
    assert sum(p.numel() for p in RefinementNetwork(8, 1).parameters()) == 69
    assert not any("bias" in name for name, _ in RefinementNetwork(8, 1).named_parameters())


def test_larger_kernels_see_neighbours_and_keep_the_size() -> None:
    torch.manual_seed(0)
    router = VolumeAwareRouter([1], 0.5, "origin+direction", 3)
    splatted = torch.rand(1, 9, 9, 3)
    rays = torch.rand(6, 9, 9)
    moved = splatted.clone()
    moved[0, 4, 4, 1] += 1
    changed = (router.logits(make_view(moved, rays)) - router.logits(make_view(splatted, rays))).abs()[0] > 1e-7
    assert changed.shape == (9, 9)
    rows, columns = torch.nonzero(changed, as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 7, 1, 7)  # three layers of 3x3


@pytest.mark.parametrize("hidden", [(), (0,)])
def test_impossible_hidden_sizes(hidden: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="hidden sizes of at least 1"):
        RefinementNetwork(8, 1, hidden)


@pytest.mark.parametrize("kernel_size", [0, 2, -1])
def test_impossible_kernels(kernel_size: int) -> None:
    with pytest.raises(ValueError, match=f"odd kernel size.*found {kernel_size}"):
        VolumeAwareRouter([1], 0.0, "direction", kernel_size)


def test_only_w_time_depends_on_time() -> None:
    weights = GaussianWeights(3, 0.9)
    assert torch.equal(weights.channels(0.7), torch.tensor([[0.9, 0.9, 0.0]] * 3))
    with torch.no_grad():
        weights.time.copy_(torch.tensor([[1.0], [-2.0], [0.5]]))
    for time in (0.0, 0.25, 1.0):
        channels = weights.channels(time)
        assert torch.equal(channels[:, :2], torch.full((3, 2), 0.9))
        torch.testing.assert_close(channels[:, 2], time * torch.tensor([1.0, -2.0, 0.5]))


def test_channels_follow_the_experts_order() -> None:
    router = VolumeAwareRouter([2, 3], 0.0, "direction", 1)
    with torch.no_grad():
        router.gaussian_weights[1].base.fill_(5.0)
    assert router.channels(1.0)[:, 0].tolist() == [0, 0, 5, 5, 5]


@pytest.mark.parametrize(("initial", "rays"), [(0.0, "direction"), (0.0, "origin+direction"), (0.9, "none")])
def test_every_parameter_can_leave_its_start(initial: float, rays: RayInput) -> None:
    torch.manual_seed(0)
    router = VolumeAwareRouter([4, 4], initial, rays, 1)
    with torch.no_grad():
        for parameter in router.network.parameters():
            parameter.abs_()  # no unit is asleep, which a random start does not promise
    generator = torch.Generator().manual_seed(0)
    ray_image = torch.rand(6, 8, 8, generator=generator)
    mixing = torch.rand(2, 64, 4, generator=generator)
    weighting = torch.randn(2, 8, 8, generator=generator)
    for _ in range(2):  # whatever stands still at first must move with the others
        splatted = torch.stack([mixing[k] @ weights.channels(0.5) for k, weights in enumerate(router.weights)])
        (router.logits(make_view(splatted.view(2, 8, 8, 3), ray_image)) * weighting).sum().backward()
        with torch.no_grad():
            for parameter in router.parameters():
                parameter -= 0.01 * parameter.grad
    for name, parameter in router.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_a_start_that_could_never_learn_is_refused() -> None:
    with pytest.raises(ValueError, match="would never learn"):
        VolumeAwareRouter([1], 0.0, "none", 1)
    with pytest.raises(ValueError, match="ray input to be one of"):
        VolumeAwareRouter([1], 0.0, "origin", 1)  # type: ignore[arg-type]


def test_loading_resizes_in_place_so_that_optimizers_stay_wired() -> None:
    saved = VolumeAwareRouter([5, 2], 0.3, "direction", 1)
    with torch.no_grad():
        saved.gaussian_weights[0].time.copy_(torch.arange(5.0)[:, None])
    router = VolumeAwareRouter([1, 1], 0.0, "direction", 1)
    parameters = dict(router.named_parameters())
    router.channels(1.0).sum().backward()  # gradients of the old size must not stay
    router.load_state_dict(saved.state_dict())
    for name, parameter in router.named_parameters():
        assert parameter is parameters[name]
        assert torch.equal(parameter, dict(saved.named_parameters())[name])
        assert parameter.grad is None or parameter.grad.shape == parameter.shape


def test_loading_what_is_no_router_state_is_refused() -> None:
    router = VolumeAwareRouter([1], 0.0, "direction", 1)
    state = router.state_dict()
    with pytest.raises(RuntimeError, match="weights.0.base"):
        router.load_state_dict({**state, "weights.0.base": torch.zeros(1, 7)})
    with pytest.raises(RuntimeError, match="Missing key"):
        router.load_state_dict({name: value for name, value in state.items() if name != "weights.0.time"})


@pytest.mark.parametrize("rays", list(RAYS))
def test_the_pixel_gate_of_fused_inference_has_the_routers_own_weights(rays: RayInput) -> None:
    router = VolumeAwareRouter([3], 0.9, rays, 1)
    gate = router.pixel_gate(0.5, 2, 1.0)
    assert [tuple(matrix.shape) for matrix in gate.matrices] == [
        (6, 2 + RAYS[rays].stop - RAYS[rays].start),
        (3, 6),
        (1, 3),
    ]
    assert all(
        matrix.data_ptr() == layer.data_ptr()
        for matrix, layer in zip(gate.matrices, router.network.parameters(), strict=True)
    )
    assert (gate.rays, gate.temperature, gate.top_k, gate.weight_background) == (RAYS[rays], 0.5, 2, 1.0)


def test_no_pixel_gate_sees_neighbours_or_comparisons() -> None:
    with pytest.raises(ValueError, match=r"found kernel size 3 and the comparisons \[\]"):
        VolumeAwareRouter([3], 0.5, "direction", 3).pixel_gate()
    with pytest.raises(ValueError, match=r"found kernel size 1 and the comparisons \['alpha'\]"):
        VolumeAwareRouter([3], 0.5, "direction", 1, comparisons=["alpha"]).pixel_gate()
