"""Networks with a trunk and several heads by the compiled kernel of ``cuda/cpu_heads.h``, behind torch's autograd.

The matrices of a deformation network are so narrow that torch's layers, one product and one rectifier after the other,
spend much of their time on memory and on setting up; here a few rows go through all layers while they are in the cache.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_library import call, dense, pointers

_LANES = 16


class _Network(ctypes.Structure):
    """``moegs_heads`` of splat_cpu.h."""

    _fields_ = (
        ("count", ctypes.c_int64),
        ("inputs", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("heads", ctypes.c_int32),
        ("outputs", ctypes.c_void_p),
        ("features", ctypes.c_void_p),
        ("trunk_weight", ctypes.c_void_p),
        ("trunk_bias", ctypes.c_void_p),
        ("parameters", ctypes.c_void_p),
    )


def fits_heads(inputs: int, width: int) -> bool:
    """Whether the kernel takes a network of these sizes."""
    return inputs % _LANES == 0 and width % _LANES == 0


def heads_native(
    features: Tensor, trunk: tuple[Tensor, Tensor], heads: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]]
) -> tuple[Tensor, ...]:
    """``y_h = V_h relu(W_h relu(T x + t) + w_h) + v_h`` of rows x, for every head; differentiable in everything.

    Values and gradients are bitwise the same for any number of threads.

    Args:
        features: ``[N, I]`` float32 on the CPU.
        trunk: ``T [W, I]`` and ``t [W]``; I and W multiples of 16 (`fits_heads`).
        heads: ``W_h [W, W]``, ``w_h [W]``, ``V_h [O_h, W]`` and ``v_h [O_h]`` of each.

    Returns:
        ``[N, O_h]`` of each head.

    Raises:
        ValueError: other tensors or sizes.
    """
    if not heads:
        return ()
    width, inputs = trunk[0].shape
    if not fits_heads(inputs, width):
        raise ValueError(
            f"native heads: expected a network whose inputs and width are multiples of {_LANES}, found {inputs} and "
            f"{width}; evaluate it in torch"
        )
    checked = [dense("features", features, len(features), inputs)]
    checked += [dense("trunk weight", trunk[0], width, inputs), dense("trunk bias", trunk[1], width)]
    for hidden_weight, hidden_bias, weight, bias in heads:
        outputs = len(weight)
        checked += [dense("hidden weight", hidden_weight, width, width), dense("hidden bias", hidden_bias, width)]
        checked += [dense("weight", weight, outputs, width), dense("bias", bias, outputs)]
    result: tuple[Tensor, ...] = _Heads.apply(torch.is_grad_enabled(), *checked)
    return result


class _Heads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keep: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        features, trunk_weight = tensors[:2]
        count, width = len(features), len(trunk_weight)
        values = tuple(features.new_empty(count, len(weight)) for weight in tensors[5::4])
        # What the rectifiers let through is for the way back only.
        trunk_hidden = features.new_empty(count, width) if keep else None
        head_hidden = features.new_empty(len(values), count, width) if keep else None
        call(
            "moegs_heads_forward",
            _network(tensors),
            ctypes.c_int32(torch.get_num_threads()),
            _addresses(values),
            *pointers(trunk_hidden, head_hidden),
        )
        if keep:
            ctx.save_for_backward(*tensors, trunk_hidden, head_hidden)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        *tensors, trunk_hidden, head_hidden = ctx.saved_tensors
        dense_upstream = [None if v is None else v.contiguous() for v in upstream]
        v_features = torch.empty_like(tensors[0]) if ctx.needs_input_grad[1] else None
        sizes = [tensor.numel() for tensor in tensors[1:]]
        v_parameters = tensors[0].new_empty(sum(sizes))
        call(
            "moegs_heads_backward",
            _network(tensors),
            *pointers(trunk_hidden, head_hidden),
            _addresses(dense_upstream),
            ctypes.c_int32(torch.get_num_threads()),
            *pointers(v_features, v_parameters),
        )
        pieces = v_parameters.split(sizes)
        shaped = [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors[1:], strict=True)]
        return None, v_features, *shaped


def _network(tensors: Sequence[Tensor]) -> Any:
    """The structure by reference; ctypes keeps what it points to alive, but for the tensors."""
    features, trunk_weight, trunk_bias, *parameters = tensors
    outputs = (ctypes.c_int32 * (len(parameters) // 4))(*(len(weight) for weight in parameters[2::4]))
    network = _Network(
        len(features),
        features.shape[1],
        len(trunk_weight),
        len(outputs),
        ctypes.addressof(outputs),
        features.data_ptr(),
        trunk_weight.data_ptr(),
        trunk_bias.data_ptr(),
    )
    addresses = _addresses(parameters)
    network.parameters = ctypes.addressof(addresses)
    network.kept = (outputs, addresses)
    return ctypes.byref(network)


def _addresses(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    """An array of addresses; null for None."""
    return (ctypes.c_void_p * len(tensors))(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))
