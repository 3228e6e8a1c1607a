"""Colour that depends on the viewing direction: real spherical harmonics up to degree 3."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from moegs_ns.splats.native_sh import evaluate_sh_native
from moegs_ns.splats.rasterize import takes_native

MAX_DEGREE = 3


def evaluate_sh(degree: int, directions: Tensor, sh: Tensor) -> Tensor:
    """Sums the spherical harmonics series of every Gaussian in its viewing direction.

    The basis and its signs are those of 3D Gaussian Splatting (and gsplat 1.4.0): order within a degree from m = -l to
    l, with the Condon-Shortley phase. The result is the raw sum; colours are it plus 0.5, clamped at 0.

    Args:
        degree: 0 to 3, the degree evaluated.
        directions: [N, 3] from the camera to the Gaussian, any length above zero.
        sh: [N, B, 3] coefficients, B >= (degree + 1)^2; those of higher degrees are not read.

    Returns:
        [N, 3], in the dtype of ``sh``; differentiable in directions and coefficients.

    Raises:
        ValueError: a degree out of range, or shapes that do not fit.
    """
    _expect_shapes(degree, directions, sh)
    if takes_native(sh, directions) and not (directions.requires_grad and torch.is_grad_enabled()):
        return evaluate_sh_native(degree, directions, sh)
    return evaluate_sh_torch(degree, directions, sh)


def _expect_shapes(degree: int, directions: Tensor, sh: Tensor) -> None:
    if not 0 <= degree <= MAX_DEGREE:
        raise ValueError(f"evaluate_sh: expected a degree from 0 to {MAX_DEGREE}, found {degree}")
    num_bases = (degree + 1) ** 2
    if sh.ndim != 3 or sh.shape[1] < num_bases or sh.shape[2] != 3:
        raise ValueError(
            f"evaluate_sh: expected coefficients [N, B, 3] with B >= {num_bases} for degree {degree}, "
            f"found {list(sh.shape)}"
        )
    if tuple(directions.shape) != (sh.shape[0], 3):
        raise ValueError(f"evaluate_sh: expected directions [{sh.shape[0]}, 3], found {list(directions.shape)}")


def view_colors(degree: int, means: Tensor, position: Tensor, sh: Tensor) -> Tensor:
    """``[N, 3]`` colours, at least 0, of Gaussians at ``means [N, 3]`` seen from ``position [3]``.

    Arguments and errors are those of `evaluate_sh`, whose sum plus 0.5 is clamped at 0. Differentiable in ``sh`` only.
    """
    means, position = means.detach(), position.detach()
    if takes_native(sh, means, position):
        _expect_shapes(degree, means, sh)
        return evaluate_sh_native(degree, means, sh, position)
    return (evaluate_sh(degree, means - position, sh) + 0.5).clamp_min(0.0)


def evaluate_sh_torch(degree: int, directions: Tensor, sh: Tensor) -> Tensor:
    """The twin of the compiled kernel; see `evaluate_sh`. Takes every floating dtype and device."""
    if degree == 0:
        return math.sqrt(1 / (4 * math.pi)) * sh[:, 0]
    num_bases = (degree + 1) ** 2
    bases = _bases(degree, torch.nn.functional.normalize(directions, dim=-1))
    return (bases[:, None, :] @ sh[:, :num_bases]).squeeze(1)


def _bases(degree: int, directions: Tensor) -> Tensor:
    """Values [N, (degree + 1)^2] of the basis functions at unit directions [N, 3], degree >= 1."""
    x, y, z = directions.unbind(-1)

    def norm(numerator: int, denominator: int) -> float:
        return math.sqrt(numerator / (denominator * math.pi))

    values = [torch.full_like(x, norm(1, 4))]
    values += [-norm(3, 4) * y, norm(3, 4) * z, -norm(3, 4) * x]
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        values += [
            norm(15, 4) * x * y,
            -norm(15, 4) * y * z,
            norm(5, 16) * (3 * zz - 1),
            -norm(15, 4) * x * z,
            norm(15, 16) * (xx - yy),
        ]
    if degree >= 3:
        values += [
            -norm(35, 32) * y * (3 * xx - yy),
            norm(105, 4) * x * y * z,
            -norm(21, 32) * y * (5 * zz - 1),
            norm(7, 16) * z * (5 * zz - 3),
            -norm(21, 32) * x * (5 * zz - 1),
            norm(105, 16) * z * (xx - yy),
            -norm(35, 32) * x * (xx - 3 * yy),
        ]
    return torch.stack(values, dim=-1)


def sh_from_color(color: Tensor) -> Tensor:
    """Degree-0 coefficient ``[N, 3]`` whose evaluation plus 0.5 is ``color [N, 3]`` in [0, 1]."""
    return (color - 0.5) / math.sqrt(1 / (4 * math.pi))


def sh_tensors(color: Tensor, degree: int) -> dict[str, Tensor]:
    """Raw ``sh_base [N, 3]`` and ``sh_rest [N, B - 1, 3]`` of Gaussians that look ``color [N, 3]`` from everywhere."""
    return {"sh_base": sh_from_color(color), "sh_rest": color.new_zeros(len(color), (degree + 1) ** 2 - 1, 3)}


def joined_sh(base: Tensor, rest: Tensor) -> Tensor:
    """``[N, B, 3]`` all coefficients, of ``sh_base [N, 3]`` and ``sh_rest [N, B - 1, 3]``."""
    return torch.cat([base[:, None, :], rest], dim=1)
