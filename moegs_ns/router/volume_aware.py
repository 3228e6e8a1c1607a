"""The volume-aware pixel router (MoE-GS §3.2): learnable per-Gaussian weights, splatted, refined by a tiny network."""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

RayInput = Literal["origin+direction", "direction", "none"]
_RAY_CHANNELS: dict[str, slice] = {
    "origin+direction": slice(0, 6),
    "direction": slice(3, 6),
    "none": slice(0, 0),
}
#: Channels splatted per Gaussian: w, w_dir and t * w_time (Eq. 6).
WEIGHT_CHANNELS = 3


class GaussianWeights(nn.Module):
    """Learnable router weights of one expert's N Gaussians.

    Attributes:
        base: ``[N,2]``: w and w_dir.
        time: ``[N,1]``: w_time, multiplied by t before splatting.
    """

    def __init__(self, count: int, initial: float) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.full((count, 2), float(initial)))
        self.time = nn.Parameter(torch.zeros(count, 1))
        self.register_load_state_dict_pre_hook(_resize_to_checkpoint)

    def channels(self, time: float) -> Tensor:
        """``[N,3]`` channels to splat at ``time`` in [0,1]."""
        return torch.cat([self.base, time * self.time], dim=1)


class RefinementNetwork(nn.Module):
    """Φ of Eq. 7: three bias-free convolutions, 2 + ray channels -> 6 -> 3 -> 1, shared by all experts.

    Kernel size 1 is what the authors' code has, although the text speaks of local pixel context; larger sizes see it.
    """

    def __init__(self, ray_channels: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"expected an odd kernel size for the router's network, found {kernel_size}")
        padding = kernel_size // 2
        sizes = (2 + ray_channels, 6, 3, 1)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Conv2d(inputs, outputs, kernel_size, padding=padding, bias=False), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])  # no activation behind the last convolution

    def forward(self, inputs: Tensor) -> Tensor:
        """``[K,1,H,W]`` corrections from ``[K, 2 + ray channels, H, W]``."""
        return self.layers(inputs)


class VolumeAwareRouter(nn.Module):
    """Logits per pixel and expert from splatted per-Gaussian weights.

    Args:
        counts: number of Gaussians of each expert.
        initial: initial value of w and w_dir.
        rays: which ray channels the network sees.
        kernel_size: of the network's convolutions.
    """

    def __init__(self, counts: Sequence[int], initial: float, rays: RayInput, kernel_size: int) -> None:
        super().__init__()
        self.rays = rays
        self.weights = nn.ModuleList(GaussianWeights(count, initial) for count in counts)
        channels = _RAY_CHANNELS[rays]
        self.network = RefinementNetwork(channels.stop - channels.start, kernel_size)

    @property
    def gaussian_weights(self) -> list[GaussianWeights]:
        """The weights of each expert's Gaussians, in expert order."""
        return [*self.weights]  # type: ignore[list-item]

    def channels(self, time: float) -> Tensor:
        """``[sum N_k, 3]`` weight channels of all experts' Gaussians, in expert order."""
        return torch.cat([weights.channels(time) for weights in self.gaussian_weights])

    def logits(self, splatted: Tensor, ray_image: Tensor) -> Tensor:
        """R' of Eq. 7.

        Args:
            splatted: ``[K,H,W,3]`` composited weight channels.
            ray_image: ``[6,H,W]`` camera centre and direction.

        Returns:
            ``[K,H,W]`` one logit per expert and pixel.
        """
        maps = splatted.permute(0, 3, 1, 2)
        rays = ray_image[_RAY_CHANNELS[self.rays]].expand(maps.shape[0], -1, -1, -1)
        return maps[:, 0] + self.network(torch.cat([maps[:, 1:], rays], dim=1))[:, 0]


def _resize_to_checkpoint(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    """The number of Gaussians is the checkpoint's; resize in place so that optimizers stay wired."""
    for name, parameter in module.named_parameters():
        stored = state_dict.get(prefix + name)
        if stored is not None and stored.shape != parameter.shape:
            parameter.data = parameter.data.new_empty(stored.shape)
            parameter.grad = None
