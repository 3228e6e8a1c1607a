"""Sets of different tensors act as one row of Gaussians."""

import torch

from moegs_ns.splats.gaussian_parts import GaussianParts
from moegs_ns.splats.gaussian_set import GaussianSet


def make_part(count: int, **extra: torch.Tensor) -> GaussianSet:
    tensors = {
        "means": torch.randn(count, 3),
        "scales": torch.randn(count, 3),
        "quats": torch.randn(count, 4),
        "opacities": torch.randn(count),
    }
    return GaussianSet({**tensors, **extra})


def test_groups_are_named_after_their_part() -> None:
    parts = GaussianParts({"static": make_part(3), "dynamic": make_part(2, path=torch.randn(2, 5, 3))})
    assert len(parts) == 5
    names = {f"{part}_{name}" for part in ("static", "dynamic") for name in ("means", "scales", "quats", "opacities")}
    assert set(parts.params) == names | {"dynamic_path"}
    assert parts.params["dynamic_path"] is parts["dynamic"]["path"]
    optimizers = {name: object() for name in parts.params}
    assert parts.optimizers_of("dynamic", optimizers)["path"] is optimizers["dynamic_path"]
    assert set(parts.optimizers_of("static", optimizers)) == set(parts["static"].params)


def test_gradients_go_to_their_part() -> None:
    parts = GaussianParts({"static": make_part(2), "dynamic": make_part(1)})
    gradient = torch.tensor([[3e-3, 4e-3], [1.0, 0.0], [0.0, 2e-3]])
    parts.accumulate_gradients(gradient, torch.tensor([True, False, True]), 2, 4)
    torch.testing.assert_close(parts["static"].mean_gradient(), torch.tensor([(9e-6 + 64e-6) ** 0.5, 0.0]))
    torch.testing.assert_close(parts["dynamic"].mean_gradient(), torch.tensor([4e-3]))


def test_scales_are_capped_in_all_parts() -> None:
    parts = GaussianParts({"static": make_part(3), "dynamic": make_part(2)})
    parts["static"]["scales"].data[1, 2], parts["dynamic"]["scales"].data[0, 1] = 9.0, 8.0
    expected = [part["scales"].detach().exp().clamp(max=2.0) for part in parts]
    parts.cap_scale(2.0)
    for part, scales in zip(parts, expected, strict=True):
        torch.testing.assert_close(part["scales"].detach().exp(), scales)


def test_parts_may_be_empty_and_load_other_sizes() -> None:
    empty = GaussianParts({"static": make_part(1), "dynamic": make_part(0, path=torch.zeros(0, 5, 3))})
    full = GaussianParts({"static": make_part(4), "dynamic": make_part(2, path=torch.randn(2, 5, 3))})
    parameter = empty["dynamic"]["path"]
    empty.load_state_dict(full.state_dict())
    assert len(empty) == 6 and empty["dynamic"]["path"] is parameter
    assert all(torch.equal(a, b) for a, b in zip(empty.parameters(), full.parameters(), strict=True))
