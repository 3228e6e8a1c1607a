"""Density control as 3D Gaussian Splatting has it: the options its descendants share, and one round of growth."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.expert_config import ExpertModelConfig
from moegs_ns.splats.density import limit_growth


@dataclass
class DensifyingModelConfig(ExpertModelConfig):
    """Options of experts that clone, split and prune by screen-space gradients."""

    _target: type = field(default_factory=lambda: ExpertModel)
    densify_start: int = 500
    """Densification begins after this many steps (of a stage, where training has stages)."""
    densify_interval: int = 100
    """Steps between two rounds of density control."""
    densify_stop: int = 10000
    """No density control from this step (of a stage) on."""
    densify_gradient: float = 2e-4
    """Mean screen-space gradient (half-image units) above which a Gaussian is cloned or split."""
    densify_size: float = 0.01
    """Gaussians larger than this share of the camera extent are split, smaller ones cloned."""
    prune_opacity: float = 0.005
    """Opacity below which a Gaussian is removed."""
    opacity_reset_interval: int = 0
    """Steps between two opacity resets, while density control runs; 0 = never."""


def grow(
    model: ExpertModel,
    config: DensifyingModelConfig,
    limit: int | None,
    optimizers: Optimizers,
    settle: Callable[[int], object] = lambda count: None,
) -> int:
    """Clone the small and split the large among the Gaussians whose mean gradient is above the threshold.

    Args:
        model: its Gaussians grow; ``camera_extent`` says what is large.
        config: the model's own.
        limit: largest number of Gaussians allowed, or None.
        optimizers: of the training.
        settle: called with the number of last rows that are new, once for the copies and once for the children of
            splits; may change their raw values.

    Returns:
        How many more Gaussians there are.
    """
    g = model.gaussians
    grown = limit_growth(g.mean_gradient(), config.densify_gradient, len(g), limit)
    large = torch.exp(g["scales"]).amax(dim=-1) > config.densify_size * model.camera_extent
    copies = g.clone(grown & ~large, optimizers.optimizers)
    settle(copies)
    # Cloning appended rows: the split mask covers the old ones only.
    children = g.split(F.pad(grown & large, (0, copies)), optimizers.optimizers)
    settle(children)
    return copies + children // 2


def prune(model: ExpertModel, mask: Tensor, optimizers: Optimizers) -> int:
    """Remove the Gaussians of ``mask [N]``, unless that is all of them. Returns how many were removed.

    An expert without Gaussians can neither render nor recover: it keeps what there is rather than lose all.
    """
    return 0 if bool(mask.all()) else model.gaussians.remove(mask, optimizers.optimizers)
