"""Rotations as learnt, quaternions of any length, and as used, of unit length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_SHORTEST = 1e-12


def unit_quaternions(quats: Tensor) -> Tensor:
    """``quats [N,4]`` divided by their lengths; what ``torch.nn.functional.normalize`` gives, with a gradient in half
    the time."""
    return _Normalized.apply(quats)


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, quats: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(quats, dim=-1, keepdim=True).clamp_min_(_SHORTEST)
        unit = quats / length
        ctx.save_for_backward(unit, length)
        return unit

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        unit, length = ctx.saved_tensors
        return (upstream[0] - unit * (unit * upstream[0]).sum(dim=-1, keepdim=True)) / length
