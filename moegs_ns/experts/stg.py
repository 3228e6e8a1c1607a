"""STG: Spacetime Gaussians (Li, Chen, Li, Xu; CVPR 2024).

Every Gaussian has a temporal centre c and width s. With d = t - c it moves along a cubic polynomial, turns linearly,
and fades as ``exp(-(d/s)^2)``. Motion, rotation and temporal opacity follow the paper and its released
hyper-parameters. Colour is held in spherical harmonics, as in the mixture of the MoE-GS authors, or as in the paper's
lite and full models (:mod:`moegs_ns.experts.heads`). Ours are what the paper takes from a point cloud per frame: copies
of an untimed cloud at several times, and short-lived Gaussians at seeds carved on moving things. An opacity reset from
which the run could not recover before it ends is left out.

Two details of the authors' training matter and are kept: motion and rotation see a *detached* d, so the temporal
centre is moved by opacity alone, and densified Gaussians get a fresh random centre, so densification also spreads in
time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor
from torch.nn import Parameter

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.clips import ClippedModel
from moegs_ns.experts.densification import DensifyingModelConfig, grow, prune
from moegs_ns.experts.expert_config import require_cameras
from moegs_ns.experts.fields.polynomial import linear_rotation, polynomial_displacement
from moegs_ns.experts.fields.temporal_rbf import temporal_rbf
from moegs_ns.experts.guided_sampling import GuidedSampling
from moegs_ns.experts.heads import DecoderOutput, HeadName, make_head
from moegs_ns.experts.new_gaussians import new_gaussians
from moegs_ns.experts.seeds import SeedCloud, seed_spacing, spread_over_time, thin_out, thin_out_later_times
from moegs_ns.experts.turning import learning_rotation, settle_turning
from moegs_ns.experts.views import ground_truth_image, is_training_camera
from moegs_ns.splats.density import outside_bounds
from moegs_ns.splats.neighbors import neighbor_rms_distance
from moegs_ns.splats.quaternions import unit_quaternions
from moegs_ns.splats.splats import Splats

_LOG_SCALE_RANGE = (-10.0, 1.0)


@dataclass
class STGModelConfig(DensifyingModelConfig):
    """Options of STG. Defaults are the authors' recipe for scenes without benchmark-specific priors."""

    _target: type = field(default_factory=lambda: STGModel)
    head: HeadName = "sh"
    """What holds colour: spherical harmonics; or as in the paper, plain RGB that looks the same from everywhere (lite),
    or features that a small network turns into colours with the viewing rays (full)."""
    decoder_output: DecoderOutput = "sigmoid"
    """Last operation of the full head's network: sigmoid, as the authors have it on Neural 3D Video, or clamp to [0,1]
    as on Technicolor."""
    seed_copies: int = 10
    """Seed points whose time is not known are repeated at this many times spread over the clip."""
    initial_log_time_scale: float = 0.0
    """Log of the initial temporal width, as a share of the clip; 0 = a Gaussian lives through the whole clip."""
    moving_log_time_scale: float = -3.0
    """Initial log temporal width of seeds with a time, in a cloud that also holds seeds without; the least one where it
    is known for how long something moves at a seed's place."""
    moving_width: float = 0.7
    """Where that is known, the initial temporal width as a share of it."""
    densify_rounds: int = 12
    """Number of rounds that clone and split; later rounds only prune."""
    densify_stop: int = 9000
    """No density control from this step on."""
    prune_stop: int = 7000
    """Nearly transparent Gaussians are removed until this step."""
    opacity_reset_interval: int = 3000
    """Steps between two opacity resets, while density control runs; 0 = never. None in the run's last such stretch."""
    bounds_prune_step: int = 10000
    """At this step Gaussians outside the seed cloud's bounding box are removed; 0 = never."""
    clip_frames: int | None = None
    """Train the video in clips of this many frames, each with Gaussians of its own, as one expert; none = all in one.
    The authors take 50. Density control counts each clip's own steps, so C clips need C times --max-num-iterations,
    and decays of learning rates as much longer."""
    later_seeds: float = 1.0
    """Of the seed points of every instant but the first, keep this share, the most isolated. The authors keep all or a
    quarter, depending on the scene."""
    min_z: float | None = None
    """Remove seed points whose world z is below this; none by default. In a scene's own units: for presets of one
    benchmark only, as all options down to turning_opacity."""
    min_z_start: int = 0
    """From this step on, also remove Gaussians below min_z now and then; 0 = never."""
    min_z_interval: int = 1000
    """Steps between two such removals."""
    turning_start: int = 0
    """At this step it is settled which Gaussians turn: the fast, middle-sized and opaque ones keep their rate of
    rotation and learn it alone, all others lose theirs and learn their rotation alone; 0 = never."""
    turning_stop: int = 0
    """From this step on all learn both again; 0 = never."""
    turning_speed: float = 0.0
    """Gaussians turn whose linear motion over the clip, summed over the axes, is above this (world units)."""
    turning_sizes: tuple[float, float] | None = None
    """Gaussians turn whose largest scale is between these (world units); none = any."""
    turning_opacity: float = 0.7
    """Gaussians turn whose opacity is above this."""
    guided_start: int = 0
    """From this step on the training cameras that are reproduced worst are looked for, and where they stay bad new
    Gaussians are put on their rays (guided sampling); 0 = never, as in the authors' configurations. Theirs would be
    1600."""
    guided_cameras: int = 2
    """How many cameras guided sampling takes, each once."""
    guided_interval: int = 100
    """Fewest steps between two cameras guided sampling takes."""
    guided_depths: tuple[float, ...] = (0.7, 7.5)
    """Depths at which guided sampling puts Gaussians on a ray, as shares of the farthest seed points' depth."""

    def prepare_start(self, data: Mapping[str, Any]) -> None:
        """As for every expert; guided sampling needs as many cameras as it takes.

        Raises:
            ValueError: there are fewer.
        """
        super().prepare_start(data)
        if self.guided_start:
            require_cameras(data, self.guided_cameras, "guided sampling", "--pipeline.model.guided-start 0")

    def setup(self, **kwargs: Any) -> ExpertModel:
        """The model, or one of several clips."""
        frames = int((kwargs.get("metadata") or {}).get("num_frames", 1))
        if self.clip_frames is None or self.clip_frames >= frames:
            return super().setup(**kwargs)
        return ClippedModel(self, **kwargs)


class STGModel(ExpertModel):
    """Spacetime Gaussians: polynomial motion, linear rotation, temporal radial-basis opacity."""

    config: STGModelConfig
    seed_bounds: Tensor

    def populate_modules(self) -> None:
        """Choose the head, which knows what tensors a Gaussian needs, before the Gaussians are built."""
        self.head = make_head(self.config.head, self.config.sh_degree, self.config.decoder_output)
        super().populate_modules()
        config = self.config
        self.guide: GuidedSampling | None = None
        if config.guided_start:
            names = self.camera_names("guided sampling", "--pipeline.model.guided-start 0")
            self.guide = GuidedSampling(len(names), config.guided_cameras, config.guided_depths, config.guided_interval)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The Gaussian tensors, and the full head's decoder."""
        groups, decoder = super().get_param_groups(), [*self.head.parameters()]
        return {**groups, "decoder": decoder} if decoder else groups

    def initial_tensors(self, seeds: SeedCloud) -> dict[str, Tensor]:
        """Raw parameters at the seed points (still, upright, opacity 0.1)."""
        config = self.config
        self.register_buffer("seed_bounds", torch.stack([seeds.points.amin(0), seeds.points.amax(0)]))
        if config.later_seeds < 1:
            seeds = thin_out_later_times(seeds, config.later_seeds)
        if config.min_z is not None:
            seeds = seeds.subset(seeds.points[:, 2] >= config.min_z)
        if config.max_gaussians is not None and len(seeds):
            seeds = self._thinned(seeds, config.max_gaussians)
        cloud, source = spread_over_time(seeds, config.seed_copies)
        # Beside points that are always there, those with a time are what moves: they live around their time only.
        moving = seeds.timed[source] & ~seeds.timed.all()
        own = torch.log(config.moving_width * seeds.durations[source])
        own = own.clamp_min(config.moving_log_time_scale).nan_to_num(config.moving_log_time_scale)
        log_time_scales = torch.where(moving, own, config.initial_log_time_scale)
        spacing = seed_spacing(seeds)[source]
        return {
            **_still_gaussians(cloud.points, spacing, self.clock * cloud.times, log_time_scales),
            **self.head.tensors(cloud.colors),
        }

    def _thinned(self, seeds: SeedCloud, limit: int) -> SeedCloud:
        """Fewer seeds, so that no more than ``limit`` Gaussians come of them; timed and untimed in proportion."""
        untimed, timed = seeds.subset(~seeds.timed), seeds.subset(seeds.timed)
        copies = self.config.seed_copies
        share = limit / (copies * len(untimed) + len(timed))
        if share >= 1:
            return seeds
        kept = int(share * len(untimed)), int(share * len(timed))
        if sum(kept) == 0:
            raise ValueError(
                f"expected room for at least one seed repeated at {copies} times, found --pipeline.model.max-gaussians "
                f"{limit}; raise it or lower --pipeline.model.seed-copies"
            )
        parts = thin_out(untimed, kept[0]), thin_out(timed, kept[1])
        return SeedCloud(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(SeedCloud)))

    @property
    def turning_is_settled(self) -> bool:
        """Whether at the present training step each Gaussian learns only its rotation or only its rate of rotation."""
        start, stop = self.config.turning_start, self.config.turning_stop
        return start > 0 and start <= int(self.training_step) and (stop == 0 or int(self.training_step) < stop)

    def splats_at(self, time: float) -> Splats:
        """The Gaussians at ``time`` in [0,1]."""
        g = self.gaussians
        offset = self.clock * time - g["time_center"]
        # The temporal centre learns from opacity only (see the module's docstring).
        fixed_offset = offset.detach()
        quats: Tensor = g["quats"]
        rates: Tensor = g["rotation_rate"]
        if self.training and self.turning_is_settled:
            quats, rates = learning_rotation(quats, rates)
        return Splats(
            means=g["means"] + polynomial_displacement(g["motion"], fixed_offset),
            quats=unit_quaternions(linear_rotation(quats, rates, fixed_offset)),
            scales=torch.exp(g["scales"]),
            opacities=torch.sigmoid(g["opacities"]) * temporal_rbf(offset, g["time_log_scale"]),
            **self.head.splat_fields(g, fixed_offset),
        )

    def channel_background(self, color: Tensor) -> Tensor:
        """``[C]`` behind all Gaussians: the colour, or zeros for the full head."""
        return self.head.background(color)

    def decode(self, composited: Tensor, rays: Callable[[], Tensor]) -> Tensor:
        """``[H,W,3]`` picture from what was composited."""
        return self.head.decode(composited, rays)

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        """Render one camera, see `ExpertModel.get_outputs`."""
        self._camera = camera  # whose loss is asked for next
        return super().get_outputs(camera)

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        """Photometric loss of one view, of which guided sampling takes note."""
        begun = self.training and int(self.training_step) + 1 >= self.config.guided_start
        if self.guide is not None and begun and is_training_camera(self._camera):
            self.guide.see(self._camera, outputs["rgb"], ground_truth_image(batch, self.device))
        return super().get_loss_dict(outputs, batch, metrics_dict)

    def learning_rate_scales(self) -> dict[str, float]:
        """Positions and motion learn in proportion to the size of the camera rig."""
        return {"means": self.camera_extent, "motion": self.camera_extent}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """As for every expert.

        Raises:
            ValueError: there is no Gaussian to train.
        """
        if not len(self.gaussians):
            raise ValueError(
                f"expected seed points with a world z of at least --pipeline.model.min-z {self.config.min_z}, found "
                "none; the option is for scenes of one benchmark, leave it out elsewhere"
            )
        return super().get_training_callbacks(training_callback_attributes)

    # -- density ---------------------------------------------------------------------------------------------------

    def control_density(self, iteration: int, optimizers: Optimizers) -> None:
        """The authors' schedule: a few rounds of clone and split, then pruning only; opacity resets in between."""
        config = self.config
        if iteration < config.densify_stop:
            start = config.densify_start
            if iteration > start and iteration % config.densify_interval == 0:
                rounds_before = (iteration - 1) // config.densify_interval - start // config.densify_interval
                if rounds_before < config.densify_rounds:
                    self._densify(optimizers)
                elif iteration < config.prune_stop:
                    prune(self, torch.sigmoid(self.gaussians["opacities"]) < config.prune_opacity, optimizers)
                self.gaussians.reset_statistics()
            if self.may_reset_opacity(iteration, config.opacity_reset_interval):
                self.gaussians.cap_opacity(0.01, optimizers.optimizers)
        if config.bounds_prune_step and iteration == config.bounds_prune_step:
            prune(self, outside_bounds(self.gaussians["means"], self.seed_bounds), optimizers)
        self._follow_benchmark(iteration, optimizers)
        if self.guide is not None:
            self._add_guided(iteration, optimizers)

    def _follow_benchmark(self, iteration: int, optimizers: Optimizers) -> None:
        """What the authors do on Neural 3D Video only, in that benchmark's world units; off but in its presets."""
        config, g = self.config, self.gaussians
        since = iteration - config.min_z_start
        if config.min_z is not None and config.min_z_start and since >= 0 and since % config.min_z_interval == 0:
            prune(self, g["means"][:, 2] < config.min_z, optimizers)
        if iteration == config.turning_start:
            limits = config.turning_speed, config.turning_sizes, config.turning_opacity
            settle_turning(g, optimizers.optimizers, *limits)

    def _add_guided(self, iteration: int, optimizers: Optimizers) -> None:
        """Add what guided sampling proposes, at random times, as far as there is room."""
        assert self.guide is not None and self.seed_points is not None
        proposed = self.guide.sample(iteration, self.seed_points[0].float())
        if proposed is None:
            return
        points, colors = proposed
        if self.config.max_gaussians is not None:
            room = max(0, self.config.max_gaussians - len(self.gaussians))
            kept = torch.randperm(len(points))[:room].to(points.device)
            points, colors = points[kept], colors[kept]
        count = len(points)
        if not count:
            return
        spacing = neighbor_rms_distance(torch.cat([self.gaussians["means"], points]))[-count:]
        log_time_scales = torch.full((count,), self.config.initial_log_time_scale)
        rows = _still_gaussians(points, spacing, torch.rand(count), log_time_scales)
        self.gaussians.append({**rows, **self.head.tensors(colors, specular=False)}, optimizers.optimizers)

    def _densify(self, optimizers: Optimizers) -> None:
        grow(self, self.config, self.config.max_gaussians, optimizers, self._scatter_in_time)

    def _scatter_in_time(self, count: int) -> None:
        """Give the last ``count`` Gaussians new temporal centres, uniform over the clip."""
        if count:
            self.gaussians["time_center"].data[-count:] = torch.rand(count).to(self.device)


def _still_gaussians(points: Tensor, spacing: Tensor, centers: Tensor, log_time_scales: Tensor) -> dict[str, Tensor]:
    """Raw tensors, but for colour, of new Gaussians that do not move.

    Args:
        points: ``[N,3]`` world units.
        spacing: ``[N]`` distance to neighbouring points, world units.
        centers: ``[N]`` temporal centres on STG's clock.
        log_time_scales: ``[N]`` log temporal widths.
    """
    count, device = len(points), points.device
    return {
        **new_gaussians(points, spacing.clamp_min(1e-20).log().clamp(*_LOG_SCALE_RANGE)),
        "motion": torch.zeros(count, 9, device=device),
        "time_center": centers.to(device),
        "time_log_scale": log_time_scales.to(device),
        "rotation_rate": torch.zeros(count, 4, device=device),
    }
