"""Every schedule of an expert survives a kill: a run resumed half-way equals the uninterrupted one bit for bit."""

import copy
from pathlib import Path
from typing import Any

import pytest

from moegs_ns.experts.recipes import load_recipe
from moegs_ns.experts.registry import expert_family
from moegs_ns.method_configs import expert_method
from moegs_ns.runs.checkpoint_files import list_checkpoints
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.training.load_run import load_run
from tests.training.inprocess import start_training
from tests.training.test_trainer import assert_equal_state, load

TINY = str(Path(__file__).with_name("tiny.toml"))
STEPS = 48


def tiny_config(
    family: str, scene: Path, output_dir: Path, timestamp: str, preset: str | Path = TINY, **trainer: Any
) -> Any:
    """The method's own config with the numbers of the preset for tests, whether or not the method is installed."""
    recipe = load_recipe(family, str(preset))
    config = copy.deepcopy(expert_method(family).config)
    config.pipeline.model = expert_family(family).config(**recipe.model)
    datamanager = config.pipeline.datamanager
    for name, value in recipe.datamanager.items():
        setattr(datamanager, name, value)
    datamanager.data = scene
    datamanager.dataparser = N3VDataParserConfig(downscale=8, num_frames=12)
    config.pipeline.lpips = ()
    values = {"vis": "tensorboard", "experiment_name": "mixed", "steps_per_eval_image": 0, **trainer}
    for name, value in {
        "output_dir": output_dir,
        "timestamp": timestamp,
        "max_num_iterations": STEPS,
        **values,
    }.items():
        setattr(config, name, value)
    return config


@pytest.mark.parametrize("family", ["4dgaussians", "ed3dgs"])
def test_a_resumed_run_equals_the_uninterrupted_one(family: str, sample_scene: Path, tmp_path: Path) -> None:
    saves = {"steps_per_save": 12, "save_only_latest_checkpoint": False}
    whole = start_training(tiny_config(family, sample_scene, tmp_path, "whole", **saves)).base_dir
    assert list(list_checkpoints(whole / "nerfstudio_models")) == [12, 24, 36, STEPS - 1]
    # After 13 steps ramps, growth and (4DGaussians) the static stage are under way; after 25 all of it has begun.
    for step in (12, 24):
        resumed = start_training(
            tiny_config(family, sample_scene, tmp_path, f"from{step}", load_dir=whole, load_step=step, **saves)
        ).base_dir
        assert_equal_state(load(whole), load(resumed))
    assert len(load_run(whole, device="cpu").model.gaussians) > 1
