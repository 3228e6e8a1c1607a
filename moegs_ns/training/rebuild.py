"""The trainer config of a router's run from its ``run.json`` alone, to go on with it as a new run. No YAML is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moegs_ns.router.expert_learning import LEARNING_TENSORS
from moegs_ns.router.mixture import MixtureModelConfig
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.paths import absolute
from moegs_ns.runs.record import read_run_record
from moegs_ns.scene.datamanager import DynamicDataManagerConfig
from moegs_ns.training.load_run import config_from_plain, dataparser_of
from moegs_ns.training.optimizers import AdamConfig, RAdamConfig
from moegs_ns.training.pipeline import MoegsPipelineConfig
from moegs_ns.training.schedulers import LogLinearDecayConfig
from moegs_ns.training.trainer_config import MoegsTrainerConfig, default_trainer_config


def continued_router_run(run: Path, target: Path, further_steps: int) -> MoegsTrainerConfig:
    """Options of a new run that starts from the newest checkpoint of another.

    Args:
        run: folder of a router's run.
        target: folder of the new one, ``<outputs>/<scene>/moegs-router/<name>``.
        further_steps: training steps beyond those of the checkpoint.

    Raises:
        FileNotFoundError: no run, or none of its checkpoints.
        ValueError: not a router's run, a scene of unknown layout, or a folder that is taken or named otherwise.
    """
    record = read_run_record(run)
    if record["expert"]["name"] != "router":
        raise ValueError(
            f"expected the run of a mixture (moegs-router), found one of '{record['method']}' at {run}; "
            "name a mixture's"
        )
    target = absolute(target)
    if target.parent.name != record["method"]:
        raise ValueError(
            f"expected a folder <outputs>/<scene>/{record['method']}/<name> for the new run, found {target}: that is "
            "where nerfstudio looks for its checkpoint; name such a folder"
        )
    if target.exists():
        raise ValueError(f"expected no run at {target} yet, found one; give the new run another name")
    steps = int(record["progress"]["steps_done"])
    dataparser = dataparser_of(record)
    options = {name: value for name, value in record["datamanager"].items() if name not in ("dataparser", "data")}
    datamanager = config_from_plain(DynamicDataManagerConfig, options)
    datamanager.dataparser, datamanager.data = dataparser, dataparser.data
    config = default_trainer_config(
        method_name=record["method"],
        pipeline=MoegsPipelineConfig(
            datamanager=datamanager, model=config_from_plain(MixtureModelConfig, record["expert"]["config"])
        ),
        optimizers={
            name: optimizer_of_record(numbers, AdamConfig if name in LEARNING_TENSORS else RAdamConfig)
            for name, numbers in record["learning_rates"].items()
        },
        max_num_iterations=steps + further_steps,
    )
    config.output_dir, config.experiment_name = target.parents[2], target.parents[1].name
    config.timestamp, config.vis = target.name, "tensorboard"
    config.load_checkpoint = find_checkpoint(run)
    config.data = dataparser.data
    config.machine.seed = record.get("seed") or config.machine.seed
    config.steps_per_eval_image = 0
    return config


def optimizer_of_record(numbers: Mapping[str, Any], optimizer: type[AdamConfig] | type[RAdamConfig]) -> dict[str, Any]:
    """nerfstudio's optimizer group from a group of a run record, before what scales its rates; what it does not name
    comes with the optimizers' state, or is the optimizer's default."""
    schedule = {key: numbers[key] for key in ("lr_final", "max_steps", "restart_step") if key in numbers}
    scale = numbers.get("scale", 1.0)
    if "lr_final" in schedule:
        schedule["lr_final"] /= scale
    return {
        "optimizer": optimizer(lr=numbers["lr"] / scale),
        "scheduler": LogLinearDecayConfig(**schedule) if schedule else None,
    }
