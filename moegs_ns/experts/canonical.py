"""One canonical set of Gaussians for all times: how it starts, and what of it changes."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import Parameter

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.densification import DensifyingModelConfig
from moegs_ns.experts.new_gaussians import new_gaussians
from moegs_ns.experts.presence import learn_presence
from moegs_ns.experts.seeds import SeedCloud, seed_spacing, thin_out
from moegs_ns.splats.sh import sh_tensors


@dataclass
class CanonicalModelConfig(DensifyingModelConfig):
    """Options of experts that deform one canonical set of Gaussians."""

    canonical_seeds: Literal["first", "all"] = "first"
    """Which of the seed points that have a time the canonical set starts from, besides those without: the first
    instant's, or all. The field cannot bring in what the canonical set lacks (the authors start from one frame); with
    the points of all instants it shows each when it is there, through its opacity."""
    presence_fits: int = 0
    """Before training, fit the field this many times to when something moves at each seed's place, so that it
    hides the seed otherwise. Wants all seeds, with a time (--pipeline.datamanager.motion-seeds), and changing
    opacities; no such fit in the papers."""
    deform_opacity: bool = True
    """Whether opacities change with time."""
    deform_color: bool = True
    """Whether spherical harmonics change with time."""


class CanonicalModel(ExpertModel):
    """An expert that deforms one canonical set of Gaussians by a field."""

    config: CanonicalModelConfig

    @abstractmethod
    def field_parameters(self) -> list[Parameter]:
        """What the field learns, embeddings of Gaussians included."""

    @abstractmethod
    def field_changes(self, time: float, rows: Tensor) -> Mapping[str, Tensor]:
        """What the field adds to the raw values of the Gaussians at ``rows [n]``, as at the end of training."""

    def populate_modules(self) -> None:
        """As the base.

        Raises:
            ValueError: the field is to hide what is not there but must not change opacities.
        """
        super().populate_modules()
        if self.config.presence_fits and not self.config.deform_opacity:
            raise ValueError(
                "expected --pipeline.model.deform-opacity True with --pipeline.model.presence-fits, found False: the "
                "field hides Gaussians through their opacity; set presence-fits to 0"
            )

    def canonical_seeds(self, seeds: SeedCloud) -> SeedCloud:
        """The seed points the canonical set starts from, in the order of its rows."""
        self._seeds = canonical_cloud(seeds, self.config)
        return self._seeds

    def _begin_step(self, step: int) -> None:
        super()._begin_step(step)
        fits = self.config.presence_fits
        if step == 0 and fits:
            learn_presence(self._seeds, self.num_frames, self.field_changes, self.field_parameters(), fits)


def canonical_cloud(seeds: SeedCloud, config: CanonicalModelConfig) -> SeedCloud:
    """The seed points the canonical set starts from, at most ``max_gaussians``."""
    if config.canonical_seeds == "first" and seeds.timed.any():
        first = seeds.times[seeds.timed].min()
        seeds = seeds.subset(~seeds.timed | (seeds.times == first))
    return thin_out(seeds, config.max_gaussians)


def canonical_tensors(seeds: SeedCloud, sh_degree: int, largest_log_scale: float | None = None) -> dict[str, Tensor]:
    """Raw parameters at M seed points: new Gaussians as large as the seeds' spacing.

    Args:
        seeds: the cloud.
        sh_degree: degree of the spherical harmonics.
        largest_log_scale: upper limit of the log scales, or None.
    """
    largest = torch.inf if largest_log_scale is None else largest_log_scale
    log_scales = seed_spacing(seeds).clamp_min(1e-7**0.5).log().clamp_max(largest)
    return {**new_gaussians(seeds.points, log_scales), **sh_tensors(seeds.colors, sh_degree)}


def deformed_attributes(config: CanonicalModelConfig) -> dict[str, int]:
    """Which attributes change with time, and how many numbers of a Gaussian each is; heads of a deformation network."""
    sizes = {"means": 3, "scales": 3, "quats": 4}
    if config.deform_opacity:
        sizes["opacities"] = 1
    if config.deform_color:
        sizes["sh"] = 3 * (config.sh_degree + 1) ** 2
    return sizes
