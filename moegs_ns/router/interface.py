"""What routers have in common, and what they are given to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from moegs_ns.router.gaussian_weights import ALL_ROWS, GaussianWeights


@dataclass(frozen=True, eq=False)
class RouterView:
    """One image as K experts show it. ``weights`` carries gradients, and ``pictures`` where experts learn; gates are
    made of the latter's values alone."""

    time: float
    """In [0,1] from first to last frame."""
    rays: Tensor
    """``[6,H,W]`` camera centre (world units) and unit direction."""
    weights: Tensor
    """``[K,H,W,C]`` composited weight channels."""
    pictures: Tensor
    """``[K,H,W,3]`` RGB."""
    alphas: Tensor
    """``[K,H,W]`` accumulated opacity."""
    depths: Tensor | None
    """``[K,H,W]`` expected z-depth in world units, 0 where an expert shows nothing; for routers that need it."""


class Router(nn.Module):
    """Decides, per pixel, how much each of K experts counts.

    A pixel gate says so by `logits`; what becomes of them (temperature, top-k, softmax) is the mixture's affair. The
    volume router gates opacities instead, see `moegs_ns.router.volume`.
    """

    weight_channels: int = 0
    """Channels composited per Gaussian with the expert's own geometry; 0 where Gaussians have no weights."""
    needs_depth: bool = False
    """Whether `logits` reads depths, in training too."""

    @property
    def gaussian_weights(self) -> list[GaussianWeights]:
        """The weights of each expert's Gaussians, in expert order; none where a router has none."""
        return []

    def channels(self, time: float, rows: Sequence[slice] | None = None) -> Tensor | None:
        """``[sum N_k, weight_channels]`` of the experts' Gaussians, in expert order; of each expert those in its
        ``rows``, by default all. None where Gaussians have no weights."""
        weights = self.gaussian_weights
        return weight_channels(weights, time, rows) if weights else None

    def channel_blocks(self, time: float, rows: Sequence[slice] | None = None) -> list[tuple[Tensor, Tensor]] | None:
        """What `channels` joins, expert by expert: weights ``[N_k, weight_channels - 1]``, t * w_time ``[N_k, 1]``."""
        weights = self.gaussian_weights
        if not weights:
            return None
        rows = [ALL_ROWS] * len(weights) if rows is None else rows
        return [one.channel_blocks(time, own) for one, own in zip(weights, rows, strict=True)]

    def logits(self, view: RouterView) -> Tensor:
        """``[K,H,W]`` one logit per expert and pixel."""
        raise NotImplementedError

    def param_groups(self) -> dict[str, list[Parameter]]:
        """Optimizer groups: ``weights``, ``time_weights``, ``network``, as far as there are any."""
        weights = self.gaussian_weights
        groups = {
            "weights": [one.base for one in weights],
            "time_weights": [one.time for one in weights],
            "network": [],
        }
        known = {id(parameter) for group in groups.values() for parameter in group}
        groups["network"] = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return {name: group for name, group in groups.items() if group}


def weight_channels(weights: Sequence[GaussianWeights], time: float, rows: Sequence[slice] | None) -> Tensor:
    """Channels of several experts' Gaussians end to end; see `Router.channels`."""
    rows = [ALL_ROWS] * len(weights) if rows is None else rows
    return torch.cat([one.channels(time, own) for one, own in zip(weights, rows, strict=True)])
