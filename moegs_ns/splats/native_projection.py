"""Projection by the compiled kernels of ``cuda/``, behind torch's autograd."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense, pointers
from moegs_ns.splats.projection import Projected, ProjectionSettings


class _Camera(ctypes.Structure):
    """``moegs_camera`` of splat_cpu.h."""

    _fields_ = (
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("antialiased", ctypes.c_int32),
        ("eps2d", ctypes.c_float),
        ("near_plane", ctypes.c_float),
        ("far_plane", ctypes.c_float),
        ("radius_clip", ctypes.c_float),
        ("extent_sigmas", ctypes.c_float),
        ("extent_per_axis", ctypes.c_int32),
        ("viewmat", ctypes.c_float * 16),
        ("intrinsics", ctypes.c_float * 9),
    )


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    settings: ProjectionSettings,
) -> Projected:
    """Projects Gaussians; differentiable with respect to means, quats and scales. See ``project_torch``.

    Raises:
        ValueError: a tensor is not float32 on the CPU or has the wrong shape, or the camera requires a gradient.
    """
    return project_parts([(means, quats, scales)], viewmat, K, width, height, [settings])


def project_parts(
    parts: Sequence[tuple[Tensor, Tensor, Tensor]],
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    settings: Sequence[ProjectionSettings],
) -> Projected:
    """Projects Gaussians that lie in several places, each by settings of its own.

    Args:
        parts: means, quats and scales of each part; at least one.
        viewmat, K, width, height: the camera.
        settings: one per part.

    Returns:
        All Gaussians, part after part.

    Raises:
        ValueError: as `project`.
    """
    if torch.is_grad_enabled() and (viewmat.requires_grad or K.requires_grad):
        raise ValueError(
            "native rasterizer: expected a fixed camera, found a viewmat or K that requires a gradient; use the "
            "backend 'torch' to optimise cameras"
        )
    if tuple(viewmat.shape) != (4, 4) or tuple(K.shape) != (3, 3):
        raise ValueError(
            f"native rasterizer: expected viewmat [4, 4] and K [3, 3], found {list(viewmat.shape)}, {list(K.shape)}"
        )
    pose, intrinsics = viewmat.detach().flatten().tolist(), K.detach().flatten().tolist()
    cameras = [
        _Camera(
            width,
            height,
            int(own.antialiased),
            own.eps2d,
            own.near,
            own.far,
            own.radius_clip,
            own.conventions.sigmas,
            int(own.conventions.per_axis),
            (ctypes.c_float * 16)(*pose),
            (ctypes.c_float * 9)(*intrinsics),
        )
        for own in settings
    ]
    dense_parts: list[Tensor] = []
    for means, quats, scales in parts:
        count = means.shape[0]
        dense_parts += [dense("means", means, count, 3), dense("quats", quats, count, 4)]
        dense_parts.append(dense("scales", scales, count, 3))
    return Projected(*_Project.apply(cameras, *dense_parts))


def rows_of_parts(counts: Sequence[int]) -> list[slice]:
    """Where parts of these sizes lie, one after the other."""
    ends = [*accumulate(counts, initial=0)]
    return [slice(first, last) for first, last in pairwise(ends)]


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cameras: Sequence[_Camera], *parts: Tensor) -> tuple[Tensor, ...]:
        rows = rows_of_parts([means.shape[0] for means in parts[::3]])
        first, count = parts[0], rows[-1].stop
        means2d, depths, conics = first.new_empty(count, 2), first.new_empty(count), first.new_empty(count, 3)
        compensations, radii = first.new_empty(count), first.new_empty(count, dtype=torch.int32)
        projected = (means2d, depths, conics, compensations, radii)
        for index, (own, camera) in enumerate(zip(rows, cameras, strict=True)):
            call(
                "moegs_project_forward",
                ctypes.c_int64(own.stop - own.start),
                *pointers(*parts[3 * index : 3 * index + 3]),
                ctypes.byref(camera),
                ctypes.c_int32(torch.get_num_threads()),
                *pointers(*(tensor[own] for tensor in projected)),
            )
        ctx.cameras, ctx.rows = cameras, rows
        ctx.save_for_backward(radii, *parts)
        ctx.set_materialize_grads(False)
        antialiased = any(camera.antialiased for camera in cameras)
        ctx.mark_non_differentiable(*([radii] if antialiased else [radii, compensations]))
        return projected

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        radii, *parts = ctx.saved_tensors
        kept = [None if gradient is None else gradient.contiguous() for gradient in upstream[:4]]
        gradients = [torch.empty_like(tensor) for tensor in parts]
        for index, (own, camera) in enumerate(zip(ctx.rows, ctx.cameras, strict=True)):
            mine = slice(3 * index, 3 * index + 3)
            call(
                "moegs_project_backward",
                ctypes.c_int64(own.stop - own.start),
                *pointers(*parts[mine]),
                ctypes.byref(camera),
                ctypes.c_int32(torch.get_num_threads()),
                *pointers(radii[own], *(None if one is None else one[own] for one in kept), *gradients[mine]),
            )
        return (None, *gradients)
