"""The smallest trainings there are, through the trainer and the data manager of ns-train, for as long as one likes."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation

from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.training.trainer import MoegsTrainer
from tests.load.growth import Sample, Watch
from tests.training.inprocess import start_training
from tests.training.test_expert_resume import TINY, tiny_config

#: What can be trained: expert families, and the router on the first two of them.
FAMILIES = ("stg", "4dgaussians", "ed3dgs", "ex4dgs")
ROUTER = "router"
_EXPERT_STEPS = 20  # of a router's experts
_STEPS_PER_SAMPLE = 20  # or more, of runs so long that there would be more than
_MOST_SAMPLES = 100


def training_config(what: str, scene: Path, folder: Path, steps: int) -> Any:
    """A training of ``steps`` steps over 12 frames of 40x30 pixels, with its whole schedule of density control spread
    over them, with evaluation images, logs for TensorBoard and the terminal, and checkpoints.

    Args:
        what: one of `FAMILIES`, or `ROUTER`, whose experts are trained first.
        scene: folder in the layout of Neural 3D Video.
        folder: where runs are written.
        steps: how many.
    """
    cadence = {"steps_per_eval_image": 50, "steps_per_save": max(100, steps // 20)}
    if what == ROUTER:
        from moegs_ns.method_configs import moegs_router

        config = copy.deepcopy(moegs_router.config)
        config.pipeline.model.experts = tuple(
            start_training(tiny_config(family, scene, folder, "expert", max_num_iterations=_EXPERT_STEPS)).base_dir
            for family in FAMILIES[:2]
        )
        config.pipeline.model.background = "black"
        config.pipeline.datamanager.data = scene
        config.pipeline.datamanager.dataparser = N3VDataParserConfig(downscale=8, num_frames=12)
        config.pipeline.lpips = ()
        config.output_dir, config.experiment_name, config.timestamp = folder, "mixed", "router"
        config.vis, config.max_num_iterations = "tensorboard", steps
        for name, value in cadence.items():
            setattr(config, name, value)
    else:
        preset = folder / f"{steps}-steps.toml"
        preset.write_text(re.sub(r"(?m)^steps = \d+", f"steps = {steps}", Path(TINY).read_text("utf8")), "utf8")
        config = tiny_config(what, scene, folder, "long", preset=preset, max_num_iterations=steps, **cadence)
    config.pipeline.datamanager.dataparser.val_cams = ("cam05",)
    return config


def watch_training(what: str, scene: Path, folder: Path, steps: int, warm_up: int, extra: Any = None) -> list[Sample]:
    """Samples of this process, evenly spread over the steps after the warm-up.

    Args:
        what: one of `FAMILIES`, or `ROUTER`.
        scene: folder in the layout of Neural 3D Video.
        folder: where runs are written.
        steps: in all.
        warm_up: steps before the first sample.
        extra: called with the trainer after each step, for tests of the watch itself.
    """
    config = training_config(what, scene, folder, steps)
    every = max(_STEPS_PER_SAMPLE, (steps - warm_up) // _MOST_SAMPLES)
    with Watch() as watch:

        def after_step(trainer: Any, step: int) -> None:
            if extra is not None:
                extra(trainer)
            if step >= warm_up and (step - warm_up) % every == 0:
                watch.sample(step)

        with _called_after_steps(after_step):
            start_training(config)
    return watch.samples


@contextmanager
def _called_after_steps(function: Any) -> Iterator[None]:
    """Every trainer built meanwhile calls ``function`` with itself and the step, last of all callbacks."""
    setup = MoegsTrainer.setup

    def with_callback(self: MoegsTrainer, *args: Any, **kwargs: Any) -> None:
        setup(self, *args, **kwargs)
        after = [TrainingCallbackLocation.AFTER_TRAIN_ITERATION]
        self.callbacks.append(TrainingCallback(after, lambda step: function(self, step)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MoegsTrainer, "setup", with_callback)
        yield
