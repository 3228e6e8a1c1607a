"""All experts' Gaussians as one camera is to see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from moegs_ns.experts.base import ExpertModel
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import Rasterized, rasterize
from moegs_ns.splats.rays import ray_image
from moegs_ns.splats.splats import Splats


@dataclass(frozen=True, eq=False)
class Instant:
    """All experts' Gaussians as one camera is to see them, end to end in expert order."""

    time: float
    experts: list[ExpertModel]
    """Who renders for each expert: itself, or a clip of it."""
    rows: list[slice]
    """Where these Gaussians stand among those stored."""
    splats: Splats
    expert_ids: Tensor
    """``[N]`` int32."""
    channels: Tensor
    """``[N,C]`` colours or features, filled up with zeros to the widest expert's C."""
    viewmat: Tensor
    intrinsics: Tensor
    width: int
    height: int

    @property
    def settings(self) -> list[ProjectionSettings]:
        """How each expert's Gaussians are projected."""
        return [expert.projection_settings for expert in self.experts]

    def rays(self) -> Tensor:
        """``[6,H,W]`` camera centre and direction."""
        return ray_image(self.viewmat, self.intrinsics, self.width, self.height)

    def rasterize(self, splats: Splats | None = None, **options: Any) -> Rasterized:
        """One pass over all Gaussians, in other ``splats`` if given; ``options`` as for `rasterize`, with
        ``channels``."""
        return rasterize(
            self.splats if splats is None else splats,
            options.pop("channels"),
            self.viewmat,
            self.intrinsics,
            self.width,
            self.height,
            expert_ids=self.expert_ids,
            num_experts=len(self.experts),
            settings=self.settings,
            **options,
        )


def side_by_side(channels: Sequence[Tensor]) -> Tensor:
    """Rows of several experts ``[N_k, C_k]`` end to end, filled up with zeros to the widest."""
    widest = max(rows.shape[1] for rows in channels)
    return torch.cat([F.pad(rows, (0, widest - rows.shape[1])) for rows in channels])
