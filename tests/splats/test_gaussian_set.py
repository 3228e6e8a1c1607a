"""Operations that change the number of Gaussians keep every tensor and its optimizer state in step."""

import pytest
import torch

from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.splats.neighbors import neighbor_rms_distance


def make_set(count: int = 6) -> tuple[GaussianSet, dict[str, torch.optim.Optimizer]]:
    torch.manual_seed(0)
    gaussians = GaussianSet(
        {
            "means": torch.randn(count, 3),
            "scales": torch.randn(count, 3) - 3,
            "quats": torch.nn.functional.normalize(torch.randn(count, 4), dim=-1),
            "opacities": torch.randn(count),
            "extra": torch.randn(count, 2, 5),
        }
    )
    optimizers = {name: torch.optim.Adam([p], lr=1e-2) for name, p in gaussians.params.items()}
    for p in gaussians.params.values():
        p.grad = torch.randn_like(p)
    for optimizer in optimizers.values():
        optimizer.step()
    return gaussians, optimizers


def moments(gaussians: GaussianSet, optimizers: dict, name: str) -> torch.Tensor:
    return optimizers[name].state[gaussians[name]]["exp_avg"]


def test_clone_appends_copies_with_fresh_moments() -> None:
    gaussians, optimizers = make_set()
    before = {name: p.detach().clone() for name, p in gaussians.params.items()}
    momentum = moments(gaussians, optimizers, "extra").clone()
    mask = torch.tensor([True, False, False, True, False, False])
    assert gaussians.clone(mask, optimizers) == 2
    for name, p in gaussians.params.items():
        assert torch.equal(p, torch.cat([before[name], before[name][mask]]))
        assert optimizers[name].param_groups[0]["params"][0] is p
    assert torch.equal(moments(gaussians, optimizers, "extra")[:6], momentum)
    assert not moments(gaussians, optimizers, "extra")[6:].any()
    assert gaussians.gradient_sum.shape == (8,)


def test_split_replaces_parents_by_two_smaller_children() -> None:
    gaussians, optimizers = make_set()
    parents = {name: p.detach().clone() for name, p in gaussians.params.items()}
    mask = torch.tensor([False, True, False, False, False, False])
    assert gaussians.split(mask, optimizers) == 2
    assert len(gaussians) == 7
    assert torch.equal(gaussians["extra"][:5], parents["extra"][~mask])
    assert torch.allclose(gaussians["scales"][5:].exp(), (parents["scales"][mask].exp() / 1.6).expand(2, 3))
    assert torch.equal(gaussians["extra"][5:], parents["extra"][mask].expand(2, 2, 5))
    assert not torch.equal(gaussians["means"][5], gaussians["means"][6])


def test_remove_keeps_the_survivors_state() -> None:
    gaussians, optimizers = make_set()
    kept = torch.tensor([0, 2, 5])
    values, momentum = gaussians["extra"][kept].detach().clone(), moments(gaussians, optimizers, "extra")[kept].clone()
    mask = torch.ones(6, dtype=torch.bool)
    mask[kept] = False
    assert gaussians.remove(mask, optimizers) == 3
    assert torch.equal(gaussians["extra"], values)
    assert torch.equal(moments(gaussians, optimizers, "extra"), momentum)


def test_cap_opacity_clamps_and_clears_moments() -> None:
    gaussians, optimizers = make_set()
    expected = torch.minimum(torch.sigmoid(gaussians["opacities"].detach()), torch.tensor(0.3))
    gaussians.cap_opacity(0.3, optimizers)
    assert torch.allclose(torch.sigmoid(gaussians["opacities"]), expected)
    assert not moments(gaussians, optimizers, "opacities").any()


def test_optimizers_still_move_the_parameters_after_growth() -> None:
    gaussians, optimizers = make_set()
    gaussians.clone(torch.ones(6, dtype=torch.bool), optimizers)
    before = gaussians["means"].detach().clone()
    gaussians["means"].sum().backward()
    optimizers["means"].step()
    assert (gaussians["means"] != before).all()


def test_loading_another_size_keeps_parameter_identity() -> None:
    small, optimizers = make_set(4)
    large, _ = make_set(9)
    large.gradient_sum += 1
    identities = {name: id(p) for name, p in small.params.items()}
    small.load_state_dict(large.state_dict())
    assert len(small) == 9
    assert {name: id(p) for name, p in small.params.items()} == identities
    assert torch.equal(small["extra"], large["extra"])
    assert torch.equal(small.gradient_sum, torch.ones(9))
    assert optimizers["means"].param_groups[0]["params"][0] is small["means"]


def test_loading_another_model_is_refused() -> None:
    gaussians, _ = make_set()
    state = gaussians.state_dict()
    with pytest.raises(ValueError, match="row shape"):
        gaussians.load_state_dict({**state, "params.extra": torch.zeros(6, 3, 5)})
    del state["params.extra"]
    with pytest.raises(ValueError, match=r"no tensor 'params\.extra'"):
        gaussians.load_state_dict(state)


def test_rows_must_agree() -> None:
    with pytest.raises(ValueError, match="same number of rows"):
        GaussianSet(
            {
                "means": torch.zeros(2, 3),
                "scales": torch.zeros(2, 3),
                "quats": torch.zeros(2, 4),
                "opacities": torch.zeros(3),
            }
        )
    with pytest.raises(ValueError, match="missing"):
        GaussianSet({"means": torch.zeros(2, 3)})


def test_gradients_are_averaged_over_the_views_that_saw_a_gaussian() -> None:
    gaussians, _ = make_set(3)
    gaussians.accumulate_gradients(
        torch.tensor([[3e-3, 0.0], [0.0, 4e-3], [9.0, 9.0]]), torch.tensor([True, True, False]), 20, 10
    )
    gaussians.accumulate_gradients(
        torch.tensor([[1e-3, 0.0], [7.0, 7.0], [9.0, 9.0]]), torch.tensor([True, False, False]), 20, 10
    )
    assert torch.allclose(gaussians.mean_gradient(), torch.tensor([2e-2, 2e-2, 0.0]))


def test_neighbor_distance_equals_brute_force() -> None:
    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(3))
    distances = torch.cdist(points.double(), points.double())
    nearest = distances.sort(dim=1).values[:, 1:4]
    assert torch.allclose(neighbor_rms_distance(points).double(), nearest.square().mean(1).sqrt(), rtol=1e-5)
    assert neighbor_rms_distance(points[:1]).tolist() == [0.0]
    assert neighbor_rms_distance(points[:2]).tolist() == pytest.approx([float((points[0] - points[1]).norm())] * 2)


def test_appended_rows_have_fresh_moments_and_start_values() -> None:
    gaussians, optimizers = make_set(3)
    gaussians.gradient_sum += 1
    rows = {name: torch.full((2, *p.shape[1:]), 0.5) for name, p in gaussians.params.items()}
    before, momentum = gaussians["extra"].detach().clone(), moments(gaussians, optimizers, "extra").clone()
    gaussians.append(rows, optimizers, {"gradient_count": torch.tensor([4.0, 5.0])})
    assert torch.equal(gaussians["extra"], torch.cat([before, rows["extra"]]))
    assert torch.equal(moments(gaussians, optimizers, "extra"), torch.cat([momentum, torch.zeros(2, 2, 5)]))
    assert gaussians.gradient_sum.tolist() == [1, 1, 1, 0, 0]
    assert gaussians.gradient_count.tolist() == [0, 0, 0, 4, 5]
    gaussians["means"].sum().backward()
    optimizers["means"].step()
    assert (gaussians["means"][3:] != 0.5).all()
    with pytest.raises(ValueError, match="rows of"):
        gaussians.append({name: value for name, value in rows.items() if name != "extra"}, optimizers)


def test_rows_can_be_appended_to_an_empty_set() -> None:
    gaussians, optimizers = make_set(2)
    rows = {name: p.detach().clone() for name, p in gaussians.params.items()}
    gaussians.remove(torch.ones(2, dtype=torch.bool), optimizers)
    assert len(gaussians) == 0
    gaussians.append(rows, optimizers)
    assert len(gaussians) == 2 and moments(gaussians, optimizers, "means").shape == (2, 3)


def test_further_statistics_follow_their_gaussians() -> None:
    count = 4
    tensors = {"means": (3,), "scales": (3,), "quats": (4,), "opacities": ()}
    gaussians = GaussianSet({name: torch.randn(count, *s) for name, s in tensors.items()}, {"least": torch.inf})
    optimizers = {name: torch.optim.RAdam([p], lr=1e-2) for name, p in gaussians.params.items()}
    assert gaussians.statistic("least").tolist() == [torch.inf] * 4
    gaussians.statistic("least").copy_(torch.arange(4.0))
    gaussians.clone(torch.tensor([False, True, False, False]), optimizers)
    gaussians.split(torch.tensor([False, False, True, False, False]), optimizers)
    gaussians.remove(torch.tensor([True, False, False, False, False, False]), optimizers)
    assert gaussians.statistic("least").tolist() == [1, 3, 1, 2, 2]
    other = GaussianSet({name: torch.zeros(1, *s) for name, s in tensors.items()}, {"least": torch.inf})
    other.load_state_dict(gaussians.state_dict())
    assert other.statistic("least").tolist() == [1, 3, 1, 2, 2]
    gaussians.reset_statistics()
    assert gaussians.statistic("least").tolist() == [1, 3, 1, 2, 2]
    gaussians.reset_statistics(["least"])
    assert gaussians.statistic("least").tolist() == [torch.inf] * 5
