"""The CPU backend: the compiled kernels of ``cuda/`` that project and composite, behind torch's autograd.

A call keeps its state in its own ``moegs_frame``: a viewer and a trainer may render at once.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_library import (
    available,
    build_info,
    call,
    dense,
    loaded_library,
    pointers,
    release_frame,
    unavailable_reason,
)
from moegs_ns.splats.projection import Projected, ProjectionSettings

__all__ = ["available", "build_info", "composite", "count_intersections", "project", "unavailable_reason"]


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
    count = means.shape[0]
    means, quats = dense("means", means, count, 3), dense("quats", quats, count, 4)
    scales = dense("scales", scales, count, 3)
    if torch.is_grad_enabled() and (viewmat.requires_grad or K.requires_grad):
        raise ValueError(
            "native rasterizer: expected a fixed camera, found a viewmat or K that requires a gradient; use the "
            "backend 'torch' to optimise cameras"
        )
    if tuple(viewmat.shape) != (4, 4) or tuple(K.shape) != (3, 3):
        raise ValueError(
            f"native rasterizer: expected viewmat [4, 4] and K [3, 3], found {list(viewmat.shape)}, {list(K.shape)}"
        )
    camera = _Camera(
        width,
        height,
        int(settings.antialiased),
        settings.eps2d,
        settings.near,
        settings.far,
        settings.radius_clip,
        settings.conventions.sigmas,
        int(settings.conventions.per_axis),
        (ctypes.c_float * 16)(*viewmat.detach().flatten().tolist()),
        (ctypes.c_float * 9)(*K.detach().flatten().tolist()),
    )
    return Projected(*_Project.apply(means, quats, scales, camera))


def composite(
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    channels: Tensor,
    depths: Tensor,
    radii: Tensor,
    expert_ids: Tensor,
    num_experts: int,
    width: int,
    height: int,
    absgrad: bool = False,
) -> tuple[Tensor, Tensor]:
    """Blends projected Gaussians; differentiable with respect to means2d, conics, opacities and channels.

    Gradients are bitwise the same for any number of threads. When only channels need one, no geometry gradient is
    computed. See ``torch_backend.composite`` for arguments and results.

    Raises:
        ValueError: a tensor is not float32 on the CPU or has the wrong shape, or an expert id is out of range.
    """
    count = means2d.shape[0]
    if channels.ndim != 2 or channels.shape[1] < 1:
        raise ValueError(f"native rasterizer: expected channels [N, C] with C >= 1, found {list(channels.shape)}")
    if width < 1 or height < 1 or num_experts < 1:
        raise ValueError(
            f"native rasterizer: expected at least one pixel and one expert, found {width}x{height} and {num_experts}"
        )
    order = (
        dense("depths", depths.detach(), count),
        dense("radii", radii, count, dtype=torch.int32),
        dense("expert_ids", expert_ids.to(torch.int32), count, dtype=torch.int32) if num_experts > 1 else None,
    )
    return _Composite.apply(means2d, conics, opacities, channels, order, (num_experts, width, height), absgrad)


def count_intersections(images: Tensor) -> int:
    """Number of (Gaussian, tile) pairs behind ``composite``'s images, for benchmarks.

    Raises:
        ValueError: the images are not directly what ``composite`` returned, or were made without gradients.
    """
    frame = getattr(images.grad_fn, "frame", None)
    if frame is None:
        raise ValueError("count_intersections: expected images straight from composite() with gradients enabled")
    return int(loaded_library().moegs_frame_intersections(frame.pointer))


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, camera: _Camera) -> tuple[Tensor, ...]:
        count = means.shape[0]
        means2d, depths, conics = means.new_empty(count, 2), means.new_empty(count), means.new_empty(count, 3)
        compensations, radii = means.new_empty(count), means.new_empty(count, dtype=torch.int32)
        call(
            "moegs_project_forward",
            ctypes.c_int64(count),
            *pointers(means, quats, scales),
            ctypes.byref(camera),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(means2d, depths, conics, compensations, radii),
        )
        ctx.camera = camera
        ctx.save_for_backward(means, quats, scales, radii)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*([radii] if camera.antialiased else [radii, compensations]))
        return means2d, depths, conics, compensations, radii

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        means, quats, scales, radii = ctx.saved_tensors
        kept = [None if gradient is None else gradient.contiguous() for gradient in upstream[:4]]
        gradients = [torch.empty_like(tensor) for tensor in (means, quats, scales)]
        call(
            "moegs_project_backward",
            ctypes.c_int64(means.shape[0]),
            *pointers(means, quats, scales),
            ctypes.byref(ctx.camera),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(radii, *kept, *gradients),
        )
        return (*gradients, None)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means2d: Tensor,
        conics: Tensor,
        opacities: Tensor,
        channels: Tensor,
        order: tuple[Tensor, Tensor, Tensor | None],
        size: tuple[int, int, int],
        absgrad: bool,
    ) -> tuple[Tensor, Tensor]:
        count, width_of_channels = channels.shape
        num_experts, width, height = size
        inputs = (
            dense("means2d", means2d, count, 2),
            dense("conics", conics, count, 3),
            dense("opacities", opacities, count),
            dense("channels", channels, count, width_of_channels),
        )
        images = channels.new_empty(num_experts, height, width, width_of_channels)
        alphas = channels.new_empty(num_experts, height, width)
        keep = any(ctx.needs_input_grad)
        frame = _Frame()
        call(
            "moegs_composite_forward",
            ctypes.c_int64(count),
            *(ctypes.c_int32(value) for value in (width_of_channels, num_experts, width, height)),
            *pointers(*inputs, *order),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(images, alphas),
            ctypes.byref(frame.pointer) if keep else None,
        )
        ctx.frame = frame
        ctx.absgrad = absgrad
        ctx.sizes = (count, width_of_channels)
        # Kept only to hang `absgrad` on it: a saved input comes back as the very object the caller holds.
        ctx.save_for_backward(means2d)
        ctx.set_materialize_grads(False)
        return images, alphas

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v_images: Tensor | None, v_alphas: Tensor | None) -> tuple[Tensor | None, ...]:
        (means2d,) = ctx.saved_tensors
        count, width_of_channels = ctx.sizes
        geometry, channels = any(ctx.needs_input_grad[:3]), ctx.needs_input_grad[3]
        absgrad = ctx.absgrad and ctx.needs_input_grad[0]

        def gradient(wanted: bool, *shape: int) -> Tensor | None:
            return means2d.new_empty(shape) if wanted else None

        gradients = (
            gradient(geometry, count, 2),
            gradient(geometry, count, 3),
            gradient(geometry, count),
            gradient(channels, count, width_of_channels),
            gradient(absgrad, count, 2),
        )
        # Held by a name until the call returns: the kernel reads raw addresses, which keep no copy alive.
        upstream = [None if gradient is None else gradient.contiguous() for gradient in (v_images, v_alphas)]
        call(
            "moegs_composite_backward",
            ctx.frame.pointer,
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(*upstream),
            *pointers(*gradients),
        )
        if absgrad:
            means2d.absgrad = gradients[4]
        wanted = [gradients[i] if ctx.needs_input_grad[i] else None for i in range(4)]
        return (*wanted, None, None, None)


class _Frame:
    """Owns a ``moegs_frame``: what a backward pass knows of its forward pass."""

    def __init__(self) -> None:
        self.pointer = ctypes.c_void_p()

    def __del__(self) -> None:
        if release_frame is not None:  # gone when the interpreter ends
            release_frame(self.pointer)
