"""Features out of planes and lines by the compiled kernel of ``cuda/cpu_planes.h``, behind torch's autograd."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense, pointers


def plane_features_native(points: Tensor, planes: Sequence[Tensor], lines: Sequence[Tensor]) -> Tensor:
    """``[N, L*C]`` products of three bilinear and three linear lookups, L levels side by side; float32 on the CPU.

    Differentiable in everything; values and gradients are bitwise the same for any number of threads.

    Args:
        points: ``[N,3]`` in [-1,1]; clamped to it.
        planes: per level ``[3,C,n,n]`` over the axes (x,y), (x,z), (y,z), the first of a pair along the last dimension.
        lines: per level ``[3,C,n]`` along x, y, z.

    Raises:
        ValueError: other dtypes, devices or shapes.
    """
    count, channels = points.shape[0], planes[0].shape[1]
    for plane, line in zip(planes, lines, strict=True):
        size = plane.shape[-1]
        dense("planes", plane, 3, channels, size, size)
        dense("lines", line, 3, channels, size)
    return _PlaneFeatures.apply(dense("points", points, count, 3), *planes, *lines)


class _PlaneFeatures(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, *tables: Tensor) -> Tensor:
        levels = len(tables) // 2
        # The kernel wants the channels innermost.
        planes = [table.permute(0, 2, 3, 1).contiguous() for table in tables[:levels]]
        lines = [table.transpose(1, 2).contiguous() for table in tables[levels:]]
        features = points.new_empty(points.shape[0], sum(plane.shape[-1] for plane in planes))
        for level, (plane, line) in enumerate(zip(planes, lines, strict=True)):
            call(
                "moegs_planes_forward",
                *_level(points, plane, line, features),
                ctypes.c_int32(torch.get_num_threads()),
                *pointers(features[:, level * plane.shape[-1] :]),
            )
        ctx.save_for_backward(points, *planes, *lines)
        return features

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        points, *tables = ctx.saved_tensors
        levels = len(tables) // 2
        v_features, v_points = upstream[0].contiguous(), torch.zeros_like(points)
        gradients = [torch.empty_like(table) for table in tables]
        for level in range(levels):
            plane, line = tables[level], tables[levels + level]
            call(
                "moegs_planes_backward",
                *_level(points, plane, line, v_features),
                *pointers(v_features[:, level * plane.shape[-1] :]),
                ctypes.c_int32(torch.get_num_threads()),
                *pointers(v_points, gradients[level], gradients[levels + level]),
            )
        v_planes = [gradient.permute(0, 3, 1, 2).contiguous() for gradient in gradients[:levels]]
        v_lines = [gradient.transpose(1, 2).contiguous() for gradient in gradients[levels:]]
        return v_points, *v_planes, *v_lines


def _level(points: Tensor, plane: Tensor, line: Tensor, features: Tensor) -> tuple[Any, ...]:
    size, channels = plane.shape[-2:]
    return (
        ctypes.c_int64(points.shape[0]),
        ctypes.c_int32(channels),
        ctypes.c_int32(size),
        *pointers(points, plane, line),
        ctypes.c_int64(features.shape[1]),
    )
