"""4DGaussians: canonical Gaussians deformed by a HexPlane field (Wu et al., CVPR 2024).

Training has two stages in one run. In the *coarse* stage the Gaussians are static and see frames of all times; in the
*fine* stage the field joins and every optimizer starts afresh. Deltas are added to raw values (log scale, logit
opacity, unnormalised quaternion, SH coefficients). Gradients of the field reach the canonical positions.

Deviations from the released code, each without effect on what can be expressed: time spans all rows of the temporal
planes (see :class:`~moegs_ns.experts.fields.hexplane.HexPlane`), seeds beyond ``max_seeds`` are thinned out at random
instead of on a voxel grid whose size is in one benchmark's world units, and, as all experts here, nothing is drawn
before four fifths of the scene's near bound and colour does not move Gaussians through the viewing direction.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor
from torch.nn import Parameter

from moegs_ns.experts.base import ExpertModel, ExpertModelConfig
from moegs_ns.experts.fields.deformation import DeformationHeads
from moegs_ns.experts.fields.hexplane import HexPlane
from moegs_ns.experts.seeds import SeedCloud, seed_spacing, thin_out
from moegs_ns.splats.density import limit_growth
from moegs_ns.splats.sh import sh_from_color
from moegs_ns.splats.splats import Splats

_INITIAL_OPACITY = 0.1


@dataclass
class FourDGaussiansModelConfig(ExpertModelConfig):
    """Options of 4DGaussians. Defaults are the authors' recipe for Neural 3D Video."""

    _target: type = field(default_factory=lambda: FourDGaussiansModel)
    ssim_weight: float = 0.0
    """Share of (1 - SSIM) in the photometric loss; the authors train with L1 alone."""
    background: Literal["black", "white"] = "white"
    """Colour behind all Gaussians."""
    densify_views: Literal["last", "all", "sum"] = "sum"
    """How the cameras of a step enter the densification statistics; the authors add their gradients up."""
    coarse_steps: int = 3000
    """Steps of the static stage; then the field joins and the optimizers start afresh."""
    grid_channels: int = 16
    """Features per HexPlane level."""
    grid_resolution: int = 64
    """Cells per space axis at the first HexPlane level."""
    grid_multipliers: tuple[int, ...] = (1, 2)
    """Factor on the space resolution, per HexPlane level."""
    time_resolution: int = 75
    """Rows of the temporal planes. The authors' 150, of which their time range reads the upper half."""
    width: int = 128
    """Hidden width of the deformation network."""
    deform_opacity: bool = True
    """Whether the field changes opacities."""
    deform_color: bool = True
    """Whether the field changes spherical harmonics."""
    spatial_smoothness_weight: float = 2e-4
    """Weight of the spatial planes' second differences."""
    time_smoothness_weight: float = 5e-4
    """Weight of the temporal planes' second differences: half of the authors' 1e-3, whose mean runs over twice the
    rows, half of them constant."""
    time_sparsity_weight: float = 5e-5
    """Weight of the temporal planes' distance to 1; half of the authors' 1e-4 for the same reason."""
    canonical_seeds: Literal["first", "all"] = "first"
    """Which of the seed points that have a time the canonical set starts from, besides those without: the first
    instant's, or all. The field cannot bring in what the canonical set lacks (the authors start from one frame); with
    the points of all instants it shows each when it is there, through its opacity."""
    max_seeds: int | None = 40000
    """Larger seed clouds are thinned out to this many points, those without a time first."""
    densify_start: int = 500
    """Densification begins after this many steps of a stage."""
    densify_interval: int = 100
    """Steps between two rounds of density control."""
    densify_stop: int = 10000
    """No density control from this step of a stage on."""
    densify_gradient: float = 2e-4
    """Mean screen-space gradient (half-image units) above which a Gaussian is cloned or split."""
    densify_size: float = 0.01
    """Gaussians larger than this share of the camera extent are split, smaller ones cloned."""
    densify_limit: int = 360000
    """No cloning or splitting from this many Gaussians on."""
    prune_opacity: float = 0.005
    """Opacity below which a Gaussian is removed."""
    prune_above: int = 200000
    """Prune only while there are more Gaussians than this (the authors never prune small scenes)."""
    opacity_reset_interval: int = 0
    """Steps of a stage between two opacity resets; 0 = never."""


class FourDGaussiansModel(ExpertModel):
    """Canonical Gaussians and a HexPlane deformation field."""

    config: FourDGaussiansModelConfig

    def initial_tensors(self, seeds: SeedCloud) -> dict[str, Tensor]:
        """Raw canonical parameters at the seed points."""
        config = self.config
        if config.canonical_seeds == "first" and seeds.timed.any():
            first = seeds.times[seeds.timed].min()
            seeds = seeds.subset(~seeds.timed | (seeds.times == first))
        if config.max_gaussians is not None:
            seeds = thin_out(seeds, config.max_gaussians)
        self._seed_bounds = torch.stack([seeds.points.amin(0), seeds.points.amax(0)])
        count, bands = len(seeds), (config.sh_degree + 1) ** 2
        quats = torch.zeros(count, 4)
        quats[:, 0] = 1
        spacing = seed_spacing(seeds).clamp_min(1e-7**0.5)
        return {
            "means": seeds.points,
            "quats": quats,
            "scales": spacing.log()[:, None].repeat(1, 3),
            "opacities": torch.logit(torch.full((count,), _INITIAL_OPACITY)),
            "sh_base": sh_from_color(seeds.colors),
            "sh_rest": torch.zeros(count, bands - 1, 3),
        }

    def populate_modules(self) -> None:
        """Add the deformation field, which covers the seed cloud's bounding box."""
        super().populate_modules()
        config = self.config
        self.grid = HexPlane(
            self._seed_bounds,
            config.grid_channels,
            config.grid_resolution,
            config.grid_multipliers,
            config.time_resolution,
        )
        outputs = {"means": 3, "scales": 3, "quats": 4}
        if config.deform_opacity:
            outputs["opacities"] = 1
        if config.deform_color:
            outputs["sh"] = 3 * (config.sh_degree + 1) ** 2
        self.network = DeformationHeads(self.grid.feature_size, config.width, outputs)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The Gaussian tensors, the grid and the network."""
        groups = super().get_param_groups()
        return {**groups, "grid": [*self.grid.parameters()], "network": [*self.network.parameters()]}

    def learning_rate_scales(self) -> dict[str, float]:
        """Positions, grid and network learn in proportion to the size of the camera rig."""
        return {"means": self.camera_extent, "grid": self.camera_extent, "network": self.camera_extent}

    @property
    def in_fine_stage(self) -> bool:
        """Whether the deformation field takes part at the present training step."""
        return int(self.training_step) >= self.config.coarse_steps

    def splats_at(self, time: float) -> Splats:
        """The Gaussians at ``time`` in [0,1]: canonical in the coarse stage, deformed in the fine stage."""
        g = self.gaussians
        raw: dict[str, Tensor] = {name: g[name] for name in ("means", "scales", "quats", "opacities")}
        raw["sh"] = torch.cat([g["sh_base"][:, None, :], g["sh_rest"]], dim=1)
        if self.in_fine_stage:
            for name, change in self.network(self.grid(g["means"], time)).items():
                raw[name] = raw[name] + change.reshape(raw[name].shape)
        return Splats(
            means=raw["means"],
            quats=F.normalize(raw["quats"], dim=-1),
            scales=torch.exp(raw["scales"]),
            opacities=torch.sigmoid(raw["opacities"]),
            sh=raw["sh"],
        )

    def step_losses(self) -> dict[str, Tensor]:
        """Regularisers of the field, fine stage only."""
        if not self.in_fine_stage:
            return {}
        config = self.config
        return {
            "spatial_smoothness": config.spatial_smoothness_weight * self.grid.spatial_smoothness(),
            "time_smoothness": config.time_smoothness_weight * self.grid.time_smoothness(),
            "time_sparsity": config.time_sparsity_weight * self.grid.time_sparsity(),
        }

    def control_density(self, iteration: int, optimizers: Optimizers) -> None:
        """Clone, split and (in large scenes) prune; at the end of the coarse stage start the optimizers afresh."""
        config = self.config
        fine = iteration > config.coarse_steps
        stage_iteration = iteration - config.coarse_steps if fine else iteration
        if stage_iteration < config.densify_stop:
            if stage_iteration > config.densify_start and stage_iteration % config.densify_interval == 0:
                if len(self.gaussians) < config.densify_limit:
                    self._densify(optimizers)
                if len(self.gaussians) > config.prune_above:
                    faint = torch.sigmoid(self.gaussians["opacities"]) < config.prune_opacity
                    self.gaussians.remove(faint, optimizers.optimizers)
                self.gaussians.reset_statistics()
            if config.opacity_reset_interval and stage_iteration % config.opacity_reset_interval == 0:
                self.gaussians.cap_opacity(0.01, optimizers.optimizers)
        if iteration == config.coarse_steps:
            for optimizer in optimizers.optimizers.values():
                optimizer.state.clear()
            self.gaussians.reset_statistics()

    def _densify(self, optimizers: Optimizers) -> None:
        g, config = self.gaussians, self.config
        limit = min(config.densify_limit, config.max_gaussians or config.densify_limit)
        grown = limit_growth(g.mean_gradient(), config.densify_gradient, len(g), limit)
        large = torch.exp(g["scales"]).amax(dim=-1) > config.densify_size * self.camera_extent
        copies = g.clone(grown & ~large, optimizers.optimizers)
        g.split(F.pad(grown & large, (0, copies)), optimizers.optimizers)
