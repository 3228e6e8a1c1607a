"""An expert in the middle of its training, to be looked into step by step."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bare_work import stage_of
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.utils import writer
from profile_section import GRIDS, NETWORKS, RASTERIZATION
from stage_clock import ELSEWHERE, StageClock
from torch import nn

from moegs_ns.experts import base
from moegs_ns.experts.recipes import Recipe, load_recipe
from moegs_ns.experts.registry import EXPERTS
from moegs_ns.method_configs import expert_method
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.splats.rasterize import Rasterized
from moegs_ns.training.random_state import capture_random_state, restore_random_state

#: What a method of the model counts for; the rest is `ELSEWHERE`.
MODEL_STAGES = {
    "splats_of_view": "Gaussians of the instant",
    "channels": "colours",
    "decode": "decoding",
    "get_loss_dict": "loss",
    "step_losses": "regularisers",
    "get_metrics_dict": "training metrics",
    "_collect_statistics": "statistics",
    "control_density": "density control",
}
OPTIMIZER_CALLS = ("zero_grad_some", "optimizer_scaler_step_some", "scheduler_step_all")
STAGES = (NETWORKS, GRIDS, RASTERIZATION, *MODEL_STAGES.values(), "optimizers", "data loading", ELSEWHERE)
#: What is profiled: name -> (family, model options). A new family is here by being registered.
SUBJECTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in EXPERTS},
    "stg, lite head": ("stg", {"head": "lite"}),
    "stg, full head": ("stg", {"head": "full"}),
}
_STANDSTILL = 1e-12
# Steps before the state is kept: optimizers have moments then, and RAdam is past its first, simpler steps.
_SETTLING_STEPS = 8


@dataclass
class Watched:
    """What networks and rasterizer were given.

    Attributes:
        rows: of every call with a gradient, by network; those of its largest argument. (What is asked first of
            Gaussians that may be out of view is no part of the work itself.)
        visible: of every rasterization, the share of Gaussians it shows.
    """

    rows: dict[nn.Module, list[int]] = field(default_factory=dict)
    visible: list[float] = field(default_factory=list)

    def note_call(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Forward pre-hook."""
        if not torch.is_grad_enabled():
            return
        tensors = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor) and one.ndim]
        rows = max((one.numel() // one.shape[-1] for one in tensors), default=1)
        self.rows.setdefault(module, []).append(rows)


class ProfiledTraining:
    """An expert half-way through a preset's schedule, at the seed points of a scene, in ns-train's own trainer.

    Sizes, rotations and opacities of its Gaussians are like those of a trained model. Learning rates are next to
    nothing, so that every step does the same work. Density control, which would remove in time what does not fit the
    pictures, does its work too; `rewind` then takes the training back to the start of the round.

    Args:
        subject: one of `SUBJECTS`.
        preset: name or file.
        gaussians: how many.
        data: scene in the layout of Neural 3D Video.
        downscale: factor by which its images are made smaller.
        folder: where the trainer may write.
        seed: of training and of the Gaussians' values.
    """

    def __init__(
        self, subject: str, preset: str, gaussians: int, data: Path, downscale: int, folder: Path, seed: int
    ) -> None:
        family, options = SUBJECTS[subject]
        self.recipe = load_recipe(family, preset)
        options = {**options, "max_gaussians": gaussians, "max_seeds": gaussians}
        config = expert_method(family, _standing_still(self.recipe, options)).config
        config.pipeline.datamanager.dataparser = N3VDataParserConfig(data=data, downscale=downscale)
        config.output_dir, config.experiment_name, config.timestamp = folder, "profile", subject.replace(", ", "-")
        config.vis, config.machine.device_type = "tensorboard", "cpu"
        torch.manual_seed(seed)
        self.trainer = config.setup(local_rank=0, world_size=1)
        self.trainer.setup()
        self.model = self.trainer.pipeline.model
        _make_trained_like(self.model, seed)
        self.interval = int(self.model.config.densify_interval)
        start = self.recipe.steps // 2 // self.interval * self.interval
        self._go_to(start)
        self.trainer.pipeline.train()
        #: Networks and grids: the expert's modules that have parameters and a forward of their own.
        self.networks = {
            name: module
            for name, module in self.model.named_modules()
            if module is not self.model
            and type(module).__module__.startswith("moegs_ns.experts.")
            and "forward" in vars(type(module))
            and any(True for _ in module.parameters())
        }
        for _ in range(min(_SETTLING_STEPS, self.interval - 1)):
            self.step()
        self._go_to(start)
        self._kept = copy.deepcopy((start, self._state(), capture_random_state()))

    def _go_to(self, step: int) -> None:
        self.next_step = step
        self.model.training_step.fill_(step)

    def _state(self) -> dict[str, Any]:
        optimizers = self.trainer.optimizers
        return {
            "pipeline": self.trainer.pipeline.state_dict(),
            "optimizers": {name: one.state_dict() for name, one in optimizers.optimizers.items()},
            "schedulers": {name: one.state_dict() for name, one in optimizers.schedulers.items()},
            "sampler": self.trainer.pipeline.datamanager.sampler_state(),
        }

    def rewind(self) -> None:
        """Back to the start of the round: Gaussians, moments, schedules, sampler and random numbers."""
        self.next_step, state, random = copy.deepcopy(self._kept)
        self.trainer.pipeline.load_pipeline(state["pipeline"], self.next_step)
        self.trainer.optimizers.load_optimizers(state["optimizers"])
        self.trainer.optimizers.load_schedulers(state["schedulers"])
        self.trainer.pipeline.datamanager.load_sampler_state(state["sampler"])
        restore_random_state(random)

    def step(self) -> None:
        """What the trainer does in the next training step, logging aside."""
        self._call_back(TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        self.trainer.train_iteration(self.next_step)
        self._call_back(TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
        self.next_step += 1
        writer.EVENT_STORAGE.clear()  # where schedulers queue their rates for TensorBoard

    def _call_back(self, location: TrainingCallbackLocation) -> None:
        for callback in self.trainer.callbacks:
            callback.run_callback_at_location(self.next_step, location)

    @contextmanager
    def clocked(self, clock: StageClock) -> Iterator[None]:
        """Let the clock see every stage."""
        pipeline = self.trainer.pipeline
        try:
            for module in self.networks.values():
                clock.wrap(module, "forward", stage_of(module))
            for name, stage in MODEL_STAGES.items():
                clock.wrap(self.model, name, stage)
            for name in OPTIMIZER_CALLS:
                clock.wrap(self.trainer.optimizers, name, "optimizers")
            clock.wrap(pipeline.datamanager, "next_train_group", "data loading")
            clock.wrap(pipeline, "get_train_loss_dict", ELSEWHERE)
            # Density control reads the gradient of the positions on the screen: those must stay the rasterizer's own.
            clock.wrap(base, "rasterize", RASTERIZATION, only=("images", "alphas"))
            yield
        finally:
            clock.unwrap()

    @contextmanager
    def watched(self) -> Iterator[Watched]:
        """Note what networks and rasterizer are given."""
        watched = Watched()
        hooks = [
            module.register_forward_pre_hook(watched.note_call, with_kwargs=True) for module in self.networks.values()
        ]
        function = base.rasterize
        base.rasterize = partial(_noting, function, watched)
        try:
            yield watched
        finally:
            base.rasterize = function
            for hook in hooks:
                hook.remove()


def _noting(function: Callable[..., Rasterized], watched: Watched, *args: Any, **kwargs: Any) -> Rasterized:
    view = function(*args, **kwargs)
    watched.visible.append(float(view.visible.float().mean()))
    return view


def _standing_still(recipe: Recipe, options: dict[str, Any]) -> Recipe:
    """The recipe with learning rates of next to nothing, and with these model options."""
    optimizers = {
        group: replace(numbers, lr=_STANDSTILL, lr_final=None if numbers.lr_final is None else _STANDSTILL)
        for group, numbers in recipe.optimizers.items()
    }
    return replace(recipe, optimizers=optimizers, model={**recipe.model, **options})


@torch.no_grad()
def _make_trained_like(model: Any, seed: int) -> None:
    """Sizes, rotations and opacities like those of a trained model (the distributions of `raster_scene`)."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.gaussians.params.items():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("opacities"):
            parameter.copy_(2 * noise)
        elif name.endswith("scales"):
            parameter.add_(0.5 * noise)
        elif name.endswith("quats"):
            # One rotation for all keyframes of a Gaussian that has several.
            parameter.copy_(noise if noise.ndim == 2 else noise[:, :1].expand_as(noise))
