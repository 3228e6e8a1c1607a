"""Which router, with which options: one switch for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from moegs_ns.router.comparisons import Comparison
from moegs_ns.router.interface import Router
from moegs_ns.router.pixel import PixelRouter
from moegs_ns.router.volume import VolumeRouter
from moegs_ns.router.volume_aware import HIDDEN, RayInput, VolumeAwareRouter

RouterName = Literal["volume-aware", "pixel", "volume"]


@dataclass
class RouterOptions:
    """The part of a mixture's options that says what its router is."""

    router: RouterName = "volume-aware"
    """What decides between experts: *volume-aware* splats learnable weights of Gaussians into the image (the paper's),
    *pixel* sees only time and viewing direction, *volume* gates opacities and renders all Gaussians as one set."""
    initial_weight: float = 0.0
    """Initial w and w_dir of every Gaussian. The paper starts near zero, its code at 0.9."""
    ray_input: RayInput = "origin+direction"
    """What the volume-aware router's network sees of the viewing ray; the authors' code feeds camera centre and
    direction."""
    kernel_size: int = 1
    """Kernel size of the volume-aware router's network; 1 as in the authors' code, larger (odd) sees neighbouring
    pixels."""
    hidden: tuple[int, ...] = HIDDEN
    """Hidden channels of the volume-aware router's network."""
    distrust: float = 0.0
    """How much an expert loses in its logit for a picture unlike the others': this much per unit of the colours' mean
    difference, around the pixel, from the mean of all experts. 0 = nothing, as in the paper. Of two experts both are
    as far from their mean, and nothing changes."""
    compare: tuple[Comparison, ...] = ()
    """What the volume-aware router's network also sees: in what an expert's opacity, depth or colour differs from the
    others'. Not in the paper."""


def make_router(options: RouterOptions, counts: Sequence[int]) -> Router:
    """The router of that name for experts of ``counts`` Gaussians.

    Raises:
        ValueError: there is none, or its options do not fit.
    """
    if options.router == "volume-aware":
        return VolumeAwareRouter(
            counts, options.initial_weight, options.ray_input, options.kernel_size, options.hidden, options.compare
        )
    if options.router == "pixel":
        return PixelRouter(len(counts))
    if options.router == "volume":
        return VolumeRouter(counts, options.initial_weight)
    raise ValueError(f"expected the router to be 'volume-aware', 'pixel' or 'volume', found '{options.router}'")
