"""The volume-aware pixel router (MoE-GS §3.2): learnable per-Gaussian weights, splatted, refined by a tiny network."""

import itertools
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from moegs_ns.router.comparisons import COMPARED_CHANNELS, Comparison, comparison_channels
from moegs_ns.router.gaussian_weights import GaussianWeights
from moegs_ns.router.interface import Router, RouterView
from moegs_ns.splats.mixture_frame import PixelGate

RayInput = Literal["origin+direction", "direction", "none"]
#: Channels of a ray image (camera centre, then direction) that the network sees.
RAY_CHANNELS: dict[str, slice] = {
    "origin+direction": slice(0, 6),
    "direction": slice(3, 6),
    "none": slice(0, 0),
}
#: Channels splatted per Gaussian: w, w_dir and t * w_time (Eq. 6).
WEIGHT_CHANNELS = 3
#: Hidden sizes of the network, as the authors' code has them.
HIDDEN = (6, 3)


class RefinementNetwork(nn.Module):
    """Φ of Eq. 7: bias-free convolutions, inputs -> hidden sizes -> 1, shared by all experts.

    Args:
        inputs: channels.
        kernel_size: odd. 1 is what the authors' code has, although the text speaks of local pixel context; larger
            sizes see it. Images are padded with zeros.
        hidden: channels between the convolutions.

    Raises:
        ValueError: an even kernel size, or one below 1; no hidden channels.
    """

    def __init__(self, inputs: int, kernel_size: int, hidden: Sequence[int] = HIDDEN) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"expected an odd kernel size for the router's network, found {kernel_size}")
        if not hidden or min(hidden) < 1:
            raise ValueError(f"expected hidden sizes of at least 1 for the router's network, found {tuple(hidden)}")
        layers: list[nn.Module] = []
        for size, outputs in itertools.pairwise((inputs, *hidden, 1)):
            layers += [nn.Conv2d(size, outputs, kernel_size, padding=kernel_size // 2, bias=False), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])  # no activation behind the last convolution

    @property
    def convolutions(self) -> list[nn.Conv2d]:
        """Its layers with weights, in order."""
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]

    def forward(self, inputs: Tensor) -> Tensor:
        """``[K,1,H,W]`` corrections from ``[K,inputs,H,W]``."""
        # A pixel's channels side by side: with so few of them the CPU's convolutions are several times as fast then.
        return self.layers(inputs.contiguous(memory_format=torch.channels_last))


class VolumeAwareRouter(Router):
    """Logits per pixel and expert from splatted per-Gaussian weights.

    Args:
        counts: number of Gaussians of each expert.
        initial: initial value of w and w_dir.
        rays: which ray channels the network sees.
        kernel_size: of the network's convolutions, odd.
        hidden: sizes of its hidden layers.
        comparisons: what else it sees: in what an expert's picture differs from the others' (not in the paper).

    Raises:
        ValueError: an unknown ray input, an even kernel size, or a start from which w_dir and w_time cannot move.
    """

    weight_channels = WEIGHT_CHANNELS

    def __init__(
        self,
        counts: Sequence[int],
        initial: float,
        rays: RayInput,
        kernel_size: int,
        hidden: Sequence[int] = HIDDEN,
        comparisons: Sequence[Comparison] = (),
    ) -> None:
        super().__init__()
        if rays not in RAY_CHANNELS:
            raise ValueError(f"expected the router's ray input to be one of {get_args(RayInput)}, found '{rays}'")
        if rays == "none" and initial == 0 and not comparisons:
            # Every input of the bias-free network would be 0, and so would all its gradients, for ever.
            raise ValueError(
                "a router that sees no rays cannot start with all weights 0: its network would never learn; "
                "choose another ray input, or an initial weight other than 0"
            )
        self.rays = rays
        self.comparisons = tuple(comparisons)
        self.needs_depth = "depth" in self.comparisons
        self.weights = nn.ModuleList(GaussianWeights(count, initial) for count in counts)
        channels = RAY_CHANNELS[rays]
        inputs = 2 + channels.stop - channels.start + sum(COMPARED_CHANNELS[name] for name in self.comparisons)
        self.network = RefinementNetwork(inputs, kernel_size, hidden)

    @property
    def gaussian_weights(self) -> list[GaussianWeights]:
        """The weights of each expert's Gaussians, in expert order."""
        return [*self.weights]  # type: ignore[list-item]

    def logits(self, view: RouterView) -> Tensor:
        """``[K,H,W]`` R' = w + Φ(w_dir, t * w_time, rays) of Eq. 7; Φ may see comparisons as well."""
        maps = view.weights.permute(0, 3, 1, 2)
        rays = view.rays[RAY_CHANNELS[self.rays]].expand(maps.shape[0], -1, -1, -1)
        seen = [maps[:, 1:], rays]
        if self.comparisons:
            seen.append(comparison_channels(view, self.comparisons))
        return maps[:, 0] + self.network(torch.cat(seen, dim=1))[:, 0]

    def pixel_gate(self, temperature: float = 1.0, top_k: int = 0, weight_background: float = 0.0) -> PixelGate:
        """What fused inference needs to know to make the same gates; the weights are shared, not copied.

        Args:
            temperature, top_k: of the softmax over experts, as for `gate`.
            weight_background: value of the weight channels where no Gaussian is.

        Raises:
            ValueError: its network sees more than a pixel's own weights and ray.
        """
        sizes = {layer.kernel_size for layer in self.network.convolutions}
        if self.comparisons or sizes != {(1, 1)}:
            raise ValueError(
                "expected a router of kernel size 1 without comparisons for fused inference, found kernel size "
                f"{max(sizes)[0]} and the comparisons {list(self.comparisons)}; draw the frame the ordinary way"
            )
        matrices = [layer.weight.flatten(1) for layer in self.network.convolutions]
        return PixelGate(matrices, RAY_CHANNELS[self.rays], temperature, top_k, weight_background)
