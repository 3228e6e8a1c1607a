"""The trainer with a real method on the sample scene: density control, frame cache, native kernels and all."""

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER, list_checkpoints
from moegs_ns.runs.record import read_run_record
from tests.training.inprocess import evaluate, train, train_config
from tests.training.test_trainer import assert_equal_state, load

PARTS = ("static", "dynamic")
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


def test_stg_resumed_at_a_checkpoint_equals_the_uninterrupted_run(project_root: Path, tmp_path: Path) -> None:
    quiet = ["--vis", "tensorboard"]
    whole = train(arguments(project_root, tmp_path, "whole", *quiet, "--save-only-latest-checkpoint", "False"))
    assert list(list_checkpoints(whole / "nerfstudio_models")) == [5, 10, 15, 20, 23]
    resumed = train(arguments(project_root, tmp_path, "resumed", *quiet, "--load-dir", whole, "--load-step", 10))
    assert_equal_state(load(whole), load(resumed))
    assert read_run_record(resumed)["progress"]["steps_done"] == 24
    results = evaluate(resumed)["results"]
    assert results["protocol"]["cameras"] == ["cam00"]
    assert len(results["per_image"]) == results["protocol"]["images"] == read_run_record(resumed)["scene"]["num_frames"]


def ex4dgs_config(project_root: Path, output_dir: Path, timestamp: str) -> Any:
    """Every part of Ex4DGS's schedule within 36 steps; two windows, seeds with and without times."""
    from moegs_ns.method_configs import moegs_ex4dgs

    config = copy.deepcopy(moegs_ex4dgs.config)
    config.data, config.output_dir, config.timestamp = project_root / "examples" / "mixed", output_dir, timestamp
    config.vis, config.max_num_iterations = "tensorboard", 36
    config.steps_per_save, config.steps_per_eval_image, config.save_only_latest_checkpoint = 6, 7, False
    config.pipeline.lpips = ()
    manager, model = config.pipeline.datamanager, config.pipeline.model
    manager.data, manager.motion_seeds, manager.motion_seed_times = config.data, 200, 4
    manager.dataparser.downscale, manager.dataparser.val_cams = 8, ("cam05",)
    model.max_seeds, model.max_gaussians, model.camera_gains = 600, 800, True
    model.window_interval, model.extract_start, model.extract_delay = 8, 0, 3
    model.error_extract_interval, model.extract_share = 10, 0.1
    model.densify_start, model.densify_interval, model.densify_gradient = 4, 5, 1e-5
    model.error_prune_start, model.error_prune_rounds, model.prune_error = 10, 1, 0.3
    model.widen_interval, model.unseen_prune_start, model.prune_radius = 7, 0, 0.0
    return config


def test_ex4dgs_changes_in_size_and_plans_between_these_checkpoints(whole_ex4dgs: Path) -> None:
    states = [
        torch.load(path, weights_only=True)["pipeline"]
        for path in list_checkpoints(whole_ex4dgs / CHECKPOINT_FOLDER).values()
    ]
    sizes = [tuple(len(state[f"_model.gaussians.parts.{part}.params.means"]) for part in PARTS) for state in states]
    assert len(sizes) == 6 and len({*sizes}) >= 5, sizes
    plans = [tuple(state["_model.density.extraction_frames"].tolist()) for state in states]
    assert plans[0] == (-1, -1) != plans[-2], plans


@pytest.mark.parametrize("step", [6, 18, 30])
def test_ex4dgs_resumed_at_a_checkpoint_equals_the_uninterrupted_run(
    project_root: Path, tmp_path_factory: pytest.TempPathFactory, whole_ex4dgs: Any, step: int
) -> None:
    """Before the window grew; while it did; with an extraction planned that waits for its frames."""
    config = ex4dgs_config(project_root, tmp_path_factory.mktemp("resumed"), "resumed")
    config.load_dir, config.load_step = whole_ex4dgs, step
    resumed = train_config(config)
    assert_equal_state(load(whole_ex4dgs), load(resumed))
    record = read_run_record(resumed)
    assert record["progress"]["steps_done"] == 36
    assert record["model"]["num_gaussians"] > 600 and record["model"]["num_dynamic_gaussians"] > 100


@pytest.fixture(scope="module")
def whole_ex4dgs(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    return train_config(ex4dgs_config(project_root, tmp_path_factory.mktemp("whole"), "whole"))


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
