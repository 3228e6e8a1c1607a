"""How much of each Gaussian is seen, weighted by maps over the image: what pruning and fusion ask of every Gaussian."""

import torch
from torch import Tensor

from moegs_ns.router.instant import Instant


@torch.enable_grad()
def contributions(instant: Instant, maps: Tensor) -> Tensor:
    """What each Gaussian adds to its own expert's image, weighted pixel by pixel (sums of MoE-GS Eq. 14).

    Compositing is linear in the channels, so the sums over pixels are the gradient of a channel of the Gaussians with
    the maps for gradients of the image: one pass forward and backward for all M maps.

    Args:
        instant: N Gaussians of K experts, as one camera sees them.
        maps: ``[K,M,H,W]`` M weightings per expert; ones give the sum of T α itself.

    Returns:
        ``[N,M]`` the sum over pixels u of map(u) T(u) α(u), with the transmittance T of the Gaussian's own expert; 0
        for a Gaussian that is not seen.

    Raises:
        ValueError: maps of another shape.
    """
    expected = (len(instant.experts), instant.height, instant.width)
    if maps.ndim != 4 or (maps.shape[0], *maps.shape[2:]) != expected:
        raise ValueError(
            f"expected maps of shape [{expected[0]}, M, {expected[1]}, {expected[2]}], found {list(maps.shape)}"
        )
    channel = instant.splats.means.new_zeros(len(instant.splats), maps.shape[1], requires_grad=True)
    images = instant.rasterize(channels=channel).images
    (sums,) = torch.autograd.grad(images, channel, maps.detach().permute(0, 2, 3, 1).to(images))
    return sums
