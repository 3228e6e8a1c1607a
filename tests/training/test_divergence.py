"""A training whose loss becomes NaN stops at once, names what it came from, and leaves its last good checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from moegs_ns.runs.checkpoints import list_checkpoints
from moegs_ns.runs.record import read_run_record
from moegs_ns.training.divergence import TrainingDivergedError, check_losses
from tests.load.trainings import called_after_steps
from tests.training.inprocess import start_training
from tests.training.test_expert_resume import tiny_config
from tests.training.test_trainer import load

POISONED_AFTER = 14


@pytest.mark.parametrize(
    ("what", "told"),
    [
        # A colour spoils the picture. In a step that is neither logged nor saved: a step later everything would be NaN.
        ("sh_base", rf"'photometric' is NaN or infinite at step {POISONED_AFTER + 1}; NaN is in parameter %s"),
        # A Gaussian that is nowhere is not drawn: seen when the next checkpoint is to be written.
        ("means", "parameter %s holds NaN after step 18"),
    ],
)
def test_a_poisoned_parameter_is_named(what: str, told: str, sample_scene: Path, tmp_path: Path) -> None:
    """By a real training."""

    def poison(trainer: Any, step: int) -> None:
        if step == POISONED_AFTER:
            with torch.no_grad():
                trainer.pipeline.model.gaussians[what].fill_(torch.nan)

    config = tiny_config("stg", sample_scene, tmp_path, "poisoned", max_num_iterations=24, steps_per_save=6)
    told %= f"'_model.gaussians.params.{what}'"
    told += "; the last good checkpoint is .*step-000000012.ckpt; resume from it"
    with called_after_steps(poison), pytest.raises(TrainingDivergedError, match=told):
        start_training(config)
    run = config.get_base_dir()
    assert list(list_checkpoints(run / "nerfstudio_models")) == [12]
    state = load(run)
    assert all(bool(value.isfinite().all()) for value in state["pipeline"].values() if value.is_floating_point())
    progress = read_run_record(run)["progress"]
    assert progress["steps_done"] >= POISONED_AFTER + 1 and "TrainingDivergedError" in progress["status"]


def values(**named: float) -> list[tuple[str, Tensor]]:
    return [(name, torch.tensor([0.0, value])) for name, value in named.items()]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        (values(a=1.0, b=float("nan"), c=float("inf")), "NaN is in parameter 'b';"),
        (values(a=1.0, b=float("-inf")), "no parameter holds NaN, infinite numbers are in parameter 'b';"),
        (values(a=1.0, b=2.0), "every parameter is finite, so it arose in rendering or in the loss itself;"),
        (values(**dict.fromkeys("abcdefgh", float("nan"))), "'a', 'b', 'c', 'd', 'e', 'f' and others, 8 of 8;"),
    ],
)
def test_what_a_loss_can_come_from_is_said(parameters: list[tuple[str, Tensor]], told: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError, match=told) as caught:
        check_losses({"good": torch.tensor(1.0), "bad": torch.tensor(torch.nan)}, 3, tmp_path, parameters)
    assert "loss 'bad' is NaN or infinite at step 3" in str(caught.value)
    assert "no checkpoint had been written yet" in str(caught.value)


def test_finite_losses_pass(tmp_path: Path) -> None:
    check_losses({"good": torch.tensor(1.0), "also": 0.0}, 3, tmp_path, values(a=float("nan")))
