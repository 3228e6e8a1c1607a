"""The volume-aware pixel router (MoE-GS §3.2): learnable per-Gaussian weights, splatted, refined by a tiny network."""

import itertools
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

RayInput = Literal["origin+direction", "direction", "none"]
#: Channels of a ray image (camera centre, then direction) that the network sees.
_RAY_CHANNELS: dict[str, slice] = {
    "origin+direction": slice(0, 6),
    "direction": slice(3, 6),
    "none": slice(0, 0),
}
#: Channels splatted per Gaussian: w, w_dir and t * w_time (Eq. 6).
WEIGHT_CHANNELS = 3
_ALL_ROWS = slice(None)
# Hidden sizes of the network, as the authors' code has them.
_HIDDEN = (6, 3)


class GaussianWeights(nn.Module):
    """Learnable router weights of one expert's N Gaussians, without activation.

    Loading a checkpoint takes over its number of Gaussians in place: optimizers stay wired.

    Args:
        count: N.
        initial: initial value of w and w_dir; w_time starts at 0.

    Attributes:
        base: ``[N,2]``: w and w_dir.
        time: ``[N,1]``: w_time, multiplied by t before splatting.
    """

    def __init__(self, count: int, initial: float) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.full((count, 2), float(initial)))
        self.time = nn.Parameter(torch.zeros(count, 1))
        self.register_load_state_dict_pre_hook(_resize_to_checkpoint)

    def __len__(self) -> int:
        return self.base.shape[0]

    def channels(self, time: float, rows: slice = _ALL_ROWS) -> Tensor:
        """``[N,3]`` channels w, w_dir and t * w_time to splat at ``time`` in [0,1], of those Gaussians in ``rows``."""
        return torch.cat([self.base[rows], time * self.time[rows]], dim=1)


class RefinementNetwork(nn.Module):
    """Φ of Eq. 7: three bias-free convolutions, 2 + ray channels -> 6 -> 3 -> 1, shared by all experts.

    Args:
        ray_channels: 0, 3 or 6.
        kernel_size: odd. 1 is what the authors' code has, although the text speaks of local pixel context; larger
            sizes see it. Images are padded with zeros.

    Raises:
        ValueError: an even kernel size, or one below 1.
    """

    def __init__(self, ray_channels: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"expected an odd kernel size for the router's network, found {kernel_size}")
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise((2 + ray_channels, *_HIDDEN, 1)):
            layers += [nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=False), nn.ReLU()]
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
        kernel_size: of the network's convolutions, odd.

    Raises:
        ValueError: an unknown ray input, an even kernel size, or a start from which w_dir and w_time cannot move.
    """

    def __init__(self, counts: Sequence[int], initial: float, rays: RayInput, kernel_size: int) -> None:
        super().__init__()
        if rays not in _RAY_CHANNELS:
            raise ValueError(f"expected the router's ray input to be one of {get_args(RayInput)}, found '{rays}'")
        if rays == "none" and initial == 0:
            # Every input of the bias-free network would be 0, and so would all its gradients, for ever.
            raise ValueError(
                "a router that sees no rays cannot start with all weights 0: its network would never learn; "
                "choose another ray input, or an initial weight other than 0"
            )
        self.rays = rays
        self.weights = nn.ModuleList(GaussianWeights(count, initial) for count in counts)
        channels = _RAY_CHANNELS[rays]
        self.network = RefinementNetwork(channels.stop - channels.start, kernel_size)

    @property
    def gaussian_weights(self) -> list[GaussianWeights]:
        """The weights of each expert's Gaussians, in expert order."""
        return [*self.weights]  # type: ignore[list-item]

    def channels(self, time: float, rows: Sequence[slice] | None = None) -> Tensor:
        """``[sum N_k, 3]`` weight channels of the experts' Gaussians, in expert order; of each expert those in its
        ``rows``, by default all."""
        weights = self.gaussian_weights
        rows = [_ALL_ROWS] * len(weights) if rows is None else rows
        return torch.cat([one.channels(time, own) for one, own in zip(weights, rows, strict=True)])

    def logits(self, splatted: Tensor, ray_image: Tensor) -> Tensor:
        """R' = w + Φ(w_dir, t * w_time, rays) of Eq. 7.

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
    """The number of Gaussians is the checkpoint's; resize in place so that optimizers stay wired. Tensors that are
    missing or have other columns are left for torch to refuse."""
    for name, parameter in module.named_parameters():
        stored = state_dict.get(prefix + name)
        if stored is None or stored.shape[1:] != parameter.shape[1:] or stored.shape == parameter.shape:
            continue
        parameter.data = parameter.data.new_empty(stored.shape)
        parameter.grad = None
