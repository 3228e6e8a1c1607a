"""4DGaussians: canonical Gaussians deformed by a HexPlane field (Wu et al., CVPR 2024).

Training has two stages in one run. In the *coarse* stage the Gaussians are static and see frames of all times; in the
*fine* stage the field joins and every optimizer starts afresh. Deltas are added to raw values (log scale, logit
opacity, unnormalised quaternion, SH coefficients). Gradients of the field reach the canonical positions.

Deviations from the released code, each without effect on what can be expressed: time spans all rows of the temporal
planes (see :class:`~moegs_ns.experts.fields.hexplane.HexPlane`), seeds beyond ``max_seeds`` are thinned out at random
instead of on a voxel grid whose size is in one benchmark's world units, and, as all experts here, nothing is drawn
before four fifths of the scene's near bound and colour does not move Gaussians through the viewing direction.
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
from moegs_ns.experts.fields.hexplane import HexPlane
from moegs_ns.experts.frustum import rows_in_view, take_rows
from moegs_ns.experts.seeds import SeedCloud
from moegs_ns.splats.splats import Splats


@dataclass
class FourDGaussiansModelConfig(CanonicalModelConfig):
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
    spatial_smoothness_weight: float = 2e-4
    """Weight of the spatial planes' second differences."""
    time_smoothness_weight: float = 5e-4
    """Weight of the temporal planes' second differences: half of the authors' 1e-3, whose mean runs over twice the
    rows, half of them constant."""
    time_sparsity_weight: float = 5e-5
    """Weight of the temporal planes' distance to 1; half of the authors' 1e-4 for the same reason."""
    max_seeds: int | None = 40000
    """Larger seed clouds are thinned out to this many points, those without a time first."""
    densify_limit: int = 360000
    """No cloning or splitting from this many Gaussians on."""
    prune_above: int = 200000
    """Prune only while there are more Gaussians than this (the authors never prune small scenes)."""


class FourDGaussiansModel(CanonicalModel):
    """Canonical Gaussians and a HexPlane deformation field."""

    config: FourDGaussiansModelConfig

    def initial_tensors(self, seeds: SeedCloud) -> dict[str, Tensor]:
        """Raw canonical parameters at the seed points."""
        seeds = self.canonical_seeds(seeds)
        self._seed_bounds = torch.stack([seeds.points.amin(0), seeds.points.amax(0)])
        return canonical_tensors(seeds, self.config.sh_degree)

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
        self.network = DeformationHeads(self.grid.feature_size, config.width, deformed_attributes(config))

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
        if not self.in_fine_stage:
            return deformed_splats(self.gaussians, {})
        return deformed_splats(self.gaussians, self._changes(time))

    def splats_seen(self, time: float, cameras: Sequence[Cameras]) -> tuple[Splats, Tensor | None]:
        """In the fine stage, without what the cameras cannot see."""
        if not self.in_fine_stage:
            return self.splats_at(time), None
        rows = rows_in_view(
            self.gaussians, self.views_of(cameras), self.projection_settings, partial(self._changes, time)
        )
        return deformed_splats(self.gaussians, self._changes(time, rows), rows), rows

    def _changes(
        self, time: float, rows: Tensor | None = None, names: Collection[str] | None = None
    ) -> dict[str, Tensor]:
        """What the field adds to the raw values ``names`` of the Gaussians at ``rows``; None for all."""
        return self.network(self.grid(take_rows(self.gaussians["means"], rows), time), names=names)

    def field_parameters(self) -> list[Parameter]:
        """The grid's and the network's."""
        return [*self.grid.parameters(), *self.network.parameters()]

    def field_changes(self, time: float, rows: Tensor) -> dict[str, Tensor]:
        """What the field adds to the raw values of the Gaussians at ``rows [n]``."""
        return self._changes(time, rows)

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
        stage_start = config.coarse_steps if fine else 0
        stage_iteration = iteration - stage_start
        if stage_iteration < config.densify_stop:
            if stage_iteration > config.densify_start and stage_iteration % config.densify_interval == 0:
                if len(self.gaussians) < config.densify_limit:
                    self._densify(optimizers)
                if len(self.gaussians) > config.prune_above:
                    faint = torch.sigmoid(self.gaussians["opacities"]) < config.prune_opacity
                    prune(self, faint, optimizers)
                self.gaussians.reset_statistics()
            if self.may_reset_opacity(iteration, config.opacity_reset_interval, stage_start):
                self.gaussians.cap_opacity(0.01, optimizers.optimizers)
        if iteration == config.coarse_steps:
            for optimizer in optimizers.optimizers.values():
                optimizer.state.clear()
            self.gaussians.reset_statistics()

    def _densify(self, optimizers: Optimizers) -> None:
        config = self.config
        grow(self, config, min(config.densify_limit, config.max_gaussians or config.densify_limit), optimizers)
