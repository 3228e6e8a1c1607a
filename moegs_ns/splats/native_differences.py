"""Mean distance between neighbours' rows by the compiled kernel of ``cuda/cpu_differences.h``."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense, pointers


def mean_difference_native(
    rows: Tensor, index: Tensor, weight: Tensor, order: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean over the edges of a graph of ``sqrt(w |z_i - z_j|^2 + 1e-20)``, and its gradient.

    Both are bitwise the same for any number of threads.

    Args:
        rows: ``[N,S]`` float32 on the CPU, z.
        index: ``[N,k]`` int64, the nodes that each node's edges lead to, in [0, N).
        weight: ``[N,k]`` of each edge, w.
        order: ``[N*k]`` int64, edges sorted by the node they lead to.
        starts: ``[N]`` int64, where each node's begin in ``order``.

    Returns:
        Scalar mean, and its gradient ``[N,S]`` with respect to ``rows``.

    Raises:
        ValueError: other dtypes, devices or shapes.
    """
    (count, neighbors), size = index.shape, rows.shape[1]
    mean, gradient = rows.new_empty(()), torch.empty_like(rows, memory_format=torch.contiguous_format)
    graph = (
        dense("rows", rows, count, size),
        dense("index", index, count, neighbors, dtype=torch.int64),
        dense("weight", weight, count, neighbors),
        dense("order", order, count * neighbors, dtype=torch.int64),
        dense("starts", starts, count, dtype=torch.int64),
    )
    call(
        "moegs_mean_difference",
        ctypes.c_int64(count),
        *(ctypes.c_int32(number) for number in (neighbors, size)),
        *pointers(*graph),
        ctypes.c_int32(torch.get_num_threads()),
        *pointers(mean, gradient),
    )
    return mean, gradient
