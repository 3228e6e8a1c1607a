"""A method small enough to train in milliseconds, with everything that makes resuming hard.

The model draws from all three global random generators, grows its parameters as density control does (new Parameter
objects, moments carried along) and counts in a buffer; the datamanager samples with a generator of its own.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig
from nerfstudio.data.datamanagers.base_datamanager import DataManager, DataManagerConfig
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor
from torch.nn import Parameter

from moegs_ns.training.optimizers import AdamConfig
from moegs_ns.training.pipeline import MoegsPipelineConfig
from moegs_ns.training.schedulers import LogLinearDecayConfig
from moegs_ns.training.trainer_config import MoegsTrainerConfig, default_trainer_config

WIDTH, HEIGHT, NUM_FRAMES = 16, 12, 4


class ToyDataset:
    """Two cameras by four frames (or fewer images) of noise."""

    def __init__(self, num_images: int, names: list[str], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randint(0, 256, (num_images, HEIGHT, WIDTH, 3), generator=generator, dtype=torch.uint8)
        self.scene_box = SceneBox(aabb=torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
        self.metadata = {
            "camera_names": names,
            "num_frames": NUM_FRAMES,
            "first_frame": 100,
            "fps": 30.0,
            "layout": "toy",
            "scene": "toy",
        }
        frames = torch.arange(num_images) % NUM_FRAMES
        self.cameras = Cameras(
            camera_to_worlds=torch.eye(4)[:3].expand(num_images, 3, 4).clone(),
            fx=20.0,
            fy=20.0,
            cx=WIDTH / 2,
            cy=HEIGHT / 2,
            width=WIDTH,
            height=HEIGHT,
            times=frames[:, None] / (NUM_FRAMES - 1),
            metadata={
                "camera_index": (torch.arange(num_images) // NUM_FRAMES)[:, None],
                "frame_index": frames[:, None],
            },
        )

    def __len__(self) -> int:
        return len(self.images)

    def item(self, index: int) -> tuple[Cameras, dict[str, Any]]:
        return self.cameras[index : index + 1], {"image": self.images[index], "image_idx": index}


class LazyItems:
    def __init__(self, dataset: ToyDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[tuple[Cameras, dict[str, Any]]]:
        return (self.dataset.item(index) for index in range(len(self.dataset)))


@dataclass
class ToyDataManagerConfig(DataManagerConfig):
    _target: type = field(default_factory=lambda: ToyDataManager)
    data: Path | None = Path("toy-scene")
    cameras_per_step: int = 1
    num_eval_images: int = 6
    sampling_seed: int = 7


class ToyDataManager(DataManager):
    config: ToyDataManagerConfig

    def __init__(
        self, config: ToyDataManagerConfig, device: Any, test_mode: str, world_size: int, local_rank: int
    ) -> None:
        self.config, self.device, self.test_mode = config, device, test_mode
        self.test_split = "val" if test_mode == "val" else "test"
        self.train_dataset = ToyDataset(8, ["cam00", "cam01"], seed=1)
        self.eval_dataset = ToyDataset(config.num_eval_images, ["cam02", "cam03"], seed=2)
        self.generator = torch.Generator().manual_seed(config.sampling_seed)
        super().__init__()

    def next_train_group(self, step: int) -> list[tuple[Cameras, dict[str, Any]]]:
        picks = torch.randint(len(self.train_dataset), (self.config.cameras_per_step,), generator=self.generator)
        return [self.train_dataset.item(int(index)) for index in picks]

    def next_train(self, step: int) -> tuple[Cameras, dict[str, Any]]:
        return self.train_dataset.item(step % len(self.train_dataset))

    def next_eval(self, step: int) -> tuple[Cameras, dict[str, Any]]:
        return self.next_eval_image(step)

    def next_eval_image(self, step: int) -> tuple[Cameras, dict[str, Any]]:
        # The global generator on purpose: nerfstudio's own full-image datamanager picks evaluation images with it.
        return self.eval_dataset.item(random.randrange(len(self.eval_dataset)))

    def sampler_state(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_sampler_state(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])

    @property
    def fixed_indices_eval_dataloader(self) -> LazyItems:
        return LazyItems(self.eval_dataset)

    def get_train_rays_per_batch(self) -> int:
        return WIDTH * HEIGHT

    def get_datapath(self) -> Path:
        return self.config.data

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        return {}

    def setup_train(self) -> None: ...

    def setup_eval(self) -> None: ...


@dataclass
class ToyModelConfig(ModelConfig):
    _target: type = field(default_factory=lambda: ToyModel)
    enable_collider: bool = False
    grow_every: int = 3
    nan_loss_at_step: int | None = None
    nan_parameter_at_step: int | None = None
    stop_at_step: int | None = None
    extra_loss_on_even_frames: bool = False


class Killed(Exception):
    """Stands for SIGKILL: nothing of ours handles it."""


class ToyModel(Model):
    config: ToyModelConfig

    def __init__(self, *args: Any, seed_points: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def populate_modules(self) -> None:
        super().populate_modules()
        self.pixels = Parameter(torch.full((HEIGHT, WIDTH, 3), 0.5))
        self.points = Parameter(torch.rand(5, 2))
        self.register_buffer("growths", torch.zeros((), dtype=torch.int64))
        self.losses: list[float] = []
        self.register_load_state_dict_pre_hook(self._resize)

    @staticmethod
    def _resize(module: "ToyModel", state: dict[str, Tensor], prefix: str, *_: Any) -> None:
        module.points.data = torch.empty_like(state[f"{prefix}points"])  # KeyError if the model were visited twice

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        return {"pixels": [self.pixels], "points": [self.points]}

    def learning_rate_scales(self) -> dict[str, float]:
        return {"points": 0.5}

    def describe(self) -> dict[str, Any]:
        return {"num_gaussians": len(self.points), "raster_backend": "toy"}

    def get_training_callbacks(self, training_callback_attributes: Any) -> list[TrainingCallback]:
        optimizers = training_callback_attributes.optimizers
        return [
            TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], self._maybe_die),
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], self._grow, args=[optimizers]),
        ]

    def _maybe_die(self, step: int) -> None:
        self.step = step
        if step == self.config.stop_at_step:
            raise Killed

    def _grow(self, optimizers: Any, step: int) -> None:
        if step == self.config.nan_parameter_at_step:
            self.points.data[0] = float("nan")
        if (step + 1) % self.config.grow_every:
            return
        chosen = torch.randint(len(self.points), (1,))
        optimizer = optimizers.optimizers["points"]
        grown = Parameter(torch.cat([self.points.data, self.points.data[chosen]]))
        state = optimizer.state.pop(self.points)
        for moment in ("exp_avg", "exp_avg_sq"):
            state[moment] = torch.cat([state[moment], torch.zeros(1, 2)])
        optimizer.param_groups[0]["params"] = [grown]
        optimizer.state[grown] = state
        self.points = grown
        self.growths += 1

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        rgb = self.pixels * (1 + 0.1 * camera.times.flatten()[0]) + 0.01 * self.points.square().sum()
        if self.training:
            rgb = rgb + 0.01 * (torch.randn(()) + np.random.rand() + random.random())  # noqa: NPY002  see above
        return {"rgb": rgb, "accumulation": rgb[..., :1], "depth": rgb[..., :1]}

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: Any = None) -> dict[str, Tensor]:
        torch.randn(3)  # rendering that draws random numbers must not disturb training either
        return self.get_outputs(camera)

    def get_metrics_dict(self, outputs: dict, batch: dict) -> dict[str, Any]:
        return {"brightness": outputs["rgb"].detach().mean(), "points": len(self.points)}

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        loss = (outputs["rgb"] - batch["image"].float() / 255).square().mean()
        if self.training:
            self.losses.append(loss.item())
            if getattr(self, "step", None) == self.config.nan_loss_at_step is not None:
                loss = loss * float("nan")
        losses = {"color": loss}
        if self.config.extra_loss_on_even_frames and batch["image_idx"] % 2 == 0:
            losses["even"] = self.points.square().mean()
        return losses

    def get_image_metrics_and_images(self, outputs: dict, batch: dict) -> tuple[dict[str, float], dict[str, Tensor]]:
        return {"psnr": -1.0, "brightness": float(outputs["rgb"].mean())}, {"img": outputs["rgb"]}


def toy_config(output_dir: Path, steps: int, timestamp: str = "run", **options: Any) -> MoegsTrainerConfig:
    """Config of a toy run; ``options`` whose names are fields of a part of the config go there."""
    config = default_trainer_config(
        method_name="moegs-toy",
        pipeline=MoegsPipelineConfig(datamanager=ToyDataManagerConfig(), model=ToyModelConfig(), lpips=()),
        optimizers={
            "pixels": {
                "optimizer": AdamConfig(lr=1e-2),
                "scheduler": LogLinearDecayConfig(lr_final=1e-3, max_steps=20),
            },
            "points": {
                "optimizer": AdamConfig(lr=1e-2),
                "scheduler": LogLinearDecayConfig(lr_final=1e-4, max_steps=20),
            },
        },
        max_num_iterations=steps,
    )
    config.output_dir, config.timestamp, config.vis = output_dir, timestamp, "tensorboard"
    config.machine = MachineConfig(seed=3, device_type="cpu")
    config.logging = LoggingConfig(steps_per_log=5, profiler="none")
    config.logging.local_writer.enable = False
    config.steps_per_save, config.steps_per_eval_image = 5, 0
    for name, value in options.items():
        parts = (config, config.pipeline, config.pipeline.datamanager, config.pipeline.model)
        setattr(next(part for part in parts if hasattr(part, name)), name, value)
    return config
