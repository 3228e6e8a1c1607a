"""What a new Gaussian is like in every family: round, upright and faint."""

import torch
from torch import Tensor

_OPACITY = 0.1


def new_gaussians(points: Tensor, log_scales: Tensor) -> dict[str, Tensor]:
    """Raw ``means [N,3]``, ``scales [N,3]``, ``quats [N,4]`` (no rotation) and ``opacities [N]`` (of 0.1).

    Args:
        points: ``[N,3]`` world units.
        log_scales: ``[N]`` log of the standard deviation in every direction.
    """
    count, device = len(points), points.device
    return {
        "means": points,
        "scales": log_scales[:, None].repeat(1, 3),
        "quats": torch.tensor([1.0, 0.0, 0.0, 0.0], device=device).repeat(count, 1),
        "opacities": torch.logit(torch.full((count,), _OPACITY, device=device)),
    }
