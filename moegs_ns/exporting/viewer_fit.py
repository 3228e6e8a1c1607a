"""Gaussians of experts with a projection of their own, changed so that standard viewers draw what the expert does.

Viewers blur every projected Gaussian by 0.3 square pixels. An expert that blurs by less, and lowers opacities for it
(Ex4DGS: 0.1, a mip filter), looks bolder and softer in them. A Gaussian that is smaller by the difference of the blurs,
at the distance and focal length it was recorded with, and whose opacity already holds what the expert takes away, is
drawn alike from there. Elsewhere, nearer say, it is smaller than the expert's by that much.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from moegs_ns.exporting.viewpoints import Viewpoint
from moegs_ns.splats.projection import VIEWER_SETTINGS, Projected, ProjectionSettings
from moegs_ns.splats.rasterize import backend_for
from moegs_ns.splats.splats import Splats

# No axis gets thinner than this share of itself; what cannot shrink enough becomes more transparent instead.
_THINNEST = 0.1


def drawn_alike(settings: ProjectionSettings) -> bool:
    """Whether viewers blur as these settings do; nearest and farthest depth aside."""
    return settings.eps2d == VIEWER_SETTINGS.eps2d and settings.antialiased == VIEWER_SETTINGS.antialiased


@torch.no_grad()
def fit_to_viewers(splats: Splats, settings: ProjectionSettings, viewpoints: Sequence[Viewpoint]) -> Splats:
    """The Gaussians with other scales and opacities, by the mean over the viewpoints that see them.

    Args:
        splats: N Gaussians; those that no viewpoint sees stay as they are.
        settings: how their own model projects them.
        viewpoints: from where they are to look the same; on the Gaussians' device.
    """
    if drawn_alike(settings) or not len(splats):
        return splats
    own = [_project(splats, view, settings) for view in viewpoints]
    seen = sum(((one.radii > 0).to(splats.scales) for one in own), torch.zeros_like(splats.opacities))
    times = seen.clamp_min(1.0)
    variance = torch.zeros_like(splats.opacities)  # of one square pixel, in square world units
    for one, view in zip(own, viewpoints, strict=True):  # depths of unseen Gaussians are 0
        variance += one.depths.square() / (view.intrinsics[0, 0] * view.intrinsics[1, 1])
    excess = (VIEWER_SETTINGS.eps2d - settings.eps2d) * variance / times
    shrunk = (splats.scales.square() - excess[:, None]).clamp_min(0.0).sqrt()
    changed = replace(splats, scales=torch.maximum(shrunk, _THINNEST * splats.scales))
    # Opacity times area is what a Gaussian adds to a picture. Where the scales could follow the areas agree.
    factor = torch.zeros_like(splats.opacities)
    for one, view in zip(own, viewpoints, strict=True):
        theirs = _project(changed, view, VIEWER_SETTINGS)
        seen_by_both = (one.radii > 0) & (theirs.radii > 0)
        factor += torch.where(seen_by_both, one.compensations * _area(one) / _area(theirs), 0.0)
    opacities = torch.where(seen > 0, splats.opacities * factor / times, splats.opacities)
    return replace(changed, opacities=opacities.clamp(0.0, 1.0))


def _project(splats: Splats, view: Viewpoint, settings: ProjectionSettings) -> Projected:
    backend = backend_for(splats.means.device)
    return backend.project(splats.means, splats.quats, splats.scales, *view, settings)


def _area(projected: Projected) -> Tensor:
    """``[N]`` proportional to areas on the screen: the root of the covariance's determinant; 1 for what is unseen."""
    xx, xy, yy = projected.conics.unbind(dim=-1)
    determinant = xx * yy - xy * xy
    return torch.where(determinant > 0, determinant, 1.0).rsqrt()
