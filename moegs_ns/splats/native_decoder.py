"""STG's network over composited features by the compiled kernel of ``cuda/cpu_decoder.h``, behind torch's autograd."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense, pointers

_FEATURES, _RAY_CHANNELS, _HIDDEN = 9, 6, 6


def decode_native(features: Tensor, rays: Tensor, hidden_weight: Tensor, color_weight: Tensor, sigmoid: bool) -> Tensor:
    """``[H,W,3]`` colours of float32 features on the CPU; differentiable in the features and both matrices.

    A pixel's colour does not depend on the other pixels, nor on how the features lie in memory. Values and gradients
    are bitwise the same for any number of threads.

    Args:
        features: ``[H,W,9]``; channels next to each other and pixels evenly spaced are read where they are.
        rays: ``[6,H,W]``.
        hidden_weight, color_weight: ``[6,12]`` and ``[3,6]``.
        sigmoid: whether colours are brought into [0,1] by the logistic function, else by clamping.

    Raises:
        ValueError: other tensors, or rays that want a gradient.
    """
    if rays.requires_grad and torch.is_grad_enabled():
        raise ValueError("native decoder: expected rays without gradient, found some; detach them")
    height, width = features.shape[:2]
    if tuple(features.shape) != (height, width, _FEATURES) or not _evenly_spaced(features):
        features = dense("features", features, height, width, _FEATURES)
    return _Decoder.apply(
        features,
        dense("rays", rays, _RAY_CHANNELS, height, width),
        dense("hidden_weight", hidden_weight, _HIDDEN, _FEATURES - 3 + _RAY_CHANNELS),
        dense("color_weight", color_weight, 3, _HIDDEN),
        sigmoid,
    )


def _evenly_spaced(features: Tensor) -> bool:
    rows, columns, channels = features.stride()
    readable = features.dtype == torch.float32 and features.device.type == "cpu"
    return readable and channels == 1 and rows == columns * features.shape[1]


class _Decoder(torch.autograd.Function):
    """What lies between features and colours is computed anew in the backward pass, which takes less time than keeping
    it."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, rays: Tensor, *others: Any) -> Tensor:
        hidden_weight, color_weight, sigmoid = others
        height, width = features.shape[:2]
        ctx.sizes = (
            ctypes.c_int64(height * width),
            ctypes.c_int64(_FEATURES if features.is_contiguous() else features.stride(1)),
            ctypes.c_int32(sigmoid),
        )
        rgb = features.new_empty(height, width, 3)
        call(
            "moegs_decoder_forward",
            *ctx.sizes,
            *pointers(features, rays, hidden_weight, color_weight),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(rgb),
        )
        ctx.save_for_backward(features, rays, hidden_weight, color_weight)
        return rgb

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        features, rays, hidden_weight, color_weight = ctx.saved_tensors
        v_rgb = upstream[0].contiguous()
        gradients = features.new_empty(features.shape), torch.empty_like(hidden_weight), torch.empty_like(color_weight)
        call(
            "moegs_decoder_backward",
            *ctx.sizes,
            *pointers(features, rays, hidden_weight, color_weight, v_rgb),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(*gradients),
        )
        v_features, v_hidden, v_color = gradients
        return v_features, None, v_hidden, v_color, None
