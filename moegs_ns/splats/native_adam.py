"""A step of Adam by the compiled kernel of ``cuda/cpu_adam.h``: all tensors of several optimizers in one call."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call

# moegs_adam_tensor of splat_cpu.h: count, addresses of value, first, second, step and gradient, seven numbers, padding.
_TENSOR = "qPPPPPfffffff4x"
AdamRow = tuple[float, ...]


def adam_row(
    value: Tensor,
    first: Tensor,
    second: Tensor,
    step: Tensor,
    gradient: Tensor,
    factors: tuple[float, float],
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> AdamRow:
    """What `adam_step_native` needs to know of one tensor; whoever calls keeps the tensors alive.

    Args:
        value, first, second, gradient: of equal shape, each `readable`; ``first`` and ``second`` are m and v.
        step: scalar, `readable`; counted up.
        factors: ``step_size`` and ``root_scale``.
        betas: decay of m and of v.
        eps: added to the root.
        weight_decay: L2 penalty.
    """
    return (
        value.numel(),
        value.data_ptr(),
        first.data_ptr(),
        second.data_ptr(),
        step.data_ptr(),
        gradient.data_ptr(),
        *factors,
        1 - betas[0],
        betas[1],
        1 - betas[1],
        eps,
        weight_decay,
    )


def adam_step_native(rows: Sequence[AdamRow]) -> None:
    """Move values against their gradients, in place: ``value -= step_size * m / (root_scale * sqrt(v) + eps)`` with the
    moments m and v of the gradient plus ``weight_decay * value``; without the division where ``root_scale`` is 0.

    Args:
        rows: an `adam_row` of each tensor.
    """
    # ctypes structures take several times as long.
    packed = struct.pack(_TENSOR * len(rows), *(number for row in rows for number in row))
    call(
        "moegs_adam_step",
        ctypes.c_int32(len(rows)),
        ctypes.c_char_p(packed),
        ctypes.c_int32(torch.get_num_threads()),
    )


def readable(tensor: Tensor) -> bool:
    """Whether the kernel reads a tensor's memory as it is."""
    return tensor.dtype is torch.float32 and tensor.is_cpu and tensor.layout is torch.strided and tensor.is_contiguous()
