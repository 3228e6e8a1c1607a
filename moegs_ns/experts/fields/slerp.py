"""Rotations between keyframes: spherical linear interpolation (Shoemake 1985; Ex4DGS, Lee et al. 2024)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from moegs_ns.experts.fields.hermite import keyframe_and_rest

# Closer than this, arc and chord agree to float32 precision, and gradients through acos and sin would lose theirs.
_LARGEST_COSINE = 1 - 1e-4


def slerp(first: Tensor, second: Tensor, u: float) -> Tensor:
    """The rotation a share ``u`` in [0,1] of the way from one to another, along the shorter arc.

    ``q`` and ``-q`` are the same rotation: the second quaternion's sign is chosen to be on the first one's side.

    Args:
        first, second: ``[N,4]`` unit quaternions.

    Returns:
        ``[N,4]`` unit quaternions.
    """
    cosine = (first * second).sum(dim=-1, keepdim=True)
    second = torch.where(cosine < 0, -second, second)
    angle = torch.acos(cosine.abs().clamp_max(_LARGEST_COSINE))
    sine = torch.sin(angle)
    close = cosine.abs() > _LARGEST_COSINE
    of_first = torch.where(close, 1 - u, torch.sin((1 - u) * angle) / sine)
    of_second = torch.where(close, u, torch.sin(u * angle) / sine)
    return F.normalize(of_first * first + of_second * second, dim=-1)


def keyframed_rotation(keyframes: Tensor, position: float) -> Tensor:
    """Unit quaternions ``[N,4]`` between uniformly spaced keyframes.

    Args:
        keyframes: ``[N,K,4]`` quaternions of any length, K >= 2.
        position: in keyframes, from 0 to K - 1.
    """
    k, u = keyframe_and_rest(position, keyframes.shape[1], margin=0)
    first, second = F.normalize(keyframes[:, k : k + 2], dim=-1).unbind(1)
    return slerp(first, second, u)
