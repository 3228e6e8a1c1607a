"""The volume router (MoE-GS §3.2, Fig. 3 bottom left): gates modulate opacities, all Gaussians render as one set.

The paper gives no formula and its code only remnants: opacity times sigmoid(w). Here w may change with time, as the
splatted weights of the volume-aware router do.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moegs_ns.router.gaussian_weights import GaussianWeights
from moegs_ns.router.interface import Router, weight_channels


class VolumeRouter(Router):
    """A gate in (0,1) per Gaussian: sigmoid(w + t * w_time).

    Args:
        counts: number of Gaussians of each expert.
        initial: initial value of w; 0 halves every opacity.
    """

    def __init__(self, counts: Sequence[int], initial: float) -> None:
        super().__init__()
        self.weights = nn.ModuleList(GaussianWeights(count, initial, base=1) for count in counts)

    @property
    def gaussian_weights(self) -> list[GaussianWeights]:
        """The weights of each expert's Gaussians, in expert order."""
        return [*self.weights]  # type: ignore[list-item]

    def opacity_gates(self, time: float, rows: Sequence[slice] | None = None) -> Tensor:
        """``[sum N_k]`` factors on opacities at ``time`` in [0,1], of each expert's ``rows``, by default all."""
        return torch.sigmoid(weight_channels(self.gaussian_weights, time, rows).sum(dim=1))
