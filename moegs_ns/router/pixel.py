"""The pixel router (MoE-GS §3.2, Fig. 3 top left): gates from time and viewing direction alone, without Gaussians."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moegs_ns.router.interface import Router, RouterView

#: Hidden sizes of the network; the paper says "lightweight" and no more.
PIXEL_HIDDEN = (32, 32)


class PixelRouter(Router):
    """A small network per pixel: time and unit viewing direction in, one logit per expert out.

    The last layer starts at zero: all experts count the same at first.

    Args:
        experts: K.
        hidden: sizes of the hidden layers.
    """

    def __init__(self, experts: int, hidden: Sequence[int] = PIXEL_HIDDEN) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = 4
        for width in hidden:
            layers += [nn.Linear(size, width), nn.ReLU()]
            size = width
        last = nn.Linear(size, experts)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(*layers, last)

    def logits(self, view: RouterView) -> Tensor:
        """``[K,H,W]`` of the time and each pixel's direction; nothing else of the view is read."""
        directions = view.rays[3:].permute(1, 2, 0)
        times = directions.new_full((*directions.shape[:2], 1), view.time)
        return self.network(torch.cat([directions, times], dim=-1)).permute(2, 0, 1)
