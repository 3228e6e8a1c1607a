"""Small experts, run folders that hold them, and mixtures of them, without datamanager or trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.registry import expert_family
from moegs_ns.router.mixture import MixtureModel, MixtureModelConfig
from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER
from moegs_ns.runs.checkpoints import write_checkpoint
from moegs_ns.runs.record import RUN_RECORD_NAME, SCHEMA_VERSION, plain, write_run_record

WIDTH, HEIGHT, NUM_FRAMES = 37, 26, 5
_SMALL: dict[str, dict[str, Any]] = {
    "stg": {"sh_degree": 1, "sh_degree_interval": 10, "seed_copies": 2},
    "4dgaussians": {
        "sh_degree": 1,
        "sh_degree_interval": 10,
        "background": "black",
        "grid_resolution": 4,
        "time_resolution": 5,
        "width": 8,
        "coarse_steps": 20,
    },
    "ed3dgs": {
        "sh_degree": 1,
        "sh_degree_interval": 10,
        "background": "black",
        "embedding_size": 4,
        "time_embedding_size": 6,
        "coarse_frames": 2,
        "fine_frames": 1,
        "fine_growth_steps": 40,
        "width": 8,
        "anneal_steps": 10,
        "deform_from_step": 25,
    },
    "ex4dgs": {
        "sh_degree": 1,
        "sh_degree_interval": 10,
        "background": "black",
        "keyframe_interval": 2,
        "window_frames": 2,
        "window_growth": 1,
        "window_interval": 10,
        "extract_start": 10,
    },
}
#: Families whose Gaussians differ in kind where seeds have times: every third of their seeds has one.
_TIMED = {"ex4dgs"}


def scene_box() -> SceneBox:
    return SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3]))


def make_camera(time: float | None = 0.0, width: int = WIDTH, height: int = HEIGHT) -> Cameras:
    """At z = 4, turned a little, with an off-centre principal point and unequal focal lengths."""
    angle = torch.tensor(0.2)
    pose = torch.eye(4)[:3]
    pose[0, 0] = pose[2, 2] = torch.cos(angle)
    pose[0, 2], pose[2, 0] = torch.sin(angle), -torch.sin(angle)
    pose[:, 3] = torch.tensor([0.8, 0.1, 4.0])
    return Cameras(
        camera_to_worlds=pose[None],
        fx=30.0,
        fy=33.0,
        cx=0.4 * width,
        cy=0.55 * height,
        width=width,
        height=height,
        times=None if time is None else torch.tensor([[time]]),
    )


def make_expert(
    family: str, seed: int = 0, count: int = 40, step: int = 30, cameras: Sequence[str] = (), **config: Any
) -> ExpertModel:
    """An expert whose every parameter is random, as after ``step`` training steps, in training mode."""
    torch.manual_seed(seed)  # what a family draws itself
    generator = torch.Generator().manual_seed(seed)
    metadata: dict[str, Any] = {"num_frames": NUM_FRAMES, "camera_extent": 2.0, "camera_names": list(cameras)}
    if family in _TIMED:
        times = torch.full((count, 1), torch.nan)
        times[::3] = torch.arange(len(times[::3]))[:, None] % NUM_FRAMES / (NUM_FRAMES - 1)
        metadata["points3D_time"] = times
    model = (
        expert_family(family)
        .config(**{**_SMALL[family], **config})
        .setup(
            scene_box=scene_box(),
            num_train_data=1,
            seed_points=(
                torch.randn(count, 3, generator=generator),
                torch.randint(0, 256, (count, 3), generator=generator, dtype=torch.uint8),
            ),
            metadata=metadata,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        for part in getattr(model, "parts", [model]):  # of an expert of several clips
            for name, parameter in part.gaussians.params.items():
                if name.endswith("opacities"):
                    parameter.add_(3.0)
                elif name.endswith("scales"):
                    parameter.sub_(1.2)  # small enough to leave holes
            part.training_step.fill_(step)
    model.training_step.fill_(step)
    return model


def save_run(folder: Path, model: ExpertModel, family: str, **scene: Any) -> Path:
    """What a finished expert run leaves of itself for later stages: its record and one checkpoint."""
    folder.mkdir(parents=True)
    step = int(model.training_step)
    record = {
        "schema_version": SCHEMA_VERSION,
        "method": f"moegs-{family}",
        "expert": {"name": family, "config": plain(model.config)},
        "scene": {"scene": "toy", "num_frames": NUM_FRAMES, "first_frame": 0, **scene},
        "versions": {},
        "progress": {"steps_done": step, "steps_total": step},
        "model": model.describe(),
    }
    write_run_record(folder / RUN_RECORD_NAME, record)
    state = {f"_model.{name}": value for name, value in model.state_dict().items()}
    write_checkpoint(
        {"step": step - 1, "pipeline": state, "optimizers": {}},
        folder / CHECKPOINT_FOLDER,
        step - 1,
        scratch_folder=folder,
    )
    return folder


def make_mixture(runs: Sequence[Path], cameras: Sequence[str] = (), **config: Any) -> MixtureModel:
    torch.manual_seed(0)  # the router's network
    return MixtureModelConfig(experts=tuple(runs), **config).setup(
        scene_box=scene_box(), num_train_data=1, metadata={"num_frames": NUM_FRAMES, "camera_names": list(cameras)}
    )


def randomise_router(model: MixtureModel, seed: int = 7, scale: float = 1.0) -> None:
    """Weights as different per Gaussian as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.router.gaussian_weights:
            for parameter in weights.parameters():
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
