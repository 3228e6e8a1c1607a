"""Feature heads baked into spherical harmonics, which is all that other programs know of colour.

STG's paper has Gaussians carry features; a network makes colours of what is composited of them. A bake asks the
network for the colour of each Gaussian alone, seen from each viewpoint, and fits spherical harmonics to the answers.
Steps of descent then bring pictures of the set closer to the model's; without them much is lost (27 dB instead of 39 on
the sample scene), because the network is not linear and an empty pixel is not black to it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from moegs_ns.exporting.viewpoints import Viewpoint
from moegs_ns.splats.exportable import ExportablePart
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.splats.rays import ray_image
from moegs_ns.splats.sh import evaluate_sh_torch, view_colors
from moegs_ns.splats.splats import Splats

_RIDGE = 0.05  # on coefficients above degree 0, per viewpoint: few viewpoints say little about many coefficients
_LEARNING_RATE = 0.02


class FeatureExpert(Protocol):
    """What of an expert is asked for."""

    projection_settings: ProjectionSettings

    def part_at(self, time: float) -> tuple[Any, slice]: ...
    def splats_at(self, time: float) -> Splats: ...
    def exportable_parts(self, time: float) -> list[ExportablePart]: ...
    @property
    def num_gaussians(self) -> int: ...


@dataclass(frozen=True)
class BakedExpert:
    """An expert whose Gaussians have spherical harmonics, whatever it composites itself.

    Attributes:
        expert: in evaluation mode.
        viewpoints: from where the colours are to be right, such as the training cameras; on the expert's device.
        degree: of the spherical harmonics, 0 to 3.
        steps: of descent per frame; 0 for the fit alone.
    """

    expert: FeatureExpert
    viewpoints: Sequence[Viewpoint]
    degree: int = 2
    steps: int = 150

    def exportable_parts(self, time: float) -> list[ExportablePart]:
        """Gaussians at ``time`` in [0,1], baked where they carry features."""
        part, rows = self.expert.part_at(time)
        with torch.no_grad():
            splats = self.expert.splats_at(time)
        if splats.features is None:
            return self.expert.exportable_parts(time)
        baked = fitted_sh(splats, part.decode, self.viewpoints, self.degree)
        if self.steps:
            baked = _descended(splats, baked, part, self.viewpoints, self.steps)
        stored = torch.arange(self.expert.num_gaussians, device=splats.means.device)[rows]
        return [ExportablePart(replace(splats, features=None, sh=baked), stored, part.projection_settings)]


Decode = Callable[[Tensor, Callable[[], Tensor]], Tensor]


@torch.no_grad()
def fitted_sh(splats: Splats, decode: Decode, viewpoints: Sequence[Viewpoint], degree: int) -> Tensor:
    """``[N,B,3]`` spherical harmonics of what each Gaussian alone shows to the viewpoints, by least squares.

    Args:
        splats: with ``features [N,C]``.
        decode: makes colours of features and rays, as `ExpertModel.decode`.
        viewpoints: at least one.
        degree: of the result.

    Raises:
        ValueError: no viewpoint, or Gaussians without features.
    """
    if splats.features is None or not viewpoints:
        raise ValueError("expected Gaussians with features and at least one viewpoint to bake, found none")
    features, bases = splats.features[None], (degree + 1) ** 2
    products = splats.means.new_zeros(len(splats), bases, bases)
    answers = splats.means.new_zeros(len(splats), bases, 3)
    for view in viewpoints:
        directions = torch.nn.functional.normalize(splats.means - view.position, dim=-1)
        rays = torch.cat([view.position.expand_as(directions), directions], dim=1).T[:, None]
        colors = decode(features, partial(torch.Tensor.contiguous, rays))[0, :, :3]
        basis = _basis(directions, degree)
        products += basis[:, :, None] * basis[:, None, :]
        answers += basis[:, :, None] * (colors - 0.5)[:, None, :]
    ridge = torch.full((bases,), _RIDGE * len(viewpoints), device=products.device)
    ridge[0] = 1e-6 * len(viewpoints)
    return torch.linalg.solve(products + torch.diag(ridge), answers)


def _basis(directions: Tensor, degree: int) -> Tensor:
    """``[N,B]`` values of the basis functions."""
    bases = (degree + 1) ** 2
    ones = torch.eye(bases, dtype=directions.dtype, device=directions.device)
    columns = [evaluate_sh_torch(degree, directions, one[:, None].expand(len(directions), bases, 3)) for one in ones]
    return torch.stack([column[:, 0] for column in columns], dim=1)


def _descended(splats: Splats, sh: Tensor, part: Any, viewpoints: Sequence[Viewpoint], steps: int) -> Tensor:
    """The coefficients after ``steps`` of descent, each on one viewpoint, towards the model's own pictures."""
    settings = part.projection_settings
    with torch.no_grad():
        targets = [_own_picture(splats, part, view) for view in viewpoints]
    degree = math.isqrt(sh.shape[1]) - 1
    learnt = sh.clone().requires_grad_()
    optimizer = torch.optim.Adam([learnt], lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for step in range(steps):
            view, target = viewpoints[step % len(viewpoints)], targets[step % len(viewpoints)]
            colors = view_colors(degree, splats.means, view.position, learnt)
            drawn = rasterize(splats, colors, *view, settings=settings).images[0]
            optimizer.zero_grad()
            (drawn - target).square().sum().backward()
            optimizer.step()
            schedule.step()
    return learnt.detach()


def _own_picture(splats: Splats, part: Any, view: Viewpoint) -> Tensor:
    """``[H,W,3]`` as the model draws it."""
    assert splats.features is not None
    background = part.channel_background(part.background_color())
    drawn = rasterize(splats, splats.features, *view, settings=part.projection_settings, background=background)
    return part.decode(drawn.images[0], lambda: ray_image(*view)).clamp(0.0, 1.0)
