"""E-D3DGS: canonical Gaussians deformed by what each one has learnt of itself (Bae, Kim et al., ECCV 2024).

Every Gaussian has an embedding, and every instant has two, read from one table along the clip: a coarse one for slow
and a fine one for fast changes. Two networks, one for each, turn both embeddings into changes of a Gaussian's raw
values (log scale, logit opacity, unnormalised quaternion, SH coefficients), and the changes are added up. No position
enters: Gaussians side by side may move apart.

Training cameras may be out of step by a little; each learns an offset of its time. Whatever is not a training step of
the expert itself, evaluation, the viewer or a mixture, renders with the mean offset of the trained cameras (the
authors' router training looks up the offsets of training cameras, their evaluation the mean).

Deviations from the released code: attributes that do not change yet are not computed, so their part of the networks
starts with fresh optimizer moments; ramps count finished steps, so the very first step is still; neighbours are also
looked for again when cloning and pruning happen to leave the number of Gaussians as it was; seeds beyond ``max_seeds``
are thinned out at random instead of on a voxel grid whose size is in one benchmark's world units; cameras are drawn
uniformly (the released code keeps away from the last camera's neighbours, with distances that belong to other cameras).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor
from torch.nn import Parameter

from moegs_ns.experts.canonical import (
    CanonicalModel,
    CanonicalModelConfig,
    canonical_tensors,
    deformed_attributes,
)
from moegs_ns.experts.deformed_splats import deformed_splats
from moegs_ns.experts.densification import grow, prune
from moegs_ns.experts.fields.deformation import DeformationHeads
from moegs_ns.experts.fields.embedding_smoothness import EmbeddingSmoothness
from moegs_ns.experts.fields.temporal_table import TemporalTable, growing_points
from moegs_ns.experts.frustum import rows_in_view, take_rows
from moegs_ns.experts.seeds import SeedCloud
from moegs_ns.experts.views import camera_index, camera_time, is_training_camera
from moegs_ns.losses import ssim
from moegs_ns.splats.splats import Splats

_LARGEST_LOG_SCALE = 1.0


@dataclass
class ED3DGSModelConfig(CanonicalModelConfig):
    """Options of E-D3DGS. Defaults are the authors' recipe for Neural 3D Video."""

    _target: type = field(default_factory=lambda: ED3DGSModel)
    ssim_weight: float = 0.0
    """Share of (1 - SSIM) in the photometric loss of every step; the authors have it in some steps only."""
    background: Literal["black", "white"] = "white"
    """Colour behind all Gaussians."""
    periodic_ssim_weight: float = 0.5
    """Weight of the (1 - SSIM) that some steps add to their loss: the authors' 1, halved as they do; 0 = none."""
    periodic_ssim_interval: int = 50
    """Every so many steps, SSIM joins the loss ..."""
    periodic_ssim_steps: int = 5
    """... for this many steps. The data manager's --hold-interval and --hold-steps let them show one instant."""
    periodic_ssim_start: int = 10000
    """No periodic SSIM before this step."""
    embedding_size: int = 32
    """Numbers in a Gaussian's embedding."""
    time_embedding_size: int = 256
    """Numbers in an instant's embedding."""
    time_embedding_std: float = 6.25e-4
    """Standard deviation of the table of time embeddings at the start; the authors take 0 on shorter clips."""
    coarse_frames: int = 10
    """Frames of the clip per control point of the coarse time embedding."""
    fine_frames: int = 2
    """Frames of the clip per control point of the fine time embedding, fully grown."""
    fine_growth_steps: int = 10000
    """Steps in which the fine time embedding grows from the coarse one's number of control points to its own."""
    width: int = 128
    """Hidden width of the two deformation networks."""
    anneal_steps: int = 1000
    """Steps in which changes grow from nothing to their full size; 0 = full size from the start, for all attributes."""
    deform_from_step: int = 5000
    """Scales, opacities and colours begin to change at this step, positions and rotations at the first."""
    time_offsets: bool = True
    """Learn an offset of time per training camera. Other cameras, and all cameras outside training, get the mean."""
    smoothness_weight: float = 1.0
    """Weight of the difference between neighbouring Gaussians' embeddings."""
    smoothness_neighbors: int = 20
    """Neighbours each Gaussian is compared with."""
    smoothness_falloff: float = 2000.0
    """How fast a neighbour counts less with distance d: exp(-falloff d^2), d in world units."""
    smoothness_interval: int = 1
    """Compare neighbours in every so-manieth step only, with as many times the weight. On CPU the comparison of 20 000
    Gaussians costs as much as three rasterizations."""
    opacity_weight: float = 1e-4
    """Weight of the mean opacity in the loss."""
    max_seeds: int | None = 100000
    """Larger seed clouds are thinned out to this many points, those without a time first."""
    densify_start: int = 5000
    """Densification begins after this many steps."""
    densify_stop: int = 80000
    """No density control from this step on; the authors never stop."""
    densify_gradient: float = 3e-4
    """Mean screen-space gradient (half-image units) above which a Gaussian is cloned or split."""


class ED3DGSModel(CanonicalModel):
    """Canonical Gaussians with embeddings, and two networks that deform them."""

    config: ED3DGSModelConfig

    def initial_tensors(self, seeds: SeedCloud) -> dict[str, Tensor]:
        """Raw canonical parameters at the seed points; embeddings are zero."""
        config = self.config
        seeds = self.canonical_seeds(seeds)
        tensors = canonical_tensors(seeds, config.sh_degree, _LARGEST_LOG_SCALE)
        return {**tensors, "embeddings": torch.zeros(len(seeds), config.embedding_size)}

    def populate_modules(self) -> None:
        """Add the time embeddings, the networks and the cameras' time offsets.

        Raises:
            ValueError: control points or neighbours that cannot be, or time offsets without named cameras.
        """
        super().populate_modules()
        config = self.config
        if not 1 <= config.fine_frames <= config.coarse_frames:
            raise ValueError(
                f"expected 1 <= --pipeline.model.fine-frames <= coarse-frames, found {config.fine_frames} and "
                f"{config.coarse_frames}"
            )
        self.coarse_points, self.fine_points = (
            max(1, self.num_frames // frames) for frames in (config.coarse_frames, config.fine_frames)
        )
        self.time_table = TemporalTable(self.fine_points, config.time_embedding_size, config.time_embedding_std)
        outputs = deformed_attributes(config)
        self.coarse_network, self.fine_network = (
            DeformationHeads(
                config.embedding_size, config.width, outputs, common=config.time_embedding_size, xavier=False
            )
            for _ in range(2)
        )
        self.smoothness = EmbeddingSmoothness(config.smoothness_neighbors, config.smoothness_falloff)
        if config.time_offsets:
            names = self.camera_names("time offsets per camera", "--pipeline.model.time-offsets False")
            self.camera_time_offsets = Parameter(torch.zeros(len(names)))

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The Gaussian tensors, table and networks, and the cameras' time offsets."""
        field_parts = (self.time_table, self.coarse_network, self.fine_network)
        groups = super().get_param_groups()
        groups["network"] = [parameter for part in field_parts for parameter in part.parameters()]
        if self.config.time_offsets:
            groups["time_offsets"] = [self.camera_time_offsets]
        return groups

    def learning_rate_scales(self) -> dict[str, float]:
        """Positions and networks learn in proportion to the size of the camera rig."""
        return {"means": self.camera_extent, "network": self.camera_extent}

    # -- time ------------------------------------------------------------------------------------------------------

    def mean_time_offset(self) -> Tensor:
        """Scalar, on the authors' clock: the mean offset of the training cameras seen so far, without gradient."""
        if not self.config.time_offsets:
            return torch.zeros((), device=self.device)
        offsets = self.camera_time_offsets.detach()
        # A camera that no step has shown yet still has the exact zero it started with.
        return offsets.sum() / offsets.count_nonzero().clamp_min(1)

    def splats_of_view(self, camera: Cameras) -> tuple[Splats, Tensor | None]:
        """In training, the Gaussians at the camera's own idea of the time; cameras of one instant share none then."""
        if not (self.training and self.config.time_offsets and is_training_camera(camera)):
            return super().splats_of_view(camera)
        time = camera_time(camera, self.config.default_time)
        return self._splats_on_clock(self.clock * time + self.camera_time_offsets[camera_index(camera)], [camera])

    def splats_seen(self, time: float, cameras: Sequence[Cameras]) -> tuple[Splats, Tensor | None]:
        """Without what the cameras cannot see."""
        return self._splats_on_clock(self.clock * time + self.mean_time_offset(), cameras)

    def splats_at(self, time: float) -> Splats:
        """The Gaussians at ``time`` in [0,1] as a camera sees them that was not trained on."""
        return self._splats_on_clock(self.clock * time + self.mean_time_offset())[0]

    # -- deformation -----------------------------------------------------------------------------------------------

    def ramps(self) -> dict[str, float]:
        """How much of its change each attribute gets at the present training step, 0 to 1."""
        config, step = self.config, int(self.training_step)
        early = late = 1.0
        if config.anneal_steps:
            early = min(step / config.anneal_steps, 1.0)
            late = min(max(step - config.deform_from_step, 0) / config.anneal_steps, 1.0)
        return {"means": early, "quats": early, "scales": early * late, "opacities": early * late, "sh": late}

    def _splats_on_clock(self, time: Tensor, cameras: Sequence[Cameras] = ()) -> tuple[Splats, Tensor | None]:
        """The Gaussians that the cameras may see, and their positions; where no cameras are given, all and None."""
        config, step = self.config, int(self.training_step)
        ramps = {name: ramp for name, ramp in self.ramps().items() if ramp > 0 and name in self.coarse_network.heads}
        if not ramps:
            return deformed_splats(self.gaussians, {}), None
        fine_points = growing_points(step, self.coarse_points, self.fine_points, config.fine_growth_steps)
        instants = self.time_table(time, self.coarse_points), self.time_table(time, fine_points)
        changes = partial(self._changes, ramps, instants)
        rows = rows_in_view(self.gaussians, self.views_of(cameras), self.projection_settings, changes)
        return deformed_splats(self.gaussians, changes(rows), rows), rows

    def _changes(
        self,
        ramps: dict[str, float],
        instants: tuple[Tensor, Tensor],
        rows: Tensor | None = None,
        names: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """What both networks add to raw values: of the Gaussians at ``rows``, of the attributes ``names``; None for
        all. Attributes without a ramp do not change."""
        ramps = {name: ramp for name, ramp in ramps.items() if names is None or name in names}
        embeddings = take_rows(self.gaussians["embeddings"], rows)
        slow = self.coarse_network(embeddings, instants[0], ramps)
        fast = self.fine_network(embeddings, instants[1], ramps)
        # Most of a training has full ramps.
        return {
            name: slow[name] + fast[name] if ramp == 1 else ramp * (slow[name] + fast[name])
            for name, ramp in ramps.items()
        }

    def field_parameters(self) -> list[Parameter]:
        """The embeddings and the fast network's. The slow network and the table stay as they are: what appears and
        disappears is sudden, and motion should not start so."""
        return [self.gaussians["embeddings"], *self.fine_network.parameters()]

    def field_changes(self, time: float, rows: Tensor) -> dict[str, Tensor]:
        """What the networks add to the raw values of the Gaussians at ``rows [n]``, without ramps and with all control
        points."""
        clock = self.time_table.weight.new_tensor(self.clock * time)
        instants = self.time_table(clock, self.coarse_points), self.time_table(clock, self.fine_points)
        return self._changes(dict.fromkeys(self.coarse_network.heads, 1.0), instants, rows)

    # -- losses ----------------------------------------------------------------------------------------------------

    def get_loss_dict(self, outputs: dict, batch: dict, metrics_dict: dict | None = None) -> dict[str, Tensor]:
        """Photometric loss of one view, with SSIM in some training steps."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if self.training and self._has_periodic_ssim(int(self.training_step) + 1):
            unlike = self.compare(outputs["rgb"], batch, lambda rgb, image: 1 - ssim(rgb, image))
            losses["periodic_ssim"] = self.config.periodic_ssim_weight * unlike
        return losses

    def _has_periodic_ssim(self, iteration: int) -> bool:
        config = self.config
        return (
            config.periodic_ssim_weight > 0
            and iteration >= config.periodic_ssim_start
            and iteration % config.periodic_ssim_interval < config.periodic_ssim_steps
        )

    def step_losses(self) -> dict[str, Tensor]:
        """Neighbours' embeddings should be alike, and Gaussians no more opaque than needed.

        The latter is the sigmoid of the mean logit, as in the released code; the paper speaks of the mean opacity.
        """
        config, g = self.config, self.gaussians
        losses = {}
        interval = config.smoothness_interval
        if config.smoothness_weight and int(self.training_step) % interval == 0:
            smoothness = self.smoothness(g["embeddings"], g["means"])
            losses["embedding_smoothness"] = config.smoothness_weight * interval * smoothness
        if config.opacity_weight:
            losses["opacity"] = config.opacity_weight * torch.sigmoid(g["opacities"].mean())
        return losses

    # -- density ---------------------------------------------------------------------------------------------------

    def control_density(self, iteration: int, optimizers: Optimizers) -> None:
        """Clone, split and prune in every round; opacity resets only if asked for."""
        config, g = self.config, self.gaussians
        if iteration >= config.densify_stop:
            return
        if iteration > config.densify_start and iteration % config.densify_interval == 0:
            changed = grow(self, config, config.max_gaussians, optimizers)
            changed += prune(self, torch.sigmoid(g["opacities"]) < config.prune_opacity, optimizers)
            if changed:
                self.smoothness.forget()
            g.reset_statistics()
        if self.may_reset_opacity(iteration, config.opacity_reset_interval):
            g.cap_opacity(0.01, optimizers.optimizers)
