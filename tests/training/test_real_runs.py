"""The trainer with a real method on the sample scene: density control, frame cache, native kernels and all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from moegs_ns.runs.checkpoint_files import list_checkpoints
from moegs_ns.runs.record import read_run_record
from tests.training.inprocess import evaluate, train
from tests.training.test_trainer import assert_equal_state, load

OPTIONS = [
    *("--pipeline.datamanager.motion-seeds", "100", "--pipeline.datamanager.motion-seed-times", "4"),
    *("--pipeline.model.camera-gains", "True", "--pipeline.model.seed-copies", "2"),
    *("--pipeline.model.max-gaussians", "800", "--pipeline.model.densify-start", "4"),
    *("--pipeline.model.densify-interval", "4", "--pipeline.model.opacity-reset-interval", "10"),
    *("--max-num-iterations", "24", "--steps-per-save", "5", "--steps-per-eval-image", "7", "--pipeline.lpips"),
]
SCENE = ["n3v-data", "--downscale", "8", "--val-cams", "cam05"]


def arguments(project_root: Path, output_dir: Path, timestamp: str, *options: object) -> list[str]:
    scene = ["--data", project_root / "examples" / "mixed", "--output-dir", output_dir, "--timestamp", timestamp]
    return [str(argument) for argument in ["moegs-stg", *scene, *options, *OPTIONS, *SCENE]]


@pytest.mark.parametrize(
    "variant",
    [
        [],
        ["--pipeline.model.head", "full", "--pipeline.model.guided-start", "3"],
        ["--pipeline.model.head", "full", "--pipeline.model.clip-frames", "10"],
    ],
    ids=["default", "full head, guided sampling", "full head, clips"],
)
def test_stg_resumed_at_a_checkpoint_equals_the_uninterrupted_run(
    project_root: Path, tmp_path: Path, variant: list[str]
) -> None:
    quiet = ["--vis", "tensorboard", *variant]
    whole = train(arguments(project_root, tmp_path, "whole", *quiet, "--save-only-latest-checkpoint", "False"))
    assert list(list_checkpoints(whole / "nerfstudio_models")) == [5, 10, 15, 20, 23]
    resumed = train(arguments(project_root, tmp_path, "resumed", *quiet, "--load-dir", whole, "--load-step", 10))
    assert_equal_state(load(whole), load(resumed))
    assert any("decoder" in name for name in load(whole)["pipeline"]) is ("full" in variant)
    assert read_run_record(resumed)["progress"]["steps_done"] == 24
    results = evaluate(resumed)["results"]
    assert results["protocol"]["cameras"] == ["cam00"]
    assert len(results["per_image"]) == results["protocol"]["images"] == read_run_record(resumed)["scene"]["num_frames"]


@pytest.mark.slow
def test_ns_train_survives_sigkill_and_ends_by_itself(project_root: Path, tmp_path: Path) -> None:
    """The default viewer is on: the command must end without anybody pressing a key."""
    ns_train = str(Path(sys.executable).with_name("ns-train"))

    def start(timestamp: str, *options: object) -> subprocess.Popen:
        command = [ns_train, *arguments(project_root, Path("outputs"), timestamp, *options)]
        with (tmp_path / f"{timestamp}.log").open("w") as log:
            return subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, env=dict(os.environ))

    runs = tmp_path / "outputs" / "mixed" / "moegs-stg"
    killed = start("killed")
    deadline = time.monotonic() + 300
    while not list_checkpoints(runs / "killed" / "nerfstudio_models"):
        assert killed.poll() is None, (tmp_path / "killed.log").read_text()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    for process in (start("resumed", "--load-dir", runs / "killed"), start("whole")):
        assert process.wait(timeout=300) == 0
    assert_equal_state(load(runs / "whole"), load(runs / "resumed"))
    config = yaml.load((runs / "whole" / "config.yml").read_text(), Loader=yaml.Loader)
    assert config.output_dir == tmp_path / "outputs"
