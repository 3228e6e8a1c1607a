"""Which spacetime Gaussians turn over time and which do not, settled late in STG's training on Neural 3D Video.

The authors keep rates of rotation only where a Gaussian is fast, middle-sized and opaque, and set all others to 0. From
then on those that turn learn nothing but their rate, the others nothing but their rotation. A rate that is exactly 0
*is* the mark of a Gaussian that does not turn: it gets no gradient and, its optimizer moments being cleared, stays 0.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from moegs_ns.splats.gaussian_set import GaussianSet


@torch.no_grad()
def settle_turning(
    gaussians: GaussianSet,
    optimizers: Mapping[str, Optimizer],
    speed: float,
    sizes: tuple[float, float] | None,
    opacity: float,
) -> None:
    """Set the rates of rotation of all Gaussians to 0 that do not qualify.

    Args:
        gaussians: with ``motion``, ``scales``, ``opacities`` and ``rotation_rate``.
        optimizers: by tensor name.
        speed: those qualify whose linear motion, summed over the axes, is above this (world units per clip),
        sizes: whose largest scale is strictly between these (world units; None: any),
        opacity: and whose opacity is above this.
    """
    turning = (gaussians["motion"][:, :3].abs().sum(dim=-1) > speed) & (torch.sigmoid(gaussians["opacities"]) > opacity)
    if sizes is not None:
        size = torch.exp(gaussians["scales"]).amax(dim=-1)
        turning &= (size > sizes[0]) & (size < sizes[1])
    rates = gaussians["rotation_rate"]
    rates[~turning] = 0
    for name, moment in optimizers["rotation_rate"].state[rates].items():
        if name != "step":
            moment[~turning] = 0


def learning_rotation(quats: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
    """The same rotations ``[N,4]`` and rates ``[N,4]``, of each Gaussian only one of the two with a gradient."""
    turning = (rates != 0).any(dim=-1, keepdim=True)
    return torch.where(turning, quats.detach(), quats), torch.where(turning, rates, rates.detach())
