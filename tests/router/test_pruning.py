"""Removing Gaussians from a mixture: what stays is untouched, what learns goes on learning."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nerfstudio.engine.optimizers import Optimizers

from moegs_ns.router.mixture import MixtureModel
from moegs_ns.router.pruning import (
    PruningTarget,
    check_schedule,
    choose,
    due,
    prune,
    remove_gaussians,
    winning_shares,
)
from moegs_ns.router.pruning_options import PruningOptions
from moegs_ns.router.pruning_scores import PruningScores
from moegs_ns.training.optimizers import RAdamConfig
from tests.router.building import make_camera, make_expert, make_mixture, randomise_router, save_run
from tests.router.test_clips import clipped

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture
def experts() -> dict[str, object]:
    """Every family, one of them in clips."""
    families = {name: make_expert(name, seed) for seed, name in enumerate(("stg", "4dgaussians", "ed3dgs", "ex4dgs"))}
    return {**families, "stg_2": clipped(9)}


@pytest.fixture
def all_runs(tmp_path: Path, experts: dict) -> list[Path]:
    return [save_run(tmp_path / name, expert, name.removesuffix("_2")) for name, expert in experts.items()]


@pytest.fixture
def model(all_runs: list[Path]) -> MixtureModel:
    model = make_mixture(all_runs)
    randomise_router(model)
    return model


def optimizers_of(model: MixtureModel) -> Optimizers:
    groups = model.get_param_groups()
    return Optimizers({name: {"optimizer": RAdamConfig(lr=0.01), "scheduler": None} for name in groups}, groups)


def train(model: MixtureModel, optimizers: Optimizers, steps: int = 8) -> None:
    model.train()
    for step in range(steps):
        optimizers.zero_grad_all()
        model.get_outputs(make_camera(step % 5 / 4))["rgb"].square().mean().backward()
        optimizers.optimizer_step_all()


def count(model: MixtureModel) -> int:
    return sum(expert.num_gaussians for expert in model.expert_models)


def some(model: MixtureModel, share: float = 0.5) -> torch.Tensor:
    return torch.rand(count(model), generator=torch.Generator().manual_seed(4)) < share


def test_ratio_zero_changes_nothing(model: MixtureModel) -> None:
    optimizers = optimizers_of(model)
    train(model, optimizers, 2)
    before, moments = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizers.optimizers["weights"].state_dict())
    parameters = [*model.parameters()]
    facts = prune(model, [make_camera(0.3)], PruningTarget(0.0), optimizers=optimizers)
    assert facts["before"] == facts["after"]
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))
    for name, value in model.state_dict().items():
        assert value == before[name] if isinstance(value, str) else torch.equal(value, before[name]), name
    after = optimizers.optimizers["weights"].state_dict()["state"]
    for index, state in moments["state"].items():
        assert all(torch.equal(value, after[index][key]) for key, value in state.items())


def test_pictures_equal_those_with_the_removed_made_transparent(model: MixtureModel) -> None:
    model.eval()
    removed = some(model)
    times = (0.0, 0.25, 0.5, 0.75, 1.0)
    expected = {}
    for time in times:
        instant = model.instant(make_camera(time))
        starts = torch.tensor([0, *(one.num_gaussians for one in model.expert_models)]).cumsum(0)
        stored = torch.cat(
            [
                starts[k] + torch.arange(*rows.indices(one.num_gaussians))
                for k, (one, rows) in enumerate(zip(model.expert_models, instant.rows, strict=True))
            ]
        )
        weights = model.router.channels(time, instant.rows)
        channels = torch.cat([instant.channels, weights], dim=1).detach()
        seen = replace(instant.splats, opacities=torch.where(removed[stored], 0.0, instant.splats.opacities))
        expected[time] = instant.rasterize(seen, channels=channels).images
    remove_gaussians(model, removed)
    assert count(model) == int((~removed).sum())
    assert [len(one) for one in model.router.gaussian_weights] == [one.num_gaussians for one in model.expert_models]
    for time in times:
        instant = model.instant(make_camera(time))
        channels = torch.cat([instant.channels, model.router.channels(time, instant.rows)], dim=1)
        found = instant.rasterize(channels=channels).images
        torch.testing.assert_close(found, expected[time], rtol=1e-5, atol=1e-5)


def test_survivors_keep_their_moments_and_go_on_learning(model: MixtureModel) -> None:
    optimizers = optimizers_of(model)
    train(model, optimizers)
    held = {name: optimizers.optimizers[name].state_dict()["state"] for name in ("weights", "time_weights")}
    old = copy.deepcopy(held)
    values = [copy.deepcopy(one.state_dict()) for one in model.router.gaussian_weights]
    removed = some(model)
    kept = (~removed).split([one.num_gaussians for one in model.expert_models])
    loss = model.get_outputs(make_camera(0.25))["rgb"].square().mean()  # a graph that outlives the removal
    remove_gaussians(model, removed, optimizers)
    groups = model.get_param_groups()
    for name, attribute in (("weights", "base"), ("time_weights", "time")):
        optimizer = optimizers.optimizers[name]
        assert [id(one) for one in optimizers.parameters[name]] == [id(one) for one in groups[name]]
        assert [id(one) for one in optimizer.param_groups[0]["params"]] == [id(one) for one in groups[name]]
        assert len(optimizer.state) == len(groups[name])
        for index, parameter in enumerate(groups[name]):
            assert parameter.is_leaf and parameter.requires_grad and isinstance(parameter, torch.nn.Parameter)
            assert torch.equal(parameter, values[index][attribute][kept[index]])
            state = optimizer.state[parameter]
            for key in ("exp_avg", "exp_avg_sq"):
                assert torch.equal(state[key], old[name][index][key][kept[index]])
            assert torch.equal(state["step"], old[name][index]["step"])
    before = [parameter.detach().clone() for group in groups.values() for parameter in group]
    train(model, optimizers)
    del loss
    after = [parameter for group in model.get_param_groups().values() for parameter in group]
    assert all(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(not parameter.requires_grad for parameter in model.experts.parameters())


def test_a_pruned_state_loads_in_place(model: MixtureModel, all_runs: list[Path]) -> None:
    remove_gaussians(model, some(model))
    fresh = make_mixture(all_runs)
    optimizers = optimizers_of(fresh)
    fresh.load_state_dict(copy.deepcopy(model.state_dict()))
    for time in (0.0, 1.0):
        outputs = [one.eval().get_outputs_for_camera(make_camera(time))["rgb"] for one in (model, fresh)]
        assert torch.equal(*outputs)
    before = [one.base.detach().clone() for one in fresh.router.gaussian_weights]
    train(fresh, optimizers)
    assert all(not torch.equal(one.base, old) for one, old in zip(fresh.router.gaussian_weights, before, strict=True))


def test_gaussians_in_memory_are_forgotten(model: MixtureModel) -> None:
    model.train()
    instant = model.instant(make_camera(0.5))
    remove_gaussians(model, some(model))
    assert len(model.instant(make_camera(0.5)).splats) < len(instant.splats)


def test_the_lowest_go_and_every_set_keeps_its_best() -> None:
    values = torch.tensor([5.0, 0.0, 3.0, 0.0, 1.0, 2.0, 9.0])
    removed = choose(values, [4, 2, 1], PruningTarget(4 / 7))
    # The four lowest are 1, 3, 4 and 5; 5 is the best of its set.
    assert removed.tolist() == [False, True, False, True, True, False, False]
    assert choose(values, [7], PruningTarget(threshold=2.5)).tolist() == [False, True, False, True, True, True, False]
    assert choose(values, [7], PruningTarget(threshold=100.0)).sum() == 6
    assert not choose(values, [7], PruningTarget(0.0)).any()


def test_what_pruning_reports(model: MixtureModel) -> None:
    total = count(model)
    facts = prune(model, [make_camera(0.3), make_camera(0.9)], PruningTarget(0.4), "contribution", temperature=0.5)
    assert sum(facts["before"].values()) == total and list(facts["before"]) == model.expert_names
    assert sum(facts["after"].values()) == count(model) == pytest.approx(0.6 * total, abs=7)
    assert (facts["criterion"], facts["ratio"], facts["temperature"], facts["views"]) == ("contribution", 0.4, 0.5, 2)
    scores = PruningScores(
        torch.zeros(4), torch.tensor([0.6, 0.5, 0.4, 0.9]), torch.tensor([0.0, 0.0, 0.0, 1.0]), 1, 1.0
    )
    removed = torch.tensor([True, False, True, False])
    assert winning_shares(scores, removed) == {
        "by_responsibility": 0.5,
        "by_winner": 0.0,
        "of_all_by_responsibility": 0.75,
        "of_all_by_winner": 0.25,
    }


def test_rounds_of_equal_shares_reach_the_ratio() -> None:
    one = PruningTarget(0.6).share_of_round(3)
    assert (1 - one.ratio) ** 3 == pytest.approx(0.4)
    options = PruningOptions(prune_ratio=0.6, prune_start=100, prune_interval=50, prune_rounds=3)
    assert [step for step in range(1, 400) if due(options, step)] == [100, 150, 200]
    assert not due(PruningOptions(prune_start=1, prune_interval=1, prune_rounds=9), 3)  # nothing asked for


def test_impossible_pruning_is_refused(model: MixtureModel) -> None:
    with pytest.raises(ValueError, match="from 0 to below 1, found 1.0"):
        PruningTarget(1.0)
    with pytest.raises(ValueError, match="found both"):
        PruningTarget(0.5, 1e-5)
    options = PruningOptions(prune_ratio=0.5, prune_start=10, prune_interval=5, prune_rounds=3)
    check_schedule("volume-aware", options, 20)
    with pytest.raises(ValueError, match="within the run's 19 steps, found the last after step 20"):
        check_schedule("volume-aware", options, 19)
    with pytest.raises(ValueError, match="--pipeline.model.prune-interval of 1 or more, found 0"):
        check_schedule("volume-aware", replace(options, prune_interval=0), 20)
    with pytest.raises(ValueError, match="found the pixel router"):
        check_schedule("pixel", options, 20)
    with pytest.raises(ValueError, match="one choice for each of"):
        model.expert_models[0].keep_gaussians(torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="a set that would lose all"):
        model.expert_models[0].keep_gaussians(torch.zeros(model.expert_models[0].num_gaussians, dtype=torch.bool))
