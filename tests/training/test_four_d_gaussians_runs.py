"""4DGaussians in the trainer: resumed before, at or behind the border of its stages, a run ends as if never stopped."""

from pathlib import Path

import pytest

from moegs_ns.runs.checkpoint_files import list_checkpoints
from moegs_ns.training.load_run import load_run
from tests.training.inprocess import train
from tests.training.test_trainer import assert_equal_state, load

STEPS, BORDER = 20, 11
MODEL = {
    "coarse-steps": BORDER,
    "width": 8,
    "grid-resolution": 4,
    "time-resolution": 4,
    "sh-degree": 1,
    "max-seeds": 200,
    "max-gaussians": 400,
    "densify-start": 2,
    "densify-interval": 4,
    "densify-gradient": 0,
}


def run(scene: Path, output_dir: Path, timestamp: str, *options: object) -> Path:
    files = ["--data", scene, "--output-dir", output_dir, "--timestamp", timestamp, "--vis", "tensorboard"]
    steps = ["--max-num-iterations", STEPS, "--steps-per-save", 5, "--save-only-latest-checkpoint", "False"]
    border = [f"--optimizers.{group}.scheduler.restart-step={BORDER}" for group in ("means", "grid", "network")]
    model = [f"--pipeline.model.{name}={value}" for name, value in MODEL.items()]
    data = ["n3v-data", "--downscale", "8", "--num-frames", "4", "--val-cams", "cam05"]
    return train(["moegs-4dgaussians", *files, *steps, *border, *model, "--pipeline.lpips", *options, *data])


@pytest.fixture(scope="module")
def whole(sample_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(sample_scene, tmp_path_factory.mktemp("runs"), "whole")


def test_the_run_crosses_the_border_and_grows(whole: Path) -> None:
    assert list(list_checkpoints(whole / "nerfstudio_models")) == [5, 10, 15, STEPS - 1]
    assert load(whole)["pipeline"]["_model.training_step"] == STEPS
    assert 200 < len(load_run(whole, device="cpu").model.gaussians) <= 400


@pytest.mark.parametrize("step", [5, 10, 15])
def test_resumed_at_a_checkpoint_it_equals_the_uninterrupted_run(
    whole: Path, sample_scene: Path, tmp_path: Path, step: int
) -> None:
    """A checkpoint of step 10 has 11 steps behind it: the optimizers have just started afresh."""
    resumed = run(sample_scene, tmp_path, "resumed", "--load-dir", whole, "--load-step", step)
    assert_equal_state(load(whole), load(resumed))
