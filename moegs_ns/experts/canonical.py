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
            ValueError: options that keep the field from learning when seeds are there.
        """
        config = self.config
        if config.presence_fits < 0:
            raise ValueError(f"expected --pipeline.model.presence-fits of 0 or more, found {config.presence_fits}")
        if config.presence_fits and not (config.deform_opacity and config.canonical_seeds == "all"):
            raise ValueError(
                "--pipeline.model.presence-fits: expected deform-opacity True and canonical-seeds all, found "
                f"{config.deform_opacity} and {config.canonical_seeds}: the field hides seeds of other instants by "
                "their opacity; set these, or presence-fits to 0"
            )
        super().populate_modules()

    def usable_seeds(self, seeds: SeedCloud) -> SeedCloud:
        """Those of the instants the canonical set starts from. Before the cloud is thinned out: points of other
        instants must not take the place of those wanted."""
        if self.config.canonical_seeds == "first" and seeds.timed.any():
            first = seeds.times[seeds.timed].min()
            seeds = seeds.subset(~seeds.timed | (seeds.times == first))
        return seeds

    def canonical_seeds(self, seeds: SeedCloud) -> SeedCloud:
        """The seed points the canonical set starts from, at most ``max_gaussians``, in the order of its rows."""
        self._seeds = thin_out(seeds, self.config.max_gaussians)
        return self._seeds

    def _begin_step(self, step: int) -> None:
        super()._begin_step(step)
        fits = self.config.presence_fits
        if step == 0 and fits:
            if not self._seeds.timed.any():
                raise ValueError(
                    "expected seed points with a time for --pipeline.model.presence-fits, found none; carve some with "
                    "--pipeline.datamanager.motion-seeds, or set presence-fits to 0"
                )
            learn_presence(self._seeds, self.num_frames, self.field_changes, self.field_parameters(), fits)


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
