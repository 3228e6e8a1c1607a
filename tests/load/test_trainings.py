"""Trainings need no more memory as they go on; in miniature here, 20,000 steps by `make load`."""

from pathlib import Path
from typing import Any

import pytest

from tests.load.growth import too_steep
from tests.load.limits import FIRST_STEPS
from tests.load.trainings import watch_training

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("what", "steps"), [("stg", 500), ("router", 400)])
def test_a_training_keeps_nothing_of_its_steps(what: str, steps: int, sample_scene: Path, tmp_path: Path) -> None:
    """With density control, evaluation, logging and checkpoints."""
    samples = watch_training(what, sample_scene, tmp_path, steps, warm_up=steps // 2)
    assert not too_steep(samples, FIRST_STEPS)


def test_one_tensor_kept_a_step_is_found(sample_scene: Path, tmp_path: Path) -> None:
    """A leak as callbacks have them: a list that every step appends a picture's worth to."""
    kept: list[Any] = []

    def leak(trainer: Any) -> None:
        kept.append(next(trainer.pipeline.model.parameters()).detach().clone())

    samples = watch_training("stg", sample_scene, tmp_path, 200, warm_up=100, extra=leak)
    (told,) = too_steep(samples, {"tensors": FIRST_STEPS["tensors"]})
    assert "tensors grow by 1e+03" in told
