"""Gaussians that no camera of a training step sees need not be deformed.

A deformation moves Gaussians, so whether one is seen is known only afterwards. Those whose undeformed centre is in
view, or nearly, are deformed in any case. For the others the change of position and size is computed first, without
gradient and without the rest, and says which of them come into view. What is left out would have been culled by the
rasterizer, with gradients and statistics of exactly zero.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from moegs_ns.experts.views import CameraView
from moegs_ns.splats.culling import may_show
from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.splats.projection import ProjectionSettings

# Where fewer are out of view, picking the others costs as much as it spares.
_LEAST_SHARE = 0.1
# Share of the image by which a centre may be beside it and count as nearly in view: a guess that only saves time.
_BESIDE = 0.1

Changes = Callable[[Tensor, tuple[str, ...]], Mapping[str, Tensor]]


@torch.no_grad()
def rows_in_view(
    gaussians: GaussianSet, views: Sequence[CameraView], settings: ProjectionSettings, changes: Changes
) -> Tensor | None:
    """Positions of the Gaussians that any of the cameras may see, ascending; None where these are nearly all.

    Args:
        gaussians: in their undeformed state.
        views: all of one instant; none means that nothing is known of who looks.
        settings: how the Gaussians are projected.
        changes: ``changes(rows, names)``, changes to the raw values of some Gaussians, for those of the attributes
            ``names`` that change at all.
    """
    if not views:
        return None
    means, log_scales = gaussians["means"], gaussians["scales"]
    seen = _in_any(views, lambda view: _shows_centres(view, means))
    hidden = (~seen).nonzero()[:, 0]
    if len(hidden) < _LEAST_SHARE * len(means):
        return None
    change = changes(hidden, ("means", "scales"))
    moved, resized = means[hidden], log_scales[hidden]
    if "means" in change:
        moved = moved + change["means"]
    if "scales" in change:
        resized = resized + change["scales"]
    scales = torch.exp(resized)
    seen[hidden] = _in_any(
        views,
        lambda view: may_show(moved, scales, view.viewmat, view.intrinsics, view.width, view.height, settings),
    )
    rows = seen.nonzero()[:, 0]
    return rows if len(rows) <= (1 - _LEAST_SHARE) * len(means) else None


def _shows_centres(view: CameraView, means: Tensor) -> Tensor:
    """``[N]`` bool: points in front of the camera whose projection lies in the image, or a little beside it."""
    # Homogeneous coordinates u z, v z and z that run from -1 to 1 over the image and what counts as nearly in it.
    projection = view.intrinsics @ view.viewmat[:3]
    half = projection.new_tensor([[view.width / 2], [view.height / 2]])
    projection[:2] = (projection[:2] - half * projection[2]) / ((1 + 2 * _BESIDE) * half)
    homogeneous = torch.addmm(projection[:, 3:], projection[:, :3], means.T)  # a few long rows: one pass each
    u, v = homogeneous[:2].abs_()
    return torch.maximum(u, v) < homogeneous[2]


def _in_any(views: Sequence[CameraView], test: Callable[[CameraView], Tensor]) -> Tensor:
    return reduce(torch.logical_or, map(test, views))


def take_rows(values: Tensor, rows: Tensor | None) -> Tensor:
    """``values[rows]``, all of them for None. ``rows`` are different from each other."""
    return values if rows is None else _TakeRows.apply(values, rows)


def put_rows(values: Tensor, rows: Tensor | None, count: int) -> Tensor:
    """The reverse of `take_rows`: ``[count, ...]`` zeros with ``values`` at ``rows``."""
    return values if rows is None else values.new_zeros(count, *values.shape[1:]).index_copy_(0, rows, values)


class _TakeRows(torch.autograd.Function):
    """torch's own gradient adds row to row, for indices that may be equal."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.count = len(values)
        return values.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        return put_rows(upstream[0], ctx.saved_tensors[0], ctx.count), None
