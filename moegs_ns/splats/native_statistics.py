"""Screen-space gradients added up for density control by the compiled kernel of ``cuda/cpu_statistics.h``."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense, pointers


def add_gradients_native(
    sums: Tensor,
    counts: Tensor,
    means2d_gradient: Tensor,
    visible: Tensor,
    width: int,
    height: int,
    rows: Tensor | None,
) -> None:
    """Add to ``sums [M]`` the lengths of the visible Gaussians' gradients in half-image units, to ``counts [M]`` one.

    Args:
        sums, counts: contiguous float32 on the CPU, changed in place.
        means2d_gradient: ``[N,2]`` per pixel.
        visible: ``[N]`` bool.
        width, height: image size in pixels.
        rows: ``[N]`` int64, ascending, where the Gaussians stand among the M; None for all, N = M.

    Raises:
        ValueError: other gradients or rows.
    """
    total = len(sums)
    count = total if rows is None else len(rows)
    # Held by names until the call returns: the kernel reads raw addresses, which keep no copy alive.
    rows = None if rows is None else dense("rows", rows, count, dtype=torch.int64)
    gradient = dense("means2d_gradient", means2d_gradient, count, 2)
    visible = dense("visible", visible, count, dtype=torch.bool)
    call(
        "moegs_add_gradients",
        ctypes.c_int64(count),
        *pointers(rows),
        ctypes.c_int64(total),
        *pointers(gradient, visible),
        ctypes.c_float(width / 2),
        ctypes.c_float(height / 2),
        ctypes.c_int32(torch.get_num_threads()),
        *pointers(sums, counts),
    )
