"""nerfstudio's commands inside this process: a test pays their seconds of imports once.

The arguments are those of the command line. Everything nerfstudio keeps in module globals between runs is reset, so
that one run's writers do not receive another run's events.
"""

import copy
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch


def train(args: Sequence[Any]) -> Path:
    """``ns-train *args``; returns the run folder (the one with ``config.yml``)."""
    import tyro
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion
    from nerfstudio.scripts import train as ns_train

    config = tyro.cli(AnnotatedBaseConfigUnion, args=[str(argument) for argument in args])
    # tyro hands out the registered default objects where nothing was overridden; a run writes into its config.
    config = copy.deepcopy(config)
    with_reset_globals(ns_train.main, config)
    return config.get_base_dir()


def train_of_method(args: Sequence[Any]) -> Path:
    """As `train`, of a method of this project, without parsing the options of all of nerfstudio's, which takes long."""
    import tyro
    from nerfstudio.scripts import train as ns_train

    from moegs_ns import method_configs

    words = [str(argument) for argument in args]
    specifications = vars(method_configs).values()
    configs = {one.config.method_name: one.config for one in specifications if hasattr(one, "config")}
    default = copy.deepcopy(configs[words[0]])
    config = tyro.cli(type(default), default=default, args=words[1:], config=(tyro.conf.FlagConversionOff,))
    with_reset_globals(ns_train.main, config)
    return config.get_base_dir()


def train_config(config: Any) -> Path:
    """What ``ns-train`` does with a config that is already at hand, without importing every registered method."""
    start_training(config)
    return config.get_base_dir()


def start_training(config: Any) -> Any:
    """As `train_config`, returning the trainer."""

    def run() -> Any:
        random.seed(config.machine.seed)
        np.random.seed(config.machine.seed)  # noqa: NPY002  ns-train seeds numpy's global generator
        torch.manual_seed(config.machine.seed)
        config.set_timestamp()
        config.save_config()
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        trainer.train()
        return trainer

    return with_reset_globals(run)


def evaluate(config: Path, output_path: Path | None = None, render_output_path: Path | None = None) -> dict[str, Any]:
    """``ns-eval`` on a ``config.yml`` or run folder; returns the JSON it wrote."""
    from nerfstudio.scripts.eval import ComputePSNR

    config = config_file(config)
    output_path = config.parent / "eval.json" if output_path is None else output_path
    command = ComputePSNR(load_config=config, output_path=output_path, render_output_path=render_output_path)
    with_reset_globals(command.main)
    return json.loads(output_path.read_text("utf8"))


def render_dataset(
    config: Path, output_path: Path, split: str = "test", outputs: Sequence[str] = ("rgb",), **options: Any
) -> list[Path]:
    """``ns-render dataset``; returns the images it wrote."""
    from nerfstudio.scripts.render import DatasetRender

    command = DatasetRender(
        load_config=config_file(config),
        output_path=output_path,
        split=split,
        rendered_output_names=list(outputs),
        **options,
    )
    with_reset_globals(command.main)
    return sorted(path for path in output_path.rglob("*") if path.is_file())


def render_camera_path(
    config: Path,
    camera_path: Path,
    output_path: Path,
    output_format: str = "images",
    outputs: Sequence[str] = ("rgb",),
    **options: Any,
) -> list[Path]:
    """``ns-render camera-path``; returns the images or the video it wrote."""
    from nerfstudio.scripts.render import RenderCameraPath

    command = RenderCameraPath(
        load_config=config_file(config),
        camera_path_filename=camera_path,
        output_path=output_path,
        output_format=output_format,
        rendered_output_names=list(outputs),
        **options,
    )
    with_reset_globals(command.main)
    if output_format == "images":
        return sorted(path for path in output_path.rglob("*") if path.is_file())
    return [output_path]


def config_file(path: Path) -> Path:
    """The ``config.yml`` of a run given as either."""
    return path / "config.yml" if path.is_dir() else path


def with_reset_globals(function: Any, *arguments: Any) -> Any:
    """Call ``function`` between two resets of nerfstudio's writers and profilers."""
    reset_nerfstudio_globals()
    try:
        return function(*arguments)
    finally:
        reset_nerfstudio_globals()


def reset_nerfstudio_globals() -> None:
    """Close and forget the event writers, queued events, running averages and profilers of earlier runs."""
    from nerfstudio.utils import profiler, writer

    for event_writer in writer.EVENT_WRITERS:
        if hasattr(event_writer, "tb_writer"):
            event_writer.tb_writer.close()
    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()
    writer.GLOBAL_BUFFER.clear()
    profiler.PROFILER.clear()
    profiler.PYTORCH_PROFILER = None
