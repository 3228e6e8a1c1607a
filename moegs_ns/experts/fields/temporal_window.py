"""Temporal opacity with two centres: fully there between them, fading outside (Ex4DGS, Lee et al. 2024)."""

import torch
from torch import Tensor


def temporal_window(time: float, centers: Tensor, log_widths: Tensor, least_width: float) -> Tensor:
    """1 between the centres; ``exp(-(d / s)^2)`` at a distance d outside, with ``s = exp(log_width) + least_width``.

    The distance is that to the nearest centre. The authors' code takes the other one before both centres, where the
    opacity then jumps; the paper means the nearest.

    Args:
        time: on any clock.
        centers: ``[N,2]`` in any order, on that clock.
        log_widths: ``[N,2]`` logs of the width before the first and after the second centre, same clock.
        least_width: added to the widths.

    Returns:
        ``[N]`` in (0,1].
    """
    before = (centers.amin(dim=1) - time).clamp_min(0)
    after = (time - centers.amax(dim=1)).clamp_min(0)
    distance = torch.stack([before, after], dim=1)
    return torch.exp(-(distance / (torch.exp(log_widths) + least_width)).square().sum(dim=1))
