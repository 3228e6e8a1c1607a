"""Which Gaussians a camera cannot show, whatever their rotation and opacity: what need not be computed for it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import backend_for

# Rounding may differ between this test and a projection later on; more than it can do.
_SCALE_MARGIN = 1.01
_DEPTH_MARGIN = 1e-3
_PIXEL_MARGIN = 1.0


@torch.no_grad()
def may_show(
    means: Tensor, scales: Tensor, viewmat: Tensor, K: Tensor, width: int, height: int, settings: ProjectionSettings
) -> Tensor:
    """``[N]`` bool: Gaussians that an image may show. All that ``rasterize`` shows are among them.

    A ball around the Gaussian is projected instead. Its screen covariance exceeds that of every Gaussian within it, and
    so does the square that decides what is culled.

    Args:
        means: ``[N,3]`` centres.
        scales: ``[N,3]`` standard deviations.
        viewmat, K, width, height, settings: as for ``rasterize``.
    """
    radius = _SCALE_MARGIN * scales.amax(dim=-1, keepdim=True)
    upright = means.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(len(means), 4)
    shifted = K.clone()
    shifted[:2, 2] += _PIXEL_MARGIN
    wider = replace(settings, near=settings.near * (1 - _DEPTH_MARGIN), far=settings.far * (1 + _DEPTH_MARGIN))
    projected = backend_for(means.device).project(
        means,
        upright,
        radius.expand(len(means), 3),
        viewmat,
        shifted,
        width + round(2 * _PIXEL_MARGIN),
        height + round(2 * _PIXEL_MARGIN),
        wider,
    )
    return projected.radii > 0
