"""One canonical set of Gaussians for all times: how it starts, and what changes to its raw values make of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from moegs_ns.experts.densification import DensifyingModelConfig
from moegs_ns.experts.seeds import SeedCloud, seed_spacing, thin_out
from moegs_ns.splats.gaussian_set import GaussianSet
from moegs_ns.splats.sh import sh_from_color
from moegs_ns.splats.splats import Splats

_INITIAL_OPACITY = 0.1


@dataclass
class CanonicalModelConfig(DensifyingModelConfig):
    """Options of experts that deform one canonical set of Gaussians."""

    canonical_seeds: Literal["first", "all"] = "first"
    """Which of the seed points that have a time the canonical set starts from, besides those without: the first
    instant's, or all. The field cannot bring in what the canonical set lacks (the authors start from one frame); with
    the points of all instants it shows each when it is there, through its opacity."""


def canonical_cloud(seeds: SeedCloud, config: CanonicalModelConfig) -> SeedCloud:
    """The seed points the canonical set starts from, at most ``max_gaussians``."""
    if config.canonical_seeds == "first" and seeds.timed.any():
        first = seeds.times[seeds.timed].min()
        seeds = seeds.subset(~seeds.timed | (seeds.times == first))
    return seeds if config.max_gaussians is None else thin_out(seeds, config.max_gaussians)


def canonical_tensors(seeds: SeedCloud, sh_degree: int, largest_log_scale: float | None = None) -> dict[str, Tensor]:
    """Raw parameters at M seed points: round, as large as the seeds' spacing, upright, opacity 0.1.

    Args:
        seeds: the cloud.
        sh_degree: degree of the spherical harmonics.
        largest_log_scale: upper limit of the log scales, or None.
    """
    count, bands = len(seeds), (sh_degree + 1) ** 2
    largest = torch.inf if largest_log_scale is None else largest_log_scale
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1
    log_scales = seed_spacing(seeds).clamp_min(1e-7**0.5).log().clamp_max(largest)
    return {
        "means": seeds.points,
        "quats": quats,
        "scales": log_scales[:, None].repeat(1, 3),
        "opacities": torch.logit(torch.full((count,), _INITIAL_OPACITY)),
        "sh_base": sh_from_color(seeds.colors),
        "sh_rest": torch.zeros(count, bands - 1, 3),
    }


def deformed_splats(gaussians: GaussianSet, changes: Mapping[str, Tensor]) -> Splats:
    """Activated Gaussians after ``changes`` to raw values (log scale, logit opacity, unnormalised quaternion, all
    coefficients as ``sh``), by attribute name; their rows may be flat."""
    raw: dict[str, Tensor] = {name: gaussians[name] for name in ("means", "scales", "quats", "opacities")}
    raw["sh"] = torch.cat([gaussians["sh_base"][:, None, :], gaussians["sh_rest"]], dim=1)
    for name, change in changes.items():
        raw[name] = raw[name] + change.reshape(raw[name].shape)
    return Splats(
        means=raw["means"],
        quats=F.normalize(raw["quats"], dim=-1),
        scales=torch.exp(raw["scales"]),
        opacities=torch.sigmoid(raw["opacities"]),
        sh=raw["sh"],
    )
