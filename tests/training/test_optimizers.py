"""Optimizer and schedule configs against formulas and torch's own unfused optimizers."""

import copy
import math

import pytest
import torch
from nerfstudio.engine.optimizers import Optimizers

from moegs_ns.training.optimizers import (
    AdamConfig,
    RAdamConfig,
    SinglePassOptimizers,
    describe_learning_rates,
    scaled_groups,
)
from moegs_ns.training.schedulers import ConstantConfig, FactorSchedule, LogLinearDecayConfig, log_linear


def rates(config: LogLinearDecayConfig | ConstantConfig, lr: float, steps: int) -> list[float]:
    """Learning rate in force at steps 0, 1, ... as training would see it."""
    optimizer = AdamConfig(lr=lr).setup([torch.nn.Parameter(torch.zeros(1))])
    scheduler = config.setup().get_scheduler(optimizer, lr_init=lr)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_log_linear_decay_is_a_straight_line_of_logarithms() -> None:
    seen = rates(LogLinearDecayConfig(lr_final=1e-5, max_steps=4), lr=1e-1, steps=7)
    assert seen == pytest.approx([1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-5, 1e-5])
    assert log_linear(4, 1e-1, 1e-5, 4) == 1e-5
    assert {type(rate) for rate in seen} == {float}


def test_decay_restarts_for_a_second_stage() -> None:
    seen = rates(LogLinearDecayConfig(lr_final=1e-2, max_steps=2, restart_step=3), lr=1.0, steps=6)
    assert seen == pytest.approx([1.0, 0.1, 0.01, 1.0, 0.1, 0.01])


def test_rates_that_stay() -> None:
    assert rates(LogLinearDecayConfig(lr_final=None, max_steps=2), lr=0.5, steps=4) == [0.5] * 4
    assert rates(ConstantConfig(), lr=0.5, steps=4) == [0.5] * 4
    assert rates(LogLinearDecayConfig(lr_final=1e-3, max_steps=2), lr=0.0, steps=4) == [0.0] * 4


def test_a_schedule_steps_as_torchs_does() -> None:
    """Rates and state, also after the state went through a checkpoint, bit for bit."""

    def schedules(kind: type) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        optimizer = AdamConfig(lr=0.3).setup([torch.nn.Parameter(torch.zeros(1))])
        return optimizer, kind(optimizer, lr_lambda=lambda step: 0.9**step + 0.01)

    ours, torchs = schedules(FactorSchedule), schedules(torch.optim.lr_scheduler.LambdaLR)
    for step in range(6):
        if step == 3:
            again = schedules(FactorSchedule)
            again[0].load_state_dict(ours[0].state_dict())
            again[1].load_state_dict(copy.deepcopy(ours[1].state_dict()))
            ours = again
        for optimizer, schedule in (ours, torchs):
            optimizer.step()
            schedule.step()
        assert ours[0].param_groups[0]["lr"] == torchs[0].param_groups[0]["lr"]
        assert ours[1].state_dict() == torchs[1].state_dict()
        assert ours[1].get_last_lr() == torchs[1].get_last_lr()


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_groups_without_gradient_do_not_step(max_norm: float | None) -> None:
    """As nerfstudio's; one group more has no gradient, and clipping is nerfstudio's to do."""

    def stepped(kind: type) -> list[torch.Tensor]:
        values = {name: [torch.nn.Parameter(torch.ones(3))] for name in ("a", "b", "c")}
        numbers = {"optimizer": AdamConfig(lr=0.1, max_norm=max_norm), "scheduler": ConstantConfig()}
        optimizers = kind(dict.fromkeys(values, numbers), values)
        for name in ("a", "b"):
            values[name][0].grad = torch.tensor([1.0, -2.0, 3.0])
        optimizers.optimizer_scaler_step_some(torch.amp.GradScaler(enabled=False), ["a", "c"])
        optimizers.schedulers["a"].step()
        return [value.detach() for (value,) in values.values()]

    ours, theirs = stepped(SinglePassOptimizers), stepped(Optimizers)
    assert not torch.equal(ours[0], torch.ones(3))
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LogLinearDecayConfig(lr_final=1e-3, max_steps=0), "positive max_steps"),
        (LogLinearDecayConfig(lr_final=0.0), "positive learning rates"),
    ],
)
def test_impossible_decays_are_refused(config: LogLinearDecayConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rates(config, lr=1.0, steps=1)


@pytest.mark.parametrize("rows", [0, 50])
def test_fused_adam_is_adam(rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(rows, 3, generator=generator)
    gradients = torch.randn(20, rows, 3, generator=generator)
    results = []
    for config in (AdamConfig(lr=0.1), AdamConfig(lr=0.1, fused=False)):
        parameter = torch.nn.Parameter(start.clone())
        optimizer = config.setup([parameter])
        assert optimizer.defaults["fused"] is config.fused
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        results.append(parameter.detach())
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_fused_adam_state_survives_saving_exactly(tmp_path: object) -> None:
    parameter = torch.nn.Parameter(torch.ones(4))
    optimizer = AdamConfig(lr=0.1).setup([parameter])
    for scale in (1.0, 2.0):
        parameter.grad = torch.arange(4.0) * scale
        optimizer.step()
    file = tmp_path / "adam.pt"  # type: ignore[operator]
    torch.save(optimizer.state_dict(), file)
    twin = torch.nn.Parameter(parameter.detach().clone())
    restored = AdamConfig(lr=0.1).setup([twin])
    restored.load_state_dict(torch.load(file, weights_only=True))
    assert restored.state[twin]["step"].item() == 2
    for one, gradient in ((optimizer, parameter), (restored, twin)):
        gradient.grad = torch.full((4,), 0.3)
        one.step()
    assert torch.equal(parameter, twin)


def test_numbers_reach_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    adam = AdamConfig(lr=0.2, eps=1e-3, betas=(0.5, 0.6), weight_decay=0.1).setup([parameter])
    radam = RAdamConfig(lr=0.2, eps=1e-3, betas=(0.5, 0.6), weight_decay=0.1).setup([parameter])
    assert isinstance(adam, torch.optim.Adam)
    assert isinstance(radam, torch.optim.RAdam)
    for optimizer in (adam, radam):
        numbers = {"lr": 0.2, "eps": 1e-3, "betas": (0.5, 0.6), "weight_decay": 0.1}
        assert numbers.items() <= optimizer.defaults.items()


def test_scaling_multiplies_both_ends_and_leaves_the_config_alone() -> None:
    groups = {
        "means": {"optimizer": AdamConfig(lr=1.0), "scheduler": LogLinearDecayConfig(lr_final=0.1, max_steps=7)},
        "colors": {"optimizer": AdamConfig(lr=2.0), "scheduler": None},
    }
    before = copy.deepcopy(groups)
    scaled = scaled_groups(groups, {"means": 3.0})
    assert groups == before
    described = describe_learning_rates(scaled, {"means": 3.0})
    assert described["means"] == pytest.approx(
        {"lr": 3.0, "lr_final": 0.3, "max_steps": 7, "restart_step": 0, "scale": 3.0}
    )
    assert described["colors"] == {"lr": 2.0, "scale": 1.0}


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ({"mean": 1.0}, r"\['mean'\].*\['means'\]"),
        ({"means": 0.0}, "positive, finite"),
        ({"means": math.nan}, "positive, finite"),
    ],
)
def test_senseless_scales_are_refused(scales: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scaled_groups({"means": {"optimizer": AdamConfig(), "scheduler": None}}, scales)
