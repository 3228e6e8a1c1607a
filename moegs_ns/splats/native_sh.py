"""Spherical harmonics by the compiled kernel of ``cuda/cpu_colors.h``, behind torch's autograd."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense, pointers


def evaluate_sh_native(degree: int, directions: Tensor, sh: Tensor, origin: Tensor | None = None) -> Tensor:
    """``[N,3]`` sums of the series of float32 coefficients on the CPU; differentiable in ``sh`` only.

    A row's result does not depend on the other rows. See ``sh.evaluate_sh``; with ``origin [3]``, ``sh.view_colors``.

    Raises:
        ValueError: other tensors, or directions that want a gradient.
    """
    if directions.requires_grad and torch.is_grad_enabled():
        raise ValueError("native spherical harmonics: expected directions without gradient; detach them")
    count, bases = sh.shape[:2]
    return _SphericalHarmonics.apply(
        dense("directions", directions, count, 3),
        None if origin is None else dense("origin", origin, 3),
        dense("sh", sh, count, bases, 3),
        degree,
    )


class _SphericalHarmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, directions: Tensor, origin: Tensor | None, sh: Tensor, degree: int) -> Tensor:
        colors = sh.new_empty(sh.shape[0], 3)
        ctx.sizes = ctypes.c_int64(sh.shape[0]), ctypes.c_int32(degree), ctypes.c_int32(sh.shape[1])
        call(
            "moegs_sh_forward",
            *ctx.sizes,
            *pointers(directions, origin, sh),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(colors),
        )
        ctx.shape = sh.shape
        ctx.save_for_backward(directions, origin, None if origin is None else colors)
        return colors

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        directions, origin, colors = ctx.saved_tensors
        v_colors, gradient = upstream[0].contiguous(), directions.new_empty(ctx.shape)
        call(
            "moegs_sh_backward",
            *ctx.sizes,
            *pointers(directions, origin, colors, v_colors),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(gradient),
        )
        return None, None, gradient, None
