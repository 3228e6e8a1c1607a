"""One expert of several clips: a video cut into stretches of frames, each with a complete model of its own.

The parts train within one run, as independently as separate runs would: a step shows one instant, so it reaches one
part, and torch's optimizers pass over parameters without a gradient. To everything outside, frozen mixtures included,
the parts are one expert; see "Clips of an expert" in docs/architecture.md.
"""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.models.base_model import Model
from torch import Tensor, nn
from torch.nn import Parameter

from moegs_ns.experts.base import SCENE_FACTS, ExpertModel
from moegs_ns.experts.supervision import Supervision
from moegs_ns.experts.views import camera_time
from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.splats.splats import Splats

_GROUP_SUFFIX = "_clip"
_FRAME_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Clips:
    """How a video's frames are cut: stretches of equal length, the last one shorter where they do not fit.

    Attributes:
        num_frames: of the video.
        clip_frames: of a clip.

    Raises:
        ValueError: a clip of no frames.
    """

    num_frames: int
    clip_frames: int

    def __post_init__(self) -> None:
        if self.clip_frames < 1:
            raise ValueError(f"expected --pipeline.model.clip-frames of at least 1, found {self.clip_frames}")

    def __len__(self) -> int:
        return -(-self.num_frames // self.clip_frames)

    def frames_of(self, clip: int) -> int:
        """Number of frames of one clip."""
        return min(self.clip_frames, self.num_frames - clip * self.clip_frames)

    def locate(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Which clip shows each time, and its own time.

        Args:
            times: any shape, in [0,1] from the video's first to its last frame.

        Returns:
            The clip of the nearest frame (int64), and the time in [0,1] from that clip's first to its last frame
            (float32).
        """
        frames = times.double() * (self.num_frames - 1)
        # Times of frames are single precision: without this a part would see slightly other times than on its own.
        whole = frames.round()
        frames = torch.where((frames - whole).abs() < _FRAME_TOLERANCE, whole, frames)
        clips = ((frames + 0.5).long() // self.clip_frames).clamp(0, len(self) - 1)
        lengths = (self.num_frames - clips * self.clip_frames).clamp_max(self.clip_frames)
        own = (frames - clips * self.clip_frames) / (lengths - 1).clamp_min(1)
        return clips, own.clamp(0.0, 1.0).float()


class ClippedModel(ExpertModel):
    """Several models of one family, each for a clip of the video, that behave as one expert.

    Args:
        config: of the family, with ``clip_frames``; each part gets it without.
        others: as for `ExpertModel`.
    """

    def populate_modules(self) -> None:
        """Build one part per clip, from the seed points of its time and those without a time."""
        Model.populate_modules(self)
        config: Any = self.config
        self.metadata = self.kwargs.get("metadata") or {}
        self.num_frames = int(self.metadata.get("num_frames", 1))
        self.camera_extent = float(self.metadata.get("camera_extent", 1.0))
        self.clips = Clips(self.num_frames, config.clip_frames)
        count = len(self.clips)
        limits = {
            name: max(1, getattr(config, name) // count)
            for name in ("max_gaussians", "max_seeds")
            if getattr(config, name) is not None
        }
        part_config = dataclasses.replace(config, clip_frames=None, **limits)
        self.parts = nn.ModuleList(
            part_config.setup(
                scene_box=self.scene_box, num_train_data=self.num_train_data, **self._data_of(clip, part_config)
            )
            for clip in range(count)
        )
        self.register_buffer("training_step", torch.zeros((), dtype=torch.int64))
        self._seen: list[int] = []

    def _data_of(self, clip: int, config: Any) -> dict[str, Any]:
        """Seed points and metadata of one clip."""
        metadata = {**self.metadata, "num_frames": self.clips.frames_of(clip)}
        seed_points, times = self.seed_points, metadata.pop("points3D_time", None)
        if seed_points is not None and times is not None:
            times = times.float().reshape(-1)
            timed = ~times.isnan()
            clips, own = self.clips.locate(times.nan_to_num(0.0))
            kept = ~timed | (clips == clip)
            metadata["points3D_time"] = torch.where(timed, own, torch.nan)[kept][:, None]
            if "points3D_duration" in metadata:
                longer = self.num_frames / metadata["num_frames"]
                metadata["points3D_duration"] = (longer * metadata["points3D_duration"][kept]).clamp_max(1.0)
            seed_points = (seed_points[0][kept], seed_points[1][kept])
        return {"seed_points": seed_points, "metadata": metadata}

    # -- who does what -----------------------------------------------------------------------------------------------

    def _part(self, clip: int) -> ExpertModel:
        return self.parts[clip]  # type: ignore[return-value]

    def _locate(self, time: float) -> tuple[int, float]:
        clip, own = self.clips.locate(torch.tensor(time, dtype=torch.float64))
        return int(clip), float(own)

    @property
    def num_gaussians(self) -> int:
        """Gaussians of all parts."""
        return sum(self._part(clip).num_gaussians for clip in range(len(self.clips)))

    def gaussian_sets(self) -> list[GaussianSet]:
        """Those of all parts, clip by clip."""
        return [one for clip in range(len(self.clips)) for one in self._part(clip).gaussian_sets()]

    def part_at(self, time: float) -> tuple[ExpertModel, slice]:
        """The part of the clip that shows ``time``, and the rows of its Gaussians."""
        clip, _ = self._locate(time)
        start = sum(self._part(earlier).num_gaussians for earlier in range(clip))
        return self._part(clip), slice(start, start + self._part(clip).num_gaussians)

    def splats_at(self, time: float) -> Splats:
        """The Gaussians of the part that shows ``time`` in [0,1]."""
        clip, own = self._locate(time)
        return self._part(clip).splats_at(own)

    @torch.no_grad()
    def trajectories(self, times: Sequence[float], index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Positions ``[T,n,3]`` and opacities ``[T,n]`` as for every expert, of the Gaussians of all parts; beyond its
        clip a Gaussian stands still and is transparent."""
        at = [self._locate(time) for time in times]
        positions, opacities = [], []
        for clip in range(len(self.clips)):
            # The other clips' times lie before its first frame or behind its last.
            own = [time if shown == clip else float(shown > clip) for shown, time in at]
            means, visible = self._part(clip).trajectories(own)
            shows = torch.tensor([shown == clip for shown, _ in at], device=visible.device)
            positions.append(means)
            opacities.append(visible * shows[:, None])
        chosen = slice(None) if index is None else index
        return torch.cat(positions, dim=1)[:, chosen], torch.cat(opacities, dim=1)[:, chosen]

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        """Render one camera with the part of its time."""
        if camera.shape[0] != 1:
            raise ValueError(f"expected one camera at a time, found {camera.shape[0]}")
        clip, own = self._locate(camera_time(camera, self.config.default_time))
        if self.training:
            self._seen.append(clip)
        theirs = copy.copy(camera)
        theirs.times = torch.tensor([[own]], device=camera.device)
        return self._part(clip).get_outputs(theirs)

    def supervise(self, supervision: Supervision) -> None:
        """As for every expert, each part alike."""
        for clip in range(len(self.clips)):
            self._part(clip).supervise(supervision)

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        """Losses of one view, by the part that rendered last."""
        part = self._part(self._seen[-1]) if self._seen else self._part(0)
        return part.get_loss_dict(outputs, batch, metrics_dict)

    def step_losses(self) -> dict[str, Tensor]:
        """Losses of the step by the parts it reached, the mean where these are several."""
        reached = sorted({*self._seen})
        losses = [self._part(clip).step_losses() for clip in reached]
        names = dict.fromkeys(name for one in losses for name in one)
        return {name: torch.stack([one[name] for one in losses]).mean() for name in names}

    def camera_gain(self, camera: Cameras) -> Tensor:
        """``[3]`` gain of a training camera in the clip of its time."""
        clip, _ = self._locate(camera_time(camera, self.config.default_time))
        return self._part(clip).camera_gain(camera)

    def describe(self) -> dict[str, Any]:
        """Plain facts, of all parts together."""
        counts = [self._part(clip).num_gaussians for clip in range(len(self.clips))]
        return {
            **self._part(0).describe(),
            "num_gaussians": sum(counts),
            "num_gaussians_per_clip": counts,
            "scene_facts": {name: self.metadata[name] for name in SCENE_FACTS if name in self.metadata},
        }

    # -- training ----------------------------------------------------------------------------------------------------

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The groups of every part, ``<group>_clip<number>``."""
        return {
            f"{name}{_GROUP_SUFFIX}{clip}": parameters
            for clip in range(len(self.clips))
            for name, parameters in self._part(clip).get_param_groups().items()
        }

    @staticmethod
    def configured_group(name: str) -> str:
        """The configured optimizer group with the numbers of a parameter group."""
        return name.rpartition(_GROUP_SUFFIX)[0]

    def learning_rate_scales(self) -> dict[str, float]:
        """Those of the parts, which are all alike."""
        return self._part(0).learning_rate_scales()

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Before a step forget what was seen; after it, control the density of the parts that were."""
        trainer = training_callback_attributes.trainer
        self.total_steps = None if trainer is None else trainer.config.max_num_iterations
        for clip in range(len(self.clips)):
            part = self._part(clip)
            part.get_training_callbacks(training_callback_attributes)  # for its checks
            if self.total_steps is not None:
                part.total_steps = round(self.total_steps * self.clips.frames_of(clip) / self.num_frames)
        after = TrainingCallbackLocation.AFTER_TRAIN_ITERATION
        return [
            TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], self._begin_step),
            TrainingCallback([after], self._end_step, args=[training_callback_attributes.optimizers]),
        ]

    def _begin_step(self, step: int) -> None:
        self._seen.clear()
        for clip in range(len(self.clips)):
            self._part(clip)._begin_step(step)

    @torch.no_grad()
    def _end_step(self, optimizers: Optimizers, step: int) -> None:
        for clip in range(len(self.clips)):
            part, suffix = self._part(clip), f"{_GROUP_SUFFIX}{clip}"
            if clip not in self._seen:
                part._step_splats = part._step_views = None
                continue
            names = [*part.get_param_groups()]
            own: Any = SimpleNamespace(
                optimizers={name: optimizers.optimizers[name + suffix] for name in names},
                parameters={name: optimizers.parameters[name + suffix] for name in names},
            )
            part._end_step(own, int(part.training_step))
            optimizers.parameters.update({name + suffix: own.parameters[name] for name in names})
        self._seen.clear()
        self.training_step.fill_(step + 1)
