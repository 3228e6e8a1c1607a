"""Raw Gaussians plus changes, and their gradients, by the compiled kernels of ``cuda/cpu_deformed.h``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense

_CHANGED = ("means", "quats", "scales", "opacities", "sh")


def _addresses(names: tuple[str, ...]) -> type[ctypes.Structure]:
    return type("Addresses", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_void_p) for name in names]})


# The structures of splat_cpu.h.
class _Raw(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in (*_CHANGED[:4], "sh_base", "sh_rest", "rows")),
        ("total", ctypes.c_int64),
    )


class _AllGradients(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_void_p) for name in (*_CHANGED[:4], "rows")), ("total", ctypes.c_int64))


_Changes = _addresses(_CHANGED)
_Deformed = _addresses((*_CHANGED, "lengths"))
_RawGradients = _addresses((*_CHANGED[1:4], "sh_base", "sh_rest"))


def _at(structure: type[ctypes.Structure], tensors: Sequence[Tensor | None], *numbers: int) -> ctypes.Structure:
    return structure(*(None if tensor is None else tensor.data_ptr() for tensor in tensors), *numbers)


def deformed_forward(
    raw: Sequence[Tensor], changes: Sequence[Tensor | None], rows: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Activated Gaussians after changes to raw values.

    Args:
        raw: float32 on the CPU, of M Gaussians: means ``[M,3]``, quaternions ``[M,4]``, log scales ``[M,3]``, logits
            ``[M]``, coefficients ``[M,3]`` and ``[M,B-1,3]``.
        changes: what is added to the means, quaternions, log scales, logits and to all coefficients ``[N,B,3]``, as
            many numbers in any shape; or None.
        rows: ``[N]`` int64, ascending, the Gaussians wanted; None for all, N = M.

    Returns:
        Means, unit quaternions, scales, opacities, coefficients ``[N,B,3]``; the quaternions' lengths ``[N]``.

    Raises:
        ValueError: other dtypes, devices or shapes, or rows that do not ascend in [0, M).
    """
    total, bases = len(raw[0]), raw[5].shape[1] + 1
    count = total if rows is None else len(rows)
    shapes = ((3,), (4,), (3,), (), (3,), (bases - 1, 3))
    names = (*_CHANGED[:4], "sh_base", "sh_rest")
    raw = [dense(name, tensor, total, *shape) for name, tensor, shape in zip(names, raw, shapes, strict=True)]
    if rows is not None:
        rows = dense("rows", rows, count, dtype=torch.int64)
    wanted = tuple((count, *shape) for shape in (*shapes[:4], (bases, 3)))
    flat = [
        change if change is None else dense(name, change.reshape(shape), *shape)
        for name, change, shape in zip(_CHANGED, changes, wanted, strict=True)
    ]
    results = [raw[0].new_empty(shape) for shape in (*wanted, (count,))]
    call(
        "moegs_deformed_forward",
        ctypes.c_int64(count),
        ctypes.c_int32(bases),
        ctypes.byref(_at(_Raw, [*raw, rows], total)),
        ctypes.byref(_at(_Changes, flat)),
        ctypes.c_int32(torch.get_num_threads()),
        ctypes.byref(_at(_Deformed, results)),
    )
    results[2].exp_()
    results[3].sigmoid_()
    return tuple(results)


def deformed_backward(
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    lengths: Tensor,
    upstream: Sequence[Tensor],
    rows: Tensor | None = None,
    total: int | None = None,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Gradients of the values before activation.

    Args:
        quats, scales, opacities, lengths: results of `deformed_forward`.
        upstream: contiguous gradients of its first five.
        rows, total: as for `deformed_forward`, whose M is ``total``.

    Returns:
        Gradients of changed means, quaternions, log scales and logits, N rows each; and those of the six raw tensors, M
        rows each, which are 0 for Gaussians that were not wanted. Without ``rows`` the former are among the latter.
    """
    count, bases = upstream[4].shape[:2]
    size = count if rows is None or total is None else total
    rows = None if rows is None else rows.contiguous()
    empty = quats.new_empty if rows is None or count else quats.new_zeros  # the kernel fills gaps beside its rows
    own = (torch.empty_like(quats), torch.empty_like(scales), torch.empty_like(opacities))
    sh_base, sh_rest = empty(size, 3), empty(size, bases - 1, 3)
    changed = (upstream[0], *own)
    every = changed if rows is None else tuple(empty(size, *gradient.shape[1:]) for gradient in changed)
    call(
        "moegs_deformed_backward",
        ctypes.c_int64(count),
        ctypes.c_int32(bases),
        ctypes.byref(_at(_Deformed, (None, quats, scales, opacities, None, lengths))),
        ctypes.byref(_at(_Changes, upstream)),
        ctypes.c_int32(torch.get_num_threads()),
        ctypes.byref(_at(_RawGradients, (*own, sh_base, sh_rest))),
        ctypes.byref(_at(_AllGradients, (*every, rows), size)),
    )
    return changed, (*every, sh_base, sh_rest)
