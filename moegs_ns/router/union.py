"""Gaussians of several experts as one set: one transmittance for all, instead of one each.

What the volume router renders, and a fused model (MoE-GS App. D): each Gaussian's opacity times a factor.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from moegs_ns.experts.base import ExpertModel
from moegs_ns.router.instant import Instant

# Pixels less covered than this belong to nobody: all experts have equal shares.
_MIN_COVER = 1e-10


@dataclass(frozen=True, eq=False)
class UnionPicture:
    """What one camera sees of all experts' Gaussians together."""

    rgb: Tensor
    """``[H,W,3]``, background included."""
    alpha: Tensor
    """``[H,W]`` accumulated opacity."""
    depth: Tensor | None
    """``[H,W]`` expected z-depth in world units, 0 where nothing is seen."""
    shares: Tensor | None
    """``[K,H,W]`` each expert's part of what is seen, summing to 1; equal where nothing is."""


def require_colours(experts: list[ExpertModel], names: list[str], who: str) -> None:
    """Refuse experts that composite features instead of colours: they need their own decoder and transmittance.

    Raises:
        ValueError: there is one.
    """
    for name, expert in zip(names, experts, strict=True):
        part, _ = expert.part_at(0.0)
        if part.channel_background(part.background_color()).shape[0] != 3:
            raise ValueError(
                f"{who} needs Gaussians with colours of their own, but expert '{name}' composites features and decodes "
                "them afterwards (STG's full head); train it with --pipeline.model.head sh"
            )


def render_union(
    instant: Instant,
    factors: Tensor | None,
    background: Tensor,
    gains: Tensor | None = None,
    details: bool = True,
    shares: bool = True,
) -> UnionPicture:
    """All experts' Gaussians as one set.

    Args:
        instant: the Gaussians, whose channels are colours.
        factors: ``[N]`` in [0,1] on opacities; gradients reach them. None leaves opacities as they are.
        background: ``[3]``.
        gains: ``[K,3]`` on each expert's colours.
        details: also depth, and shares where these are wanted.
        shares: whether they are.
    """
    splats, colours = instant.splats, instant.channels
    if factors is not None:
        splats = replace(splats, opacities=splats.opacities * factors)
    ids = instant.expert_ids.long()
    if gains is not None:
        colours = colours * gains[ids]
    experts = len(instant.experts)
    channels, behind = colours, background
    if details and shares:
        channels = torch.cat([colours, F.one_hot(ids, experts).to(colours)], dim=1)
        behind = F.pad(background, (0, experts))
    result = instant.rasterize(splats, channels=channels, background=behind, depth=details, together=True)
    image, alpha = result.images[0], result.alphas[0]
    depth = None if result.depths is None else result.depths[0]
    if not (details and shares):
        return UnionPicture(image, alpha, depth, None)
    parts = image[..., 3:].permute(2, 0, 1)
    cover = parts.sum(dim=0)
    parts = torch.where(cover > _MIN_COVER, parts / cover.clamp_min(_MIN_COVER), 1.0 / experts)
    return UnionPicture(image[..., :3], alpha, depth, parts)
