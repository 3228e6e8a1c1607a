"""All experts' Gaussians as one camera is to see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from moegs_ns.experts.base import ExpertModel
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import Rasterized, rasterize
from moegs_ns.splats.rasterize_experts import rasterize_experts
from moegs_ns.splats.rays import ray_image
from moegs_ns.splats.splats import Splats, concatenate


@dataclass(frozen=True, eq=False)
class Instant:
    """All experts' Gaussians as one camera is to see them."""

    time: float
    experts: list[ExpertModel]
    """Who renders for each expert: itself, or a clip of it."""
    rows: list[slice]
    """Where these Gaussians stand among those stored."""
    parts: list[Splats]
    """Each expert's Gaussians."""
    channels_of_parts: list[Tensor]
    """``[N_k,C]`` colours or features of each expert's, filled up with zeros to the widest expert's C."""
    viewmat: Tensor
    intrinsics: Tensor
    width: int
    height: int

    @property
    def splats(self) -> Splats:
        """All Gaussians end to end, in expert order."""
        return self._joined[0]

    @property
    def expert_ids(self) -> Tensor:
        """``[N]`` int32, whose each of `splats` is."""
        return self._joined[1]

    # Joined once, whoever asks first: gradients go through if the parts have any, not if the asker wants any.
    @cached_property
    def channels(self) -> Tensor:
        """``[N,C]`` channels of `splats`."""
        with torch.set_grad_enabled(any(channels.requires_grad for channels in self.channels_of_parts)):
            return torch.cat(self.channels_of_parts)

    @cached_property
    def _joined(self) -> tuple[Splats, Tensor]:
        with torch.set_grad_enabled(
            any(part.means.requires_grad or part.opacities.requires_grad for part in self.parts)
        ):
            return concatenate(self.parts)

    @property
    def num_channels(self) -> int:
        """C."""
        return self.channels_of_parts[0].shape[1]

    @property
    def settings(self) -> list[ProjectionSettings]:
        """How each expert's Gaussians are projected."""
        return [expert.projection_settings for expert in self.experts]

    @property
    def view(self) -> tuple[Tensor, Tensor, int, int]:
        """The camera, as `rasterize` takes it."""
        return self.viewmat, self.intrinsics, self.width, self.height

    def rays(self) -> Tensor:
        """``[6,H,W]`` camera centre and direction."""
        return ray_image(*self.view)

    def rasterize(self, splats: Splats | None = None, **options: Any) -> Rasterized:
        """One pass over all Gaussians end to end, in other ``splats`` if given; ``options`` as for `rasterize`, with
        ``channels``."""
        return rasterize(
            self.splats if splats is None else splats,
            options.pop("channels"),
            *self.view,
            expert_ids=self.expert_ids,
            num_experts=len(self.experts),
            settings=self.settings,
            **options,
        )

    def rasterize_parts(self, beside: Sequence[Sequence[Tensor]] | None = None, **options: Any) -> Rasterized:
        """One pass over all Gaussians where they lie, with their channels and per expert the blocks ``beside`` them;
        ``options`` as for `rasterize_experts`."""
        blocks = [()] * len(self.parts) if beside is None else beside
        channels = [[own, *others] for own, others in zip(self.channels_of_parts, blocks, strict=True)]
        return rasterize_experts(self.parts, channels, *self.view, settings=self.settings, **options)


def as_wide(channels: Sequence[Tensor]) -> list[Tensor]:
    """Rows of several experts ``[N_k, C_k]``, each filled up with zeros to the widest."""
    widest = max(rows.shape[1] for rows in channels)
    return [F.pad(rows, (0, widest - rows.shape[1])) if rows.shape[1] < widest else rows for rows in channels]
