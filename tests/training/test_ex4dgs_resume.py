"""Ex4DGS's whole schedule within a few steps: a run resumed anywhere equals the uninterrupted one bit for bit."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER, list_checkpoints
from moegs_ns.runs.record import read_run_record
from tests.training.inprocess import train_config
from tests.training.test_trainer import assert_equal_state, load

PARTS = ("static", "dynamic")


def short_config(project_root: Path, output_dir: Path, timestamp: str) -> Any:
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


def test_sizes_and_plans_differ_between_the_checkpoints(whole: Path) -> None:
    states = [
        torch.load(path, weights_only=True)["pipeline"] for path in list_checkpoints(whole / CHECKPOINT_FOLDER).values()
    ]
    sizes = [tuple(len(state[f"_model.gaussians.parts.{part}.params.means"]) for part in PARTS) for state in states]
    assert len(sizes) == 6 and len({*sizes}) >= 5, sizes
    plans = [tuple(state["_model.density.extraction_frames"].tolist()) for state in states]
    assert plans[0] == (-1, -1) != plans[-2], plans


@pytest.mark.parametrize("step", [6, 18, 30])
def test_resumed_at_a_checkpoint_equals_the_uninterrupted_run(
    project_root: Path, tmp_path_factory: pytest.TempPathFactory, whole: Any, step: int
) -> None:
    """Before the window grew; while it did; with an extraction planned that waits for its frames."""
    config = short_config(project_root, tmp_path_factory.mktemp("resumed"), "resumed")
    config.load_dir, config.load_step = whole, step
    resumed = train_config(config)
    assert_equal_state(load(whole), load(resumed))
    record = read_run_record(resumed)
    assert record["progress"]["steps_done"] == 36
    assert record["model"]["num_gaussians"] > 600 and record["model"]["num_dynamic_gaussians"] > 100


@pytest.fixture(scope="module")
def whole(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    return train_config(short_config(project_root, tmp_path_factory.mktemp("whole"), "whole"))
