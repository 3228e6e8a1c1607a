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
_Raw = _addresses((*_CHANGED[:4], "sh_base", "sh_rest"))
_Changes = _addresses(_CHANGED)
_Deformed = _addresses((*_CHANGED, "lengths"))
_RawGradients = _addresses((*_CHANGED[1:4], "sh_base", "sh_rest"))


def _at(structure: type[ctypes.Structure], tensors: Sequence[Tensor | None]) -> ctypes.Structure:
    return structure(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))


def deformed_forward(raw: Sequence[Tensor], changes: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """Activated Gaussians after changes to raw values.

    Args:
        raw: float32 on the CPU: means ``[N,3]``, quaternions ``[N,4]``, log scales ``[N,3]``, logits ``[N]``,
            coefficients ``[N,3]`` and ``[N,B-1,3]``.
        changes: what is added to the means, quaternions, log scales, logits and to all coefficients ``[N,B,3]``, as
            many numbers in any shape; or None.

    Returns:
        Means, unit quaternions, scales, opacities, coefficients ``[N,B,3]``; the quaternions' lengths ``[N]``.

    Raises:
        ValueError: other dtypes, devices or shapes.
    """
    count, bases = len(raw[0]), raw[5].shape[1] + 1
    shapes = ((count, 3), (count, 4), (count, 3), (count,), (count, 3), (count, bases - 1, 3))
    names = (*_CHANGED[:4], "sh_base", "sh_rest")
    raw = [dense(name, tensor, *shape) for name, tensor, shape in zip(names, raw, shapes, strict=True)]
    wanted = (*shapes[:4], (count, bases, 3))
    flat = [
        change if change is None else dense(name, change.reshape(shape), *shape)
        for name, change, shape in zip(_CHANGED, changes, wanted, strict=True)
    ]
    results = [raw[0].new_empty(shape) for shape in (*wanted, (count,))]
    call(
        "moegs_deformed_forward",
        ctypes.c_int64(count),
        ctypes.c_int32(bases),
        ctypes.byref(_at(_Raw, raw)),
        ctypes.byref(_at(_Changes, flat)),
        ctypes.c_int32(torch.get_num_threads()),
        ctypes.byref(_at(_Deformed, results)),
    )
    results[2].exp_()
    results[3].sigmoid_()
    return tuple(results)


def deformed_backward(
    quats: Tensor, scales: Tensor, opacities: Tensor, lengths: Tensor, upstream: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of raw quaternions, log scales, logits and of the two tensors of coefficients.

    Args:
        quats, scales, opacities, lengths: results of `deformed_forward`.
        upstream: contiguous gradients of its first five.
    """
    count, bases = upstream[4].shape[:2]
    gradients = (
        torch.empty_like(quats),
        torch.empty_like(scales),
        torch.empty_like(opacities),
        quats.new_empty(count, 3),
        quats.new_empty(count, bases - 1, 3),
    )
    call(
        "moegs_deformed_backward",
        ctypes.c_int64(count),
        ctypes.c_int32(bases),
        ctypes.byref(_at(_Deformed, (None, quats, scales, opacities, None, lengths))),
        ctypes.byref(_at(_Changes, upstream)),
        ctypes.c_int32(torch.get_num_threads()),
        ctypes.byref(_at(_RawGradients, gradients)),
    )
    return gradients
