"""Structural similarity by the compiled kernel of ``cuda/cpu_ssim.h``, behind torch's autograd."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense, pointers


def ssim_map_native(prediction: Tensor, target: Tensor) -> Tensor:
    """``[H,W,C]`` structural similarity of two float32 images on the CPU; differentiable in ``prediction`` only.

    Values and gradients are bitwise the same for any number of threads. See ``losses.ssim_map``.

    Raises:
        ValueError: other tensors, or a target that wants a gradient.
    """
    if target.requires_grad and torch.is_grad_enabled():
        raise ValueError("native SSIM: expected a target without gradient, found one that requires it; detach it")
    shape = tuple(prediction.shape)
    return _SSIM.apply(dense("prediction", prediction, *shape), dense("target", target, *shape))


class _SSIM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor) -> Tensor:
        ssim = torch.empty_like(prediction)
        partials = prediction.new_empty(3, *prediction.shape) if ctx.needs_input_grad[0] else None
        call(
            "moegs_ssim_forward",
            *(ctypes.c_int32(size) for size in prediction.shape),
            *pointers(prediction, target),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(ssim, partials),
        )
        ctx.save_for_backward(prediction, target, partials)
        return ssim

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        prediction, target, partials = ctx.saved_tensors
        v_map, gradient = upstream[0].contiguous(), torch.empty_like(prediction)
        call(
            "moegs_ssim_backward",
            *(ctypes.c_int32(size) for size in prediction.shape),
            *pointers(prediction, target, partials, v_map),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(gradient),
        )
        return gradient, None
