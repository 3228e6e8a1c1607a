"""Positions between keyframes: cubic Hermite splines with Catmull-Rom tangents (Ex4DGS, Lee et al. 2024)."""

import torch
from torch import Tensor


def hermite_basis(u: float) -> tuple[float, float, float, float]:
    """Weights of start, tangent at the start, end, tangent at the end, for ``u`` in [0,1] from start to end."""
    return (
        (1 + 2 * u) * (1 - u) ** 2,
        u * (1 - u) ** 2,
        u * u * (3 - 2 * u),
        u * u * (u - 1),
    )


def hermite_weights(u: float) -> tuple[float, float, float, float]:
    """Weights of the four keyframes around a position a share ``u`` in [0,1] of the way between the middle two."""
    start, start_tangent, end, end_tangent = hermite_basis(u)
    return (-start_tangent / 2, start - end_tangent / 2, end + start_tangent / 2, end_tangent / 2)


def keyframe_and_rest(position: float, count: int, margin: int) -> tuple[int, float]:
    """The keyframe before a position and the share of the way to the next, in [0,1].

    Args:
        position: in keyframes.
        count: number of keyframes.
        margin: how many keyframes beyond the two neighbours the interpolation needs on either side.

    Raises:
        ValueError: the neighbours lie outside the keyframes there are.
    """
    keyframe = min(int(position), count - 2 - margin)
    rest = position - keyframe
    if keyframe < margin or not 0 <= rest <= 1:
        raise ValueError(
            f"expected a position from {margin} to {count - 1 - margin} among {count} keyframes, found {position}"
        )
    return keyframe, rest


def keyframed_position(keyframes: Tensor, position: float) -> Tensor:
    """A smooth curve through uniformly spaced keyframes; the tangent at each is half the way between its neighbours.

    Args:
        keyframes: ``[N,K,D]``, K >= 4.
        position: in keyframes, from 1 to K - 2: the curve needs a keyframe more on either side.

    Returns:
        ``[N,D]``; linear in the four keyframes around the position, so a uniform motion is reproduced exactly.
    """
    k, u = keyframe_and_rest(position, keyframes.shape[1], margin=1)
    return torch.einsum("nkd,k->nd", keyframes[:, k - 1 : k + 3], keyframes.new_tensor(hermite_weights(u)))
