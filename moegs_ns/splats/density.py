"""Which Gaussians to grow and which to drop: selection rules shared by the experts' density control."""

import torch
from torch import Tensor


def limit_growth(gradient: Tensor, threshold: float, count: int, limit: int | None) -> Tensor:
    """Mask of the Gaussians to clone or split.

    Cloning and splitting one Gaussian both add one. Where all above the threshold would exceed the limit, those with
    the largest gradients win.

    Args:
        gradient: ``[N]`` mean screen-space gradient.
        threshold: grow above this value.
        count: present number of Gaussians.
        limit: largest number allowed, or None.

    Returns:
        ``[N]`` bool.
    """
    mask = gradient > threshold
    if limit is None:
        return mask
    room = max(0, limit - count)
    if int(mask.sum()) <= room:
        return mask
    chosen = torch.topk(torch.where(mask, gradient, torch.zeros_like(gradient)), room).indices
    limited = torch.zeros_like(mask)
    limited[chosen] = True
    return limited


def outside_bounds(points: Tensor, bounds: Tensor) -> Tensor:
    """``[N]`` bool: points ``[N,3]`` outside the box ``bounds [2,3]`` (lower corner, upper corner)."""
    return ((points < bounds[0]) | (points > bounds[1])).any(dim=-1)
