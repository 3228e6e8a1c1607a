"""Gaussians with keyframes at an instant by the compiled kernels of ``cuda/cpu_keyframes.h``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense, pointers


class Keyframes(ctypes.Structure):
    """``moegs_keyframes`` of splat_cpu.h; whoever makes one keeps its tensors alive."""

    _fields_ = (
        ("count", ctypes.c_int64),
        ("keyframes", ctypes.c_int32),
        ("keyframe", ctypes.c_int32),
        ("weights", ctypes.c_float * 4),
        ("share", ctypes.c_float),
        ("time", ctypes.c_float),
        ("least_width", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("means", "quats", "centers", "log_widths")),
    )


def keyframes_at(
    tensors: tuple[Tensor, Tensor, Tensor, Tensor],
    keyframe: int,
    weights: Sequence[float],
    share: float,
    time: float,
    least_width: float,
) -> Keyframes:
    """What both directions are told.

    Args:
        tensors: positions ``[N,K,3]``, quaternions of any length ``[N,K,4]``, temporal centres ``[N,2]`` and logs of
            the widths before and after them ``[N,2]``; contiguous float32 on the CPU.
        keyframe: the last one before the instant, from 1 to K - 3.
        weights: of the four keyframes' positions from the one before it.
        share: of the way to the next keyframe, for rotations.
        time: the instant, on the centres' clock.
        least_width: added to the widths.

    Raises:
        ValueError: other tensors, or a keyframe without the neighbours needed.
    """
    count, keyframes = tensors[0].shape[:2]
    if not 1 <= keyframe <= keyframes - 3:
        raise ValueError(f"native keyframes: expected a keyframe from 1 to {keyframes - 3}, found {keyframe}")
    shapes = ((count, keyframes, 3), (count, keyframes, 4), (count, 2), (count, 2))
    names = ("means", "quats", "centers", "log_widths")
    for name, tensor, shape in zip(names, tensors, shapes, strict=True):
        if dense(name, tensor, *shape) is not tensor:
            raise ValueError(f"native keyframes: expected contiguous {name}")
    addresses = (tensor.data_ptr() for tensor in tensors)
    numbers = (ctypes.c_float * 4)(*weights)
    return Keyframes(count, keyframes, keyframe, numbers, share, time, least_width, *addresses)


def keyframes_forward(keyframes: Keyframes, means: Tensor, quats: Tensor, visible: Tensor) -> None:
    """Writes positions ``[N,3]``, unit rotations ``[N,4]`` and visibilities ``[N]`` in (0,1]; contiguous tensors."""
    call(
        "moegs_keyframes_forward",
        ctypes.byref(keyframes),
        ctypes.c_int32(torch.get_num_threads()),
        *pointers(means, quats, visible),
    )


def keyframes_backward(
    keyframes: Keyframes, v_means: Tensor, v_quats: Tensor, v_visible: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the four tensors from those of the results, which are contiguous."""
    count, number = keyframes.count, keyframes.keyframes
    gradients = (
        v_means.new_empty(count, number, 3),
        v_means.new_empty(count, number, 4),
        v_means.new_empty(count, 2),
        v_means.new_empty(count, 2),
    )
    call(
        "moegs_keyframes_backward",
        ctypes.byref(keyframes),
        ctypes.c_int32(torch.get_num_threads()),
        *pointers(v_means, v_quats, v_visible, *gradients),
    )
    return gradients


def mean_reach_native(means: Tensor, reached: int) -> tuple[Tensor, Tensor]:
    """Mean distance of the keyframes 1 to ``reached - 1`` of ``means [N,K,3]`` from keyframe 0, and its gradient; both
    bitwise the same for any number of threads.

    Raises:
        ValueError: another dtype or device, or no such keyframe.
    """
    count, keyframes = means.shape[:2]
    if not (count and 2 <= reached <= keyframes):
        raise ValueError(f"native reach: expected Gaussians and 2 to {keyframes} keyframes, found {count}, {reached}")
    means = dense("means", means, count, keyframes, 3)
    mean, gradient = means.new_empty(()), torch.empty_like(means)
    call(
        "moegs_mean_reach",
        ctypes.c_int64(count),
        *(ctypes.c_int32(number) for number in (keyframes, reached)),
        *pointers(means),
        ctypes.c_int32(torch.get_num_threads()),
        *pointers(mean, gradient),
    )
    return mean, gradient
