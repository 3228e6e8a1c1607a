"""The photometric loss by the compiled kernel of ``cuda/cpu_photometric.h``, behind torch's autograd."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense, pointers


def photometric_native(prediction: Tensor, target: Tensor, ssim_weight: float, maps: bool) -> tuple[Tensor, Tensor]:
    """``(1 - w) * mean |x - y| + w * (1 - SSIM)`` of two float32 images ``[H,W,C]`` on the CPU; differentiable in
    ``prediction`` only. Values and gradients are bitwise the same for any number of threads.

    Args:
        prediction, target: x and y.
        ssim_weight: w.
        maps: whether error maps are wanted as well.

    Returns:
        Scalar loss; ``[H,W,3]`` ones, mean absolute error and mean similarity of each pixel, without gradient (empty
        where not wanted).

    Raises:
        ValueError: other tensors, or a target that wants a gradient.
    """
    if target.requires_grad and torch.is_grad_enabled():
        raise ValueError("native photometric loss: expected a target without gradient, found one; detach it")
    shape = tuple(prediction.shape)
    inputs = dense("prediction", prediction, *shape), dense("target", target, *shape)
    return _Photometric.apply(*inputs, ssim_weight, maps)


class _Photometric(torch.autograd.Function):
    """Value and gradient at once: both need the same blurred images."""

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor, ssim_weight: float, maps: bool) -> tuple[Tensor, Tensor]:
        loss = prediction.new_empty(())
        errors = prediction.new_empty(*prediction.shape[:2] if maps else (0, 0), 3)
        gradient = torch.empty_like(prediction) if ctx.needs_input_grad[0] else None
        call(
            "moegs_photometric",
            *(ctypes.c_int32(size) for size in prediction.shape),
            *pointers(prediction, target),
            ctypes.c_float(ssim_weight),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(loss, errors if maps else None, gradient),
        )
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(errors)
        return loss, errors

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        # Where the loss is part of a sum, as in training, there is nothing to multiply.
        return gradient if upstream[0].item() == 1.0 else upstream[0] * gradient, None, None, None
