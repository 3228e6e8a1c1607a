"""gsplat's own torch functions, the oracle nobody here wrote, behind the calls that its releases have in common.

Releases from 1.5 on count half sides per axis; here a radius is one number per Gaussian, the longer half side.
"""

from __future__ import annotations

import gsplat
import torch
from gsplat.cuda._torch_impl import (
    _fully_fused_projection,
    _isect_offset_encode,
    _isect_tiles,
    _persp_proj,
    _quat_scale_to_covar_preci,
    _world_to_cam,
)
from torch import Tensor

from moegs_ns.splats.conventions import conventions_of_gsplat

PROFILE = conventions_of_gsplat(gsplat.__version__)
"""The numeric rules of the installed release."""

encode_offsets = _isect_offset_encode


def covariances_of(quats: Tensor, scales: Tensor) -> Tensor:
    """[N, 3, 3] of quaternions [N, 4] and standard deviations [N, 3]."""
    return _quat_scale_to_covar_preci(quats, scales, compute_preci=False)[0]


def fully_fused_projection(*arguments: object, **keywords: object) -> tuple[Tensor, ...]:
    """Radii [1, N] and the other results of gsplat's function of the same name, for one camera."""
    radii, *others = _fully_fused_projection(*arguments, **keywords)
    return (radii.amax(dim=-1) if PROFILE.per_axis else radii, *others)


def on_screen(
    means: Tensor, covariances: Tensor, viewmats: Tensor, Ks: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor]:
    """Centres [1, N, 2] and covariances [1, N, 2, 2] on the screen, without blur."""
    return _persp_proj(*_world_to_cam(means, covariances, viewmats), Ks, width, height)


def intersect(
    means2d: Tensor, radii: Tensor, depths: Tensor, tile_size: int, across: int, down: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Tiles per Gaussian, and sort keys and rows of all (Gaussian, tile) pairs, of I images.

    Args:
        means2d: [I, N, 2].
        radii: [I, N].
        depths: [I, N].
        tile_size: in pixels.
        across: tiles.
        down: tiles.

    Returns:
        Counts [I, N]; keys and rows in stable order of the keys, as the kernels sort (torch's default is not stable).
    """
    if PROFILE.per_axis:
        radii = radii[..., None].expand(*radii.shape, 2)
    counts, keys, rows = _isect_tiles(means2d, radii, depths, tile_size, across, down, sort=False)
    keys, order = torch.sort(keys, stable=True)
    return counts, keys, rows[order]
