"""A mixture whose experts learn on from some step: when, what of them, and how it is resumed and pruned."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from moegs_ns.experts.recipes import load_recipe
from moegs_ns.method_configs import moegs_router
from moegs_ns.router.expert_learning import LEARNING_TENSORS, check_learning
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.router.pruning import PruningTarget, prune
from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER
from moegs_ns.runs.checkpoints import write_checkpoint
from moegs_ns.splats.optimizer_rows import kept_rows
from moegs_ns.training.optimizers import AdamConfig, RAdamConfig
from tests.router.building import make_camera, make_expert, make_mixture, save_run

FROM = 3


def gradients(model: MixtureModel, step: int) -> dict[str, list[Tensor | None]]:
    model._note_step(step)
    model.train().zero_grad()
    model.get_outputs(make_camera(0.3))["rgb"].square().sum().backward()
    return {name: [one.grad for one in group] for name, group in model.get_param_groups().items()}


@pytest.mark.parametrize("router", ["volume-aware", "volume"])
@pytest.mark.parametrize("family", ["stg", "4dgaussians", "ed3dgs", "ex4dgs"])
def test_experts_are_frozen_before_and_learn_after(tmp_path: Path, router: str, family: str) -> None:
    expert = make_expert(family, 3, cameras=["cam1"], background="black")
    runs = [save_run(tmp_path / str(one), expert, family) for one in range(2)]
    model = make_mixture(runs, router=router, experts_learn_from=FROM)
    before, after = gradients(model, FROM - 1), gradients(model, FROM)
    learning = set(LEARNING_TENSORS) & set(before)
    assert learning == set(LEARNING_TENSORS) - {"features"}
    for name, group in after.items():
        if name in learning:
            assert all(one is None for one in before[name]), name
            assert all(one is not None and one.isfinite().all() and one.abs().max() > 0 for one in group), name
        else:
            assert all(one is not None for one in before[name]), name
    learnt = {id(one) for group in model.get_param_groups().values() for one in group}
    others = [one for one in model.experts.parameters() if id(one) not in learnt]
    assert others and all(one.grad is None and not one.requires_grad for one in others)


def test_gradients_of_experts_follow_a_difference(tmp_path: Path) -> None:
    """Through gate and picture of both experts; the gates themselves follow the weights only."""
    runs = [save_run(tmp_path / str(seed), make_expert("stg", seed), "stg") for seed in (1, 2)]
    model = make_mixture(runs, experts_learn_from=1, distrust=10.0)
    base = model.experts[0].gaussians["sh_base"]
    gradients(model, 1)
    assert base.grad is not None
    model.zero_grad()
    outputs = model.train().get_outputs(make_camera(0.3))["rgb"]
    direction = torch.rand(outputs.shape, generator=torch.Generator().manual_seed(0))
    (outputs * direction).sum().backward()
    found, step = float(base.grad.sum()), 1e-2
    view, _ = model.look(make_camera(0.3))
    gates = model.logits(view).softmax(dim=0).detach()
    sums = []
    for sign in (1, -1):
        with torch.no_grad():
            base.add_(sign * step)
            pictures = model.look(make_camera(0.3))[0].pictures
            sums.append(float(((gates[..., None] * pictures).sum(dim=0) * direction).sum()))
            base.sub_(sign * step)
    assert found == pytest.approx((sums[0] - sums[1]) / (2 * step), rel=2e-2)


@pytest.mark.parametrize("name", ["opacities", "means"])
def test_gradients_of_a_set_follow_a_difference(tmp_path: Path, name: str) -> None:
    runs = [save_run(tmp_path / str(seed), make_expert("stg", seed), "stg") for seed in (1, 2)]
    model = make_mixture(runs, router="volume", experts_learn_from=1)
    values = model.experts[1].gaussians[name]
    gradients(model, 1)
    model.zero_grad()
    direction = torch.rand(model.get_outputs(make_camera(0.3))["rgb"].shape, generator=torch.Generator().manual_seed(0))

    def loss() -> Tensor:
        return (model.get_outputs(make_camera(0.3))["rgb"] * direction).sum()

    loss().backward()
    way = torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    found, step, sums = float((values.grad * way).sum()), 1e-3, []
    for sign in (1, -1):
        with torch.no_grad():
            values.add_(sign * step * way)
            sums.append(float(loss()))
            values.sub_(sign * step * way)
    assert found == pytest.approx((sums[0] - sums[1]) / (2 * step), rel=0.05)


@pytest.mark.parametrize("learn_from", [-1, 12, 500])
def test_a_step_from_which_nothing_could_be_learnt_is_refused(learn_from: int) -> None:
    check_learning(0, 12)
    check_learning(11, 12)
    check_learning(500, None)
    with pytest.raises(ValueError, match=f"experts-learn-from between 0 .* found {learn_from}"):
        check_learning(learn_from, 12)


def test_what_was_remembered_of_frozen_experts_is_forgotten_when_they_learn(runs: list[Path]) -> None:
    model = make_mixture(runs, experts_learn_from=FROM)
    gradients(model, FROM - 1)
    assert len(model._cache) > 0
    gradients(model, FROM)
    assert len(model._cache) == 0


def test_resumed_where_other_experts_lie_now_the_runs_own_ones_learn(runs: list[Path], tmp_path: Path) -> None:
    """What the optimizers hold must be what the checkpoint fills."""
    state = make_mixture(runs, experts_learn_from=1).state_dict()
    run = tmp_path / "mixture"
    run.mkdir()
    pipeline = {f"_model.{key}": value for key, value in state.items()}
    write_checkpoint(
        {"step": 0, "pipeline": pipeline, "optimizers": {}}, run / CHECKPOINT_FOLDER, 0, scratch_folder=run
    )
    shutil.rmtree(runs[0])
    save_run(runs[0], make_expert("stg", seed=5, count=7, sh_degree_interval=11), "stg")
    model = make_mixture(runs, experts_learn_from=1, source=run)
    before = {name: [id(one) for one in group] for name, group in model.get_param_groups().items()}
    model.load_state_dict(state)
    assert before == {name: [id(one) for one in group] for name, group in model.get_param_groups().items()}
    assert model.experts[0].num_gaussians == len(state["experts.0.gaussians.params.means"])
    assert all(one is not None for group in gradients(model, 1).values() for one in group)


def test_without_the_option_nothing_of_experts_is_in_an_optimizer(runs: list[Path]) -> None:
    assert set(make_mixture(runs).get_param_groups()) == {"weights", "time_weights", "network"}


def test_every_group_that_learns_has_an_optimizer_of_its_kind() -> None:
    configured = moegs_router.config.optimizers
    assert set(LEARNING_TENSORS) <= set(configured) == set(load_recipe("router").optimizers)
    for name, group in configured.items():
        assert isinstance(group["optimizer"], AdamConfig if name in LEARNING_TENSORS else RAdamConfig), name
    assert set(LEARNING_TENSORS) <= set(load_recipe("fused").optimizers)


class Holders:
    """What pruning needs of nerfstudio's optimizers."""

    def __init__(self, model: MixtureModel) -> None:
        self.parameters = model.get_param_groups()
        self.optimizers = {name: torch.optim.Adam(group, lr=1e-3) for name, group in self.parameters.items()}

    def step(self) -> None:
        for one in self.optimizers.values():
            one.step()


@pytest.mark.parametrize("criterion", ["gate", "opacity"])
def test_pruned_experts_go_on_learning(runs: list[Path], criterion: Any) -> None:
    model = make_mixture(runs, experts_learn_from=1)
    holders = Holders(model)
    gradients(model, 1)
    holders.step()
    prune(model, [make_camera(0.3)], PruningTarget(0.5), criterion, optimizers=holders)  # type: ignore[arg-type]
    held = {id(one) for optimizer in holders.optimizers.values() for one in optimizer.param_groups[0]["params"]}
    present = {id(one) for group in model.get_param_groups().values() for one in group}
    assert held == present == {id(one) for group in holders.parameters.values() for one in group}
    for optimizer in holders.optimizers.values():
        for parameter, state in optimizer.state.items():
            assert state["exp_avg"].shape == parameter.shape
    before = model.experts[1].gaussians["means"].detach().clone()
    gradients(model, 2)
    holders.step()
    assert not torch.equal(model.experts[1].gaussians["means"], before)


def test_kept_rows_take_values_and_moments_along() -> None:
    old = torch.nn.Parameter(torch.arange(8.0).reshape(4, 2))
    other = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([old, other], lr=0.1)
    (old.square().sum() + other.sum()).backward()
    optimizer.step()
    kept = torch.tensor([True, False, True, True])
    moments = optimizer.state[old]["exp_avg"].clone()
    new = kept_rows(old, kept, [optimizer])
    assert new.is_leaf and torch.equal(new, old[kept])
    assert [one is new for one in optimizer.param_groups[0]["params"]] == [True, False]
    assert torch.equal(optimizer.state[new]["exp_avg"], moments[kept]) and old not in optimizer.state
