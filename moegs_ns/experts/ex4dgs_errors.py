"""Error back-tracking of Ex4DGS: how much of a picture's error lies under each Gaussian.

A dummy channel of zeros is blended beside the colours. Adding ``(dummy image * error map).sum()`` to the loss changes
neither its value nor any other gradient, and leaves in the dummy's own gradient the sum of the map over the pixels,
weighted as each Gaussian is blended there. One backward pass serves training and back-tracking.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.gaussian_parts import GaussianParts
from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.splats.rasterize import Rasterized

#: What is remembered per Gaussian: sums and number of views of the mean error and similarity under it, the least error
#: seen so far and the frame it was seen at (-1 = never seen), the smallest radius as a share of the image's width.
ERROR_STATISTICS = {
    "error_sum": 0.0,
    "similarity_sum": 0.0,
    "error_count": 0.0,
    "least_error": torch.inf,
    "least_error_frame": -1.0,
    "least_radius": torch.inf,
}
#: Those that begin anew with every round of density control.
PER_ROUND = ("error_sum", "similarity_sum", "error_count", "least_radius")
# Blended with less than this in all, a Gaussian is as good as hidden: its error is another's.
_LEAST_WEIGHT = 0.01
_TINY = 1e-4


@dataclass
class SeenView:
    """One rendering of a training step.

    Attributes:
        frame: number of the frame shown.
        viewmat: ``[4,4]`` world-to-camera.
        width: of the image, pixels.
        view: what was rendered.
        probe: the dummy channels ``[N,3]``; after backward their gradient holds weight, error and similarity.
        loss: photometric loss of the view, once it is known.
    """

    frame: int
    viewmat: Tensor
    width: int
    view: Rasterized
    probe: Tensor
    loss: Tensor | None = None


class _BesideColours(torch.autograd.Function):
    """Cuts a picture in two; backward lays the gradients side by side instead of adding two pictures of zeros."""

    @staticmethod
    def forward(ctx: Any, composited: Tensor) -> tuple[Tensor, Tensor]:
        return composited[..., :3].contiguous(), composited[..., 3:].contiguous()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        return torch.cat(upstream, dim=-1)


def colours_and_probe(composited: Tensor) -> tuple[Tensor, Tensor]:
    """The picture ``[H,W,3]`` and the blended dummy channels ``[H,W,3]`` of ``composited [H,W,6]``."""
    return _BesideColours.apply(composited)


class _Tracked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probe: Tensor, maps: Tensor) -> Tensor:
        ctx.save_for_backward(maps)
        return probe.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        return upstream[0] * ctx.saved_tensors[0], None


def tracked_errors(probe: Tensor, maps: Tensor) -> Tensor:
    """``(probe * maps).sum()``, which is 0, for a blended dummy channel of zeros and error maps, both ``[H,W,3]``."""
    return _Tracked.apply(probe, maps)


@torch.no_grad()
def accumulate_errors(gaussians: GaussianParts, seen: SeenView, views: int) -> None:
    """Add what a view says of every Gaussian, after the backward pass of a step's mean loss over ``views`` views."""
    if seen.probe.grad is None:
        return
    sums = gaussians.divide(seen.probe.grad * views)
    radii = gaussians.divide(seen.view.radii / seen.width)
    for part, part_sums, part_radii in zip(gaussians, sums, radii, strict=True):
        _accumulate(part, part_sums, part_radii, seen.frame)


def _accumulate(part: GaussianSet, sums: Tensor, radii: Tensor, frame: int) -> None:
    weight, error, similarity = sums.unbind(dim=-1)
    visible = weight > 0
    error = error / weight.clamp_min(_TINY)
    part.statistic("error_sum").add_(torch.where(visible, error, 0.0))
    part.statistic("similarity_sum").add_(torch.where(visible, similarity / weight.clamp_min(_TINY), 0.0))
    part.statistic("error_count").add_(visible)
    least_radius = part.statistic("least_radius")
    least_radius.copy_(torch.where(visible, torch.minimum(least_radius, radii), least_radius))
    least = part.statistic("least_error")
    better = (weight > _LEAST_WEIGHT) & (error < least)
    part.statistic("least_error_frame").masked_fill_(better, frame)
    least.copy_(torch.where(better, error, least))


def mean_errors(part: GaussianSet) -> tuple[Tensor, Tensor]:
    """``[N]`` mean absolute error and structural similarity under each Gaussian since the last round; 0 if unseen."""
    count = part.statistic("error_count").clamp_min(1)
    return part.statistic("error_sum") / count, part.statistic("similarity_sum") / count
