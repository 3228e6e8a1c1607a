"""Options of a training: nerfstudio's with meanings of our own, and what is looked at before anything is written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE

from moegs_ns.files import write_text
from moegs_ns.folder_lock import refuse_if_busy
from moegs_ns.router.same_scene import scene_facts
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.paths import absolute
from moegs_ns.runs.vetting import CONFIG_NAME

_LARGEST_SEED = 2**32 - 1  # that numpy's generator takes


def _trainer() -> type:
    from moegs_ns.training.trainer import MoegsTrainer  # which reads these options

    return MoegsTrainer


@dataclass
class MoegsTrainerConfig(TrainerConfig):
    """nerfstudio's training options with these meanings of our own."""

    _target: type = field(default_factory=_trainer)
    max_num_iterations: int = 30_000
    """Training steps in all: a resumed run ends at this number too."""
    load_dir: Path | None = None
    """Run folder to resume from, or its nerfstudio_models folder; takes the newest checkpoint unless --load-step."""
    load_step: int | None = None
    """Step whose checkpoint to take from --load-dir."""
    load_checkpoint: Path | None = None
    """Checkpoint file to resume from, instead of --load-dir."""

    @property
    def trained_expert(self) -> str:
        """What is trained, as ``run.json`` calls it: an expert family, ``router`` or ``fused``."""
        return str(self.method_name).removeprefix("moegs-")

    def make_paths_absolute(self) -> None:
        """Make every path of the config independent of the working folder; ns-eval may run in another one.

        Config parts with paths of their own (a data parser, a model) may offer a method of this name.
        """
        self.output_dir: Path = absolute(self.output_dir)
        for name in ("data", "load_dir", "load_checkpoint", "load_config"):
            if getattr(self, name) is not None:
                setattr(self, name, absolute(getattr(self, name)))
        datamanager: Any = self.pipeline.datamanager
        dataparser: Any = getattr(datamanager, "dataparser", None)
        # The datamanager's path, when given, replaces the data parser's.
        holder = dataparser if getattr(datamanager, "data", None) is None else datamanager
        if getattr(holder, "data", None) is not None:
            holder.data = absolute(holder.data)
        for part in (self.pipeline, datamanager, dataparser, self.pipeline.model):
            if part is not None and hasattr(part, "make_paths_absolute"):
                part.make_paths_absolute()

    def get_base_dir(self) -> Path:
        """The run folder. nerfstudio asks for it before it writes anything, so this is where paths become absolute."""
        self.make_paths_absolute()
        return super().get_base_dir()

    def save_config(self) -> None:
        """Write ``config.yml``, unless the options cannot work or another process is at work in the run folder."""
        self.prepare()
        refuse_if_busy(self.get_base_dir())
        config = self.get_base_dir() / CONFIG_NAME
        CONSOLE.log(f"Saving config to: {config}")
        write_text(config, yaml.dump(self))

    def prepare(self) -> None:
        """Refuse options that would fail later in a less helpful way, and settle which checkpoint to resume from.

        The checkpoint found is kept as ``load_checkpoint``. nerfstudio would take ``load_step``, meant for resuming,
        for the step to evaluate, and find none of that number in the new run. A model config may look at its own
        options as well: ``prepare_start(scene_facts)`` before a new run, ``prepare_resume(run)`` before one goes on.

        Raises:
            ValueError: numbers nothing can be trained with, several devices, a CUDA device where there is none, two
                places to resume from, or data or experts that do not fit.
            FileNotFoundError: there are no data, or no checkpoint to resume from.
        """
        devices = self.machine.num_devices * self.machine.num_machines
        if devices != 1:
            raise ValueError(
                f"expected one device per run, found --machine.num-devices x --machine.num-machines = {devices}; "
                "train different experts on different devices instead (CUDA_VISIBLE_DEVICES=... ns-train ...)"
            )
        if self.machine.device_type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                "expected a usable CUDA device for --machine.device-type cuda, found none; "
                "use --machine.device-type cpu, or install a CUDA build of torch and a driver"
            )
        self._check_numbers()
        if self.load_dir is not None and self.load_checkpoint is not None:
            raise ValueError("expected one of --load-dir and --load-checkpoint, found both; give only one")
        self.make_paths_absolute()
        if self.load_dir is not None:
            found = find_checkpoint(self.load_dir, self.load_step, self.relative_model_dir)
            self.load_checkpoint, self.load_dir = found, None
        if self.load_checkpoint is not None and not self.load_checkpoint.is_file():
            raise FileNotFoundError(
                f"expected a checkpoint file at {self.load_checkpoint}, found "
                f"{'a folder' if self.load_checkpoint.is_dir() else 'nothing'}; name an existing step-*.ckpt behind "
                "--load-checkpoint"
            )
        self.load_step = None
        model: Any = self.pipeline.model
        facts = self._read_scene_facts()
        if self.load_checkpoint is None:
            if hasattr(model, "prepare_start"):
                model.prepare_start(facts)
        elif hasattr(model, "prepare_resume"):
            # <run>/nerfstudio_models/step-....ckpt; what a run was made of may be needed before its state is loaded.
            model.prepare_resume(self.load_checkpoint.parent.parent)

    def _check_numbers(self) -> None:
        """Raises ValueError for numbers of steps, a seed or learning rates that nothing can be trained with."""
        for option, value, least in (
            ("max-num-iterations", self.max_num_iterations, 0),
            ("steps-per-save", self.steps_per_save, 0),  # 0: only the last
            ("machine.seed", self.machine.seed, 0),
        ):
            if value < least:
                raise ValueError(f"expected --{option} of {least} or more, found {value}")
        if self.machine.seed > _LARGEST_SEED:
            raise ValueError(f"expected --machine.seed of at most {_LARGEST_SEED}, found {self.machine.seed}")
        for group, configs in self.optimizers.items():
            rate = configs["optimizer"].lr
            if not (math.isfinite(rate) and rate >= 0):
                raise ValueError(f"expected --optimizers.{group}.optimizer.lr of 0 or more, found {rate}")

    def _read_scene_facts(self) -> dict[str, Any]:
        """What the data say of themselves; empty for a data manager that only tells once it is built.

        Raises:
            FileNotFoundError, ValueError: there are no data, or data that do not fit the data manager's options.
        """
        datamanager: Any = self.pipeline.datamanager
        if not hasattr(datamanager, "read_scene"):
            return {}
        outputs = datamanager.read_scene()
        if hasattr(datamanager, "check_scene"):
            datamanager.check_scene(outputs)
        return scene_facts(outputs.metadata, outputs.cameras)


def default_trainer_config(
    method_name: str,
    pipeline: VanillaPipelineConfig,
    optimizers: Mapping[str, Any],
    max_num_iterations: int,
    kind: type[MoegsTrainerConfig] = MoegsTrainerConfig,
) -> MoegsTrainerConfig:
    """The trainer config of a method, with defaults that work without flags on any machine.

    Training ends by itself, also where nobody watches the viewer; CUDA is used where there is one; nothing that costs
    time is done behind the user's back.

    Args:
        method_name: ``ns-train <method_name>``.
        pipeline: a `MoegsPipelineConfig`.
        optimizers: group name to ``{"optimizer": ..., "scheduler": ... or None}``.
        max_num_iterations: training steps in all.
        kind: class of the trainer config.
    """
    return kind(
        method_name=method_name,
        project_name="moegs",
        pipeline=pipeline,
        optimizers=dict(optimizers),
        max_num_iterations=max_num_iterations,
        machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
        vis="viewer+tensorboard",
        # One picture per frustum is decoded at start; video has thousands of images and few places to stand.
        viewer=ViewerConfig(
            websocket_host="127.0.0.1",  # who watches can steer: nobody else, unless asked
            quit_on_train_completion=True,
            num_rays_per_chunk=1 << 15,
            max_num_display_images=32,
        ),
        logging=LoggingConfig(steps_per_log=10, profiler="none"),
        mixed_precision=False,
        steps_per_save=1000,
        steps_per_eval_batch=0,
        steps_per_eval_image=500,
        steps_per_eval_all_images=0,
    )
