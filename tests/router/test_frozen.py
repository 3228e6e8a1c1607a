"""Frozen means: not a bit of an expert changes, neither in weight nor in schedule, and only the router learns."""

from pathlib import Path

import pytest
import torch

from moegs_ns.experts.base import ExpertModel
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.training.optimizers import RAdamConfig
from tests.router.building import HEIGHT, WIDTH, make_camera, make_expert, make_mixture, save_run


def train(model: MixtureModel, steps: int = 12) -> list[float]:
    """Steps of the recipe's optimizer towards a fixed picture; the losses."""
    truth = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(3))
    groups = model.get_param_groups()
    rates = {"weights": 0.5, "time_weights": 0.05, "network": 0.05}
    optimizers = [RAdamConfig(lr=rates[name]).setup(parameters) for name, parameters in groups.items()]
    losses = []
    for step in range(steps):
        model.train()
        outputs = model(make_camera(step % 3 / 2))
        loss = sum(model.get_loss_dict(outputs, {"image": truth}).values())
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(float(loss))
    return losses


def test_only_the_router_learns(runs: list[Path]) -> None:
    model = make_mixture(runs)
    before = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    losses = train(model)
    assert losses[-1] < losses[0]
    for name, parameter in model.experts.named_parameters():
        assert parameter.grad is None and not parameter.requires_grad, name
    after = model.state_dict()
    for name, value in before.items():
        if name.startswith("router."):
            assert not torch.equal(after[name], value), name
        else:
            assert torch.equal(after[name], value), name
    learning = {id(parameter) for group in model.get_param_groups().values() for parameter in group}
    assert learning == {id(parameter) for parameter in model.router.parameters()}
    assert [len(group) for group in model.get_param_groups().values()] == [2, 2, 3]


def test_experts_stay_in_evaluation_mode(runs: list[Path]) -> None:
    model = make_mixture(runs)
    assert not any(module.training for module in model.experts.modules())
    for mode in (True, False, True):
        model.train(mode)
        assert model.training is model.router.training is mode
        assert not any(module.training for module in model.experts.modules())
    train(model, 2)
    assert not any(expert._views for expert in model.experts)  # what density control would look at


def save_and_load(tmp_path: Path, family: str, expert: ExpertModel) -> MixtureModel:
    return make_mixture([save_run(tmp_path / "run", expert, family)])


def test_colour_bands_stay_at_the_saved_step(tmp_path: Path) -> None:
    expert = make_expert("stg", step=5)  # one band more every ten steps
    with torch.no_grad():
        expert.gaussians["sh_rest"].add_(1.0)
    model = save_and_load(tmp_path, "stg", expert)
    camera = make_camera(0.3)
    alone = expert.eval().get_outputs_for_camera(camera)["rgb"]
    train(model, 8)
    rendered = model.eval().get_outputs_for_camera(camera)["expert_stg"]
    torch.testing.assert_close(rendered, alone)
    assert int(model.experts[0].training_step) == 5 and model.experts[0].active_sh_degree == 0
    expert.training_step.fill_(13)
    assert not torch.allclose(expert.get_outputs_for_camera(camera)["rgb"], alone, atol=1e-3)


@pytest.mark.parametrize(("step", "moves"), [(19, False), (20, True)])
def test_an_expert_saved_in_its_static_stage_stays_static(tmp_path: Path, step: int, moves: bool) -> None:
    model = save_and_load(tmp_path, "4dgaussians", make_expert("4dgaussians", step=step))
    train(model, 8)
    model.eval()
    early, late = (model.get_outputs_for_camera(make_camera(time))["expert_4dgaussians"] for time in (0.0, 1.0))
    assert torch.equal(early, late) is not moves


def test_a_growing_window_stands_still(tmp_path: Path) -> None:
    """What a static Gaussian moves by is counted over the window at the saved step."""
    expert = make_expert("ex4dgs", step=25)
    model = save_and_load(tmp_path, "ex4dgs", expert)
    camera = make_camera(0.9)
    alone = expert.eval().get_outputs_for_camera(camera)["rgb"]
    train(model, 8)
    assert torch.equal(model.eval().get_outputs_for_camera(camera)["expert_ex4dgs"], alone)
    assert int(model.experts[0].training_step) == 25
    expert.training_step.fill_(60)
    assert not torch.allclose(expert.get_outputs_for_camera(camera)["rgb"], alone, atol=1e-3)


def test_ramps_growth_and_clocks_stay_as_they_were_saved(tmp_path: Path) -> None:
    expert = make_expert("ed3dgs", step=28, cameras=("a", "b"))  # half of a ramp; 3 of 5 control points
    with torch.no_grad():
        expert.camera_time_offsets.copy_(torch.tensor([0.3, 0.1]))
    model = save_and_load(tmp_path, "ed3dgs", expert)
    alone = expert.eval().get_outputs_for_camera(make_camera(0.3))["rgb"]
    train(model, 8)
    camera = make_camera(0.3)
    camera.metadata = {"camera_index": torch.tensor([[0]])}  # also a training camera is rendered with the mean offset
    torch.testing.assert_close(model.composite(camera, depth=False)[0].images[0, ..., :3].clamp(0, 1), alone)
    torch.testing.assert_close(model.eval().get_outputs_for_camera(camera)["expert_ed3dgs"], alone)
    for change in (lambda: expert.training_step.fill_(60), lambda: expert.camera_time_offsets.data.fill_(0.3)):
        change()
        assert not torch.allclose(expert.get_outputs_for_camera(make_camera(0.3))["rgb"], alone, atol=1e-3)


def test_remembered_splats_change_nothing(runs: list[Path]) -> None:
    losses, states, evaluations = [], [], []
    for megabytes in (0, 64):
        model = make_mixture(runs, splat_cache_mb=megabytes)
        calls = [0]
        expert = model.experts[1]
        splats_at = expert.splats_at

        def counted(time: float, splats_at: object = splats_at, calls: list[int] = calls) -> object:
            calls[0] += 1
            return splats_at(time)  # type: ignore[operator]

        expert.splats_at = counted
        losses.append(train(model))
        states.append({name: value.clone() for name, value in model.router.state_dict().items()})
        assert calls[0] == (3 if megabytes else 12)  # three instants, twelve steps
        model.eval().get_outputs_for_camera(make_camera(0.5))
        evaluations.append(calls[0])
    assert evaluations == [13, 4]  # rendering for evaluation is always complete
    assert losses[0] == losses[1]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
