"""A step of Adam by the compiled kernel of ``cuda/cpu_adam.h``: all tensors of an optimizer in one call."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call

_TENSOR = "qPPPPff"  # moegs_adam_tensor of splat_cpu.h: count, value, first, second, gradient, step_size, root_scale


class _AdamNumbers(ctypes.Structure):
    """``moegs_adam_numbers`` of splat_cpu.h."""

    _fields_ = tuple(
        (name, ctypes.c_float) for name in ("one_minus_beta1", "beta2", "one_minus_beta2", "eps", "weight_decay")
    )


def adam_step_native(
    tensors: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
    factors: Sequence[tuple[float, float]],
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """Move values against their gradients, in place: ``value -= step_size * m / (root_scale * sqrt(v) + eps)`` with the
    moments m and v of the gradient plus ``weight_decay * value``; without the division where ``root_scale`` is 0.

    Args:
        tensors: ``(value, gradient, m, v)`` of equal shape, each `readable`.
        factors: ``(step_size, root_scale)`` of each.
        betas: decay of m and of v.
        eps: added to the root.
        weight_decay: L2 penalty.
    """
    fields: list[float] = []
    for (value, gradient, first, second), pair in zip(tensors, factors, strict=True):
        fields += (value.numel(), value.data_ptr(), first.data_ptr(), second.data_ptr(), gradient.data_ptr(), *pair)
    rows = struct.pack(_TENSOR * len(tensors), *fields)  # ctypes structures take several times as long
    numbers = _AdamNumbers(1 - betas[0], betas[1], 1 - betas[1], eps, weight_decay)
    call(
        "moegs_adam_step",
        ctypes.c_int32(len(tensors)),
        ctypes.c_char_p(rows),
        ctypes.byref(numbers),
        ctypes.c_int32(torch.get_num_threads()),
    )


def readable(tensor: Tensor) -> bool:
    """Whether the kernel reads a tensor's memory as it is."""
    return (
        tensor.dtype is torch.float32
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and tensor.is_contiguous()
    )
