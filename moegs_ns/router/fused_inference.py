"""Frames of a mixture by the project's own CUDA kernels (`moegs_ns.splats.mixture_frame`): when, and when not.

Nothing to do with fused models (`moegs_ns.router.fused`): the mixture stays what it is, only fewer operations draw it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.rich_utils import CONSOLE

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.views import camera_time
from moegs_ns.router.volume_aware import VolumeAwareRouter
from moegs_ns.splats.kernel_cache import NativeBuildError
from moegs_ns.splats.mixture_frame import MixtureFrame, beyond_limits, draw_mixture
from moegs_ns.splats.mixture_library import mixture_library
from moegs_ns.splats.rasterize import resolve_backend

if TYPE_CHECKING:  # the mixture calls this module
    from moegs_ns.router.mixture import MixtureModel

_reasons_told: set[str] = set()


@torch.no_grad()
def fused_frame(mixture: MixtureModel, camera: Cameras) -> MixtureFrame | None:
    """What ``camera`` (of size 1) sees, or None where the kernels cannot draw it; then a message says why, each reason
    once per process.

    Raises:
        ValueError: several cameras, or no experts.
    """
    mixture.require_experts()
    reason = why_not_fused(mixture, mixture.rendering_at(camera_time(camera, mixture.config.default_time))[0])
    if reason is None:
        try:
            library = mixture_library(mixture.device)
        except NativeBuildError as error:
            reason = str(error)
    if reason is not None:
        if reason not in _reasons_told:
            _reasons_told.add(reason)
            CONSOLE.print(
                f"[yellow]Frames are drawn the ordinary way, not by fused inference: {reason}", soft_wrap=True
            )
        return None
    instant, router = mixture.instant(camera), mixture.router
    assert isinstance(router, VolumeAwareRouter)
    weights = router.channels(instant.time, instant.rows)
    assert weights is not None
    return draw_mixture(
        library,
        instant.splats,
        instant.channels,
        weights,
        instant.expert_ids,
        instant.settings,
        instant.viewmat,
        instant.intrinsics,
        instant.width,
        instant.height,
        mixture.channel_backgrounds(instant),
        router.pixel_gate(mixture.config.eval_temperature, mixture.config.top_k, mixture.config.weight_background),
    )


def why_not_fused(mixture: MixtureModel, experts: Sequence[ExpertModel]) -> str | None:
    """What of a mixture the kernels do not know, in words; None when they can draw it.

    Args:
        mixture: the model.
        experts: who renders for each of its experts.
    """
    router = mixture.router
    if not isinstance(router, VolumeAwareRouter):
        return f"it knows the volume-aware router only, this is the {mixture.config.router} router"
    if router.comparisons:
        return f"its router does not compare experts, this one does ({', '.join(router.comparisons)})"
    if mixture.config.distrust:
        return "it knows no distrust"
    layers = router.network.convolutions
    sizes = {layer.kernel_size for layer in layers}
    if sizes != {(1, 1)}:
        return f"its router sees single pixels (kernel size 1), this one has kernel size {max(sizes)[0]}"
    black = torch.zeros(3)  # on the CPU: only how many channels there are behind it is asked for
    for name, expert in zip(mixture.expert_names, experts, strict=True):
        if expert.channel_background(black).shape[0] != 3:
            return f"it draws experts that composite colours, '{name}' decodes features"
    backend = resolve_backend(mixture.device)
    if mixture.device.type == "cuda" and backend != "gsplat":
        return f"$MOEGS_RASTER asks for the backend '{backend}'"
    return beyond_limits(len(experts), [layer.in_channels for layer in layers])
