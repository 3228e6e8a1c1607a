"""Temporal radial basis: how strongly a Gaussian is there at a time (STG, Li et al. 2024, Eq. 7)."""

import torch
from torch import Tensor


def temporal_rbf(offset: Tensor, log_scale: Tensor) -> Tensor:
    """``exp(-(d / s)^2)`` with ``s = exp(log_scale)``; no factor 1/2, so the standard deviation is ``s / sqrt(2)``.

    Args:
        offset: ``[N]`` time since the temporal centre, d.
        log_scale: ``[N]`` log of the width s, same clock as ``offset``.

    Returns:
        ``[N]`` in (0, 1], 1 at the centre.
    """
    return torch.exp(-((offset * torch.exp(-log_scale)) ** 2))
