"""What a router may look at, made up."""

import torch
from torch import Tensor

from moegs_ns.router.interface import RouterView


def make_view(weights: Tensor, rays: Tensor, time: float = 0.5, seed: int = 0) -> RouterView:
    """Random pictures, opacities and depths around given weight channels ``[K,H,W,C]`` and rays ``[6,H,W]``."""
    generator = torch.Generator().manual_seed(seed)
    shape = weights.shape[:3]
    return RouterView(
        time=time,
        rays=rays,
        weights=weights,
        pictures=torch.rand(*shape, 3, generator=generator),
        alphas=torch.rand(shape, generator=generator),
        depths=1 + torch.rand(shape, generator=generator),
    )
