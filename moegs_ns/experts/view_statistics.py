"""What density control learns of a training step from the pictures rendered in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from moegs_ns.experts.frustum import put_rows
from moegs_ns.splats.rasterize import Rasterized


@dataclass(frozen=True)
class RenderedView:
    """One picture of a training step.

    Attributes:
        view: as rasterized; its ``means2d`` keep their gradient.
        width, height: of the picture, pixels.
        rows: ``[n]`` positions among the expert's Gaussians of those drawn; None for all.
    """

    view: Rasterized
    width: int
    height: int
    rows: Tensor | None


def accumulate_views(gaussians: Any, rendered: Sequence[RenderedView], which: Literal["last", "all", "sum"]) -> None:
    """Add a step's screen-space gradients to the densification statistics; after the backward pass.

    Args:
        gaussians: a `GaussianSet` or `GaussianParts`.
        rendered: the step's pictures, in order; those without a gradient are left out.
        which: the option ``densify_views``.
    """
    views = [one for one in rendered if one.view.means2d.grad is not None]
    if not views:
        return
    if which == "sum":
        # Gradients of the step's loss, a mean over its views, so their sum is about one view's own gradient; in pixels
        # of the first view, where the pictures differ in size.
        first, count = views[0], len(gaussians)
        gradients = (put_rows(_gradient(one), one.rows, count) for one in views)
        in_its_pixels = [
            gradient
            if (one.width, one.height) == (first.width, first.height)
            else gradient * gradient.new_tensor([one.width / first.width, one.height / first.height])
            for gradient, one in zip(gradients, views, strict=True)
        ]
        gradient = torch.stack(in_its_pixels).sum(dim=0)
        visible = torch.stack([put_rows(one.view.visible, one.rows, count) for one in views]).any(dim=0)
        gaussians.accumulate_gradients(gradient, visible, first.width, first.height)
        return
    for one in views if which == "all" else views[-1:]:
        # The papers' thresholds are for the gradient of a view's own loss; the step's loss is a mean over views.
        gradient = _gradient(one)
        own = gradient if len(views) == 1 else gradient * len(views)
        gaussians.accumulate_gradients(own, one.view.visible, one.width, one.height, rows=one.rows)


def _gradient(rendered: RenderedView) -> torch.Tensor:
    gradient = rendered.view.means2d.grad
    assert gradient is not None  # others were left out
    return gradient
