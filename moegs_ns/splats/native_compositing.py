"""Compositing by the compiled kernels of ``cuda/``, behind torch's autograd.

A call keeps its state in its own ``moegs_frame``: a viewer and a trainer may render at once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense, loaded_library, pointers, release_frame
from moegs_ns.splats.native_projection import rows_of_parts


class _Part(ctypes.Structure):
    """``moegs_part`` of splat_cpu.h."""

    _fields_ = (("count", ctypes.c_int64), ("opacities", ctypes.c_void_p), ("values", ctypes.c_void_p))


class _Parts(ctypes.Structure):
    """``moegs_parts`` of splat_cpu.h."""

    _fields_ = (
        ("parts", ctypes.c_int32),
        ("blocks", ctypes.c_int32),
        ("part", ctypes.c_void_p),
        ("widths", ctypes.c_void_p),
    )


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
    if channels.ndim != 2 or channels.shape[1] < 1:
        raise ValueError(f"native rasterizer: expected channels [N, C] with C >= 1, found {list(channels.shape)}")
    count, ids = means2d.shape[0], None
    if num_experts > 1:
        ids = dense("expert_ids", expert_ids.to(torch.int32), count, dtype=torch.int32)
    order = (dense("depths", depths.detach(), count), dense("radii", radii, count, dtype=torch.int32), ids)
    size = _image_size(num_experts, width, height)
    return _Composite.apply(order, size, absgrad, (channels.shape[1],), means2d, conics, opacities, channels)


def composite_parts(
    means2d: Tensor,
    conics: Tensor,
    opacities: Sequence[Tensor],
    channels: Sequence[Sequence[Tensor]],
    depths: Tensor,
    radii: Tensor,
    width: int,
    height: int,
) -> tuple[Tensor, Tensor]:
    """`composite` of experts whose opacities and channels lie in several places, read where they are.

    Args:
        means2d, conics, depths, radii: of all Gaussians, expert after expert.
        opacities: ``[N_k]`` of each expert.
        channels: per expert its blocks ``[N_k, C_b]``, side by side a Gaussian's channels; blocks are as wide in all
            experts.
        width, height: of the image in pixels.

    Returns:
        images ``[K,H,W,C]`` and alphas ``[K,H,W]``.

    Raises:
        ValueError: as `composite`.
    """
    count = means2d.shape[0]
    widths = tuple(block.shape[1] for block in channels[0])
    if sum(widths) < 1:
        raise ValueError("native rasterizer: expected at least one channel, found none")
    order = (dense("depths", depths.detach(), count), dense("radii", radii, count, dtype=torch.int32), None)
    blocks = [block for own in channels for block in own]
    size = _image_size(len(opacities), width, height)
    return _Composite.apply(order, size, False, widths, means2d, conics, *opacities, *blocks)


def count_intersections(images: Tensor) -> int:
    """Number of (Gaussian, tile) pairs behind ``composite``'s images, for benchmarks.

    Raises:
        ValueError: the images are not directly what ``composite`` returned, or were made without gradients.
    """
    frame = getattr(images.grad_fn, "frame", None)
    if frame is None:
        raise ValueError("count_intersections: expected images straight from composite() with gradients enabled")
    return int(loaded_library().moegs_frame_intersections(frame.pointer))


def _image_size(num_experts: int, width: int, height: int) -> tuple[int, int, int]:
    if width < 1 or height < 1 or num_experts < 1:
        raise ValueError(
            f"native rasterizer: expected at least one pixel and one expert, found {width}x{height} and {num_experts}"
        )
    return num_experts, width, height


class _Composite(torch.autograd.Function):
    """Of P parts with B blocks of channels each: takes means2d, conics, P opacities and P times B blocks."""

    @staticmethod
    def forward(
        ctx: Any,
        order: tuple[Tensor, Tensor, Tensor | None],
        size: tuple[int, int, int],
        absgrad: bool,
        widths: tuple[int, ...],
        means2d: Tensor,
        conics: Tensor,
        *parts: Tensor,
    ) -> tuple[Tensor, Tensor]:
        num_experts, width, height = size
        count, blocks = means2d.shape[0], len(widths)
        num_parts = len(parts) // (1 + blocks)
        rows = rows_of_parts([opacities.shape[0] for opacities in parts[:num_parts]])
        if rows[-1].stop != count:
            raise ValueError(
                f"native rasterizer: expected opacities of {count} Gaussians, found those of {rows[-1].stop}"
            )
        geometry = (dense("means2d", means2d, count, 2), dense("conics", conics, count, 3))
        opacities = [
            dense("opacities", one, own.stop - own.start) for one, own in zip(parts[:num_parts], rows, strict=True)
        ]
        values = [
            dense("channels", block, own.stop - own.start, block_width)
            for block, (own, block_width) in zip(parts[num_parts:], product(rows, widths), strict=True)
        ]
        images = means2d.new_empty(num_experts, height, width, sum(widths))
        alphas = means2d.new_empty(num_experts, height, width)
        frame = _Frame()
        described = _describe_parts(opacities, values, widths)
        call(
            "moegs_composite_forward",
            ctypes.byref(described[0]),
            *(ctypes.c_int32(value) for value in size),
            *pointers(*geometry, *order),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(images, alphas),
            ctypes.byref(frame.pointer) if any(ctx.needs_input_grad) else None,
        )
        ctx.frame, ctx.absgrad = frame, absgrad
        ctx.rows, ctx.widths = rows, widths
        # Kept only to hang `absgrad` on it: a saved input comes back as the very object the caller holds.
        ctx.save_for_backward(means2d)
        ctx.set_materialize_grads(False)
        return images, alphas

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v_images: Tensor | None, v_alphas: Tensor | None) -> tuple[Tensor | None, ...]:
        (means2d,) = ctx.saved_tensors
        rows, widths, needs = ctx.rows, ctx.widths, ctx.needs_input_grad[4:]
        first_block = 2 + len(rows)
        geometry, channels = any(needs[:first_block]), any(needs[first_block:])
        absgrad = ctx.absgrad and needs[0]
        count = means2d.shape[0]

        def gradient(wanted: bool, *shape: int) -> Tensor | None:
            return means2d.new_empty(shape) if wanted else None

        v_means2d, v_conics, v_opacities, v_channels, v_abs_means2d = gradients = (
            gradient(geometry, count, 2),
            gradient(geometry, count, 3),
            gradient(geometry, count),
            gradient(channels, count, sum(widths)),
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
            means2d.absgrad = v_abs_means2d
        of_parts: list[Tensor | None] = [None if v_opacities is None else v_opacities[own] for own in rows]
        for own, columns in product(rows, rows_of_parts(widths)):
            of_parts.append(None if v_channels is None else v_channels[own, columns])
        found = [v_means2d, v_conics, *of_parts]
        wanted = [one if needed else None for one, needed in zip(found, needs, strict=True)]
        return (None, None, None, None, *wanted)


def _describe_parts(
    opacities: Sequence[Tensor], values: Sequence[Tensor], widths: Sequence[int]
) -> tuple[_Parts, list[Any]]:
    """The C description of parts, and what must be held on to as long as it is used."""
    blocks = len(widths)
    tables = [
        (ctypes.c_void_p * blocks)(*(block.data_ptr() for block in values[first : first + blocks]))
        for first in range(0, len(values), blocks)
    ]
    parts = (_Part * len(opacities))(
        *(
            _Part(one.shape[0], one.data_ptr(), ctypes.addressof(table))
            for one, table in zip(opacities, tables, strict=True)
        )
    )
    all_widths = (ctypes.c_int32 * blocks)(*widths)
    described = _Parts(len(parts), blocks, ctypes.addressof(parts), ctypes.addressof(all_widths))
    return described, [tables, parts, all_widths]


class _Frame:
    """Owns a ``moegs_frame``: what a backward pass knows of its forward pass."""

    def __init__(self) -> None:
        self.pointer = ctypes.c_void_p()

    def __del__(self) -> None:
        if release_frame is not None:  # gone when the interpreter ends
            release_frame(self.pointer)
