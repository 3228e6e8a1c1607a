"""Projection of 3D Gaussians to the image: the shared types and the torch twin.

The affine (EWA) approximation of Zwicker et al. 2001 as 3D Gaussian Splatting uses it, with the numeric rules of
gsplat: screen blur ``eps2d``, clamped viewing directions, culling; extents as in ``ProjectionSettings.conventions``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moegs_ns.splats.conventions import GSPLAT_1_4, Conventions

# The Jacobian of the projection is evaluated at most this share of the half field of view outside the image.
_VIEW_MARGIN = 0.3
# Largest float32 that an int32 still holds.
_MAX_RADIUS = 2147483520.0
_LARGEST_SCALE = 1e15  # beyond it every Gaussian before the camera is culled for its size
_LARGEST_VARIANCE = 1e18  # square pixels; as in cuda/cpu_projection.h and cuda/mixture_projection.h


@dataclass(frozen=True)
class ProjectionSettings:
    """How Gaussians reach the screen. Experts with equal settings are projected together.

    Raises:
        ValueError: a value outside its range.
    """

    eps2d: float = 0.3
    """Variance in square pixels added to both axes of every projected Gaussian (>= 0)."""
    antialiased: bool = False
    """Lower the opacity of blurred Gaussians so that they keep their energy (Mip-Splatting's 2D filter)."""
    near: float = 0.01
    """Gaussians with z-depth < near are culled (world units, > 0)."""
    far: float = 1e10
    """Gaussians with z-depth > far are culled (world units)."""
    radius_clip: float = 0.0
    """Gaussians whose radius is <= this many pixels are culled."""
    conventions: Conventions = GSPLAT_1_4
    """How far a Gaussian reaches. On CUDA the installed gsplat has the say, and this is not read."""

    def __post_init__(self) -> None:
        if not 0.0 < self.near < self.far:
            raise ValueError(f"ProjectionSettings: expected 0 < near < far, found near={self.near}, far={self.far}")
        if self.eps2d < 0.0 or self.radius_clip < 0.0:
            raise ValueError(
                f"ProjectionSettings: expected eps2d >= 0 and radius_clip >= 0, "
                f"found eps2d={self.eps2d}, radius_clip={self.radius_clip}"
            )


#: How standard viewers of 3D Gaussian Splatting files project (gsplat's "classic" mode): a blur of 0.3 square pixels,
#: without compensation, and nothing culled but what lies behind the camera.
VIEWER_SETTINGS = ProjectionSettings(eps2d=0.3, antialiased=False, near=0.01)


@dataclass(frozen=True, eq=False)
class Projected:
    """Gaussians on the screen. Rows with radius 0 are culled: their other entries are finite but mean nothing."""

    means2d: Tensor
    """[N, 2] centres in pixels; the centre of the top left pixel is (0.5, 0.5)."""
    depths: Tensor
    """[N] z-depth, world units."""
    conics: Tensor
    """[N, 3] inverse 2D covariance (xx, xy, yy), per square pixel."""
    compensations: Tensor
    """[N] factor on the opacity: in [0, 1] when antialiased, ones otherwise."""
    radii: Tensor
    """[N] int32, (longer) half side in pixels of the extent, by the settings' conventions; 0 = culled."""


class _Compensation(torch.autograd.Function):
    """sqrt(max(ratio, 0)) with gsplat 1.4.0's gradient 0.5 / (value + 1e-6), which stays finite at zero.

    For values above 1/255, all that can reach a pixel, it differs from the true derivative by less than 0.03 %.
    """

    @staticmethod
    def forward(ctx, ratio: Tensor) -> Tensor:
        value = ratio.clamp(min=0.0).sqrt()
        ctx.save_for_backward(value)
        return value

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return gradient * 0.5 / (value + 1e-6)


def rotation_matrices(quats: Tensor) -> Tensor:
    """Rotation matrices [N, 3, 3] of quaternions [N, 4] (w, x, y, z), which need not be normalised."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _clamped_slope(slope: Tensor, focal: Tensor, centre: Tensor, size: int) -> Tensor:
    """Viewing direction x/z (or y/z) limited to the image's borders plus a margin.

    The borders follow the principal point, so an off-centre camera is treated fairly on both sides.
    """
    margin = _VIEW_MARGIN * 0.5 * size / focal
    return slope.clamp(min=-(centre / focal + margin), max=(size - centre) / focal + margin)


def _extent(xx: Tensor, yy: Tensor, determinant: Tensor, conventions: Conventions) -> tuple[Tensor, Tensor]:
    """Half sides [N] in whole pixels, across and down, of what covariances with these entries reach."""
    if conventions.per_axis:
        variances = (xx, yy)
    else:
        half_trace = 0.5 * (xx + yy)
        largest_variance = half_trace + (half_trace * half_trace - determinant).clamp(min=0.01).sqrt()
        variances = (largest_variance, largest_variance)
    reach_x, reach_y = ((conventions.sigmas * v.sqrt()).ceil().clamp(max=_MAX_RADIUS) for v in variances)
    return reach_x, reach_y


def project_torch(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    settings: ProjectionSettings,
) -> Projected:
    """Projects Gaussians with plain torch operations, in the dtype of ``means``; differentiable by autograd.

    Args:
        means: [N, 3] world positions.
        quats: [N, 4] (w, x, y, z), normalised here.
        scales: [N, 3] standard deviations.
        viewmat: [4, 4] world-to-camera, OpenCV axes.
        K: [3, 3] pinhole intrinsics in pixels, no skew.
        width: image width in pixels.
        height: image height in pixels.
        settings: blur, antialiasing and culling.

    Returns:
        The projected Gaussians. Gradients with respect to means, quats and scales match gsplat's, culled
        Gaussians receive none.
    """
    viewmat, K = viewmat.to(means), K.to(means)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    world_to_camera = viewmat[:3, :3]

    # Not a matrix product: BLAS may round a row differently depending on how many rows there are, and then an
    # expert's image would depend on which experts it is rendered with.
    x, y, z = ((means[:, None, :] * world_to_camera).sum(dim=-1) + viewmat[:3, 3]).unbind(-1)
    in_range = (z >= settings.near) & (z <= settings.far)
    # Culled rows go on with a harmless depth: masking their results later would not keep NaN out of gradients.
    z = torch.where(in_range, z, 1.0)

    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)

    zero = torch.zeros_like(z)
    slope_x = _clamped_slope(x / z, fx, cx, width)
    slope_y = _clamped_slope(y / z, fy, cy, height)
    jacobian = torch.stack([fx / z, zero, -fx * slope_x / z, zero, fy / z, -fy * slope_y / z], dim=-1).view(-1, 2, 3)
    scales = scales.clamp(max=_LARGEST_SCALE)  # so that zero gradients of culled rows meet no infinity
    to_screen = jacobian @ (world_to_camera.expand(len(z), 3, 3) @ (rotation_matrices(quats) * scales[:, None, :]))
    covariance = to_screen @ to_screen.mT
    xx, xy, yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]

    sharp_determinant = xx * yy - xy * xy
    xx, yy = xx + settings.eps2d, yy + settings.eps2d
    determinant = xx * yy - xy * xy
    # A Gaussian a billion pixels wide is an even veil at best, and float no longer holds the square of its variance.
    invertible = (determinant > 0) & (xx + yy < _LARGEST_VARIANCE)
    determinant = torch.where(invertible, determinant, 1.0)
    sharp_determinant = torch.where(invertible, sharp_determinant, 1.0)
    xx, xy, yy = (torch.where(invertible, entry, 1.0) for entry in (xx, xy, yy))
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinant[:, None]
    compensations = _Compensation.apply(sharp_determinant / determinant) if settings.antialiased else torch.ones_like(z)

    with torch.no_grad():
        reach_x, reach_y = _extent(xx, yy, determinant, settings.conventions)
        radius = torch.maximum(reach_x, reach_y)
        u, v = means2d.unbind(-1)
        on_screen = (u + reach_x > 0) & (u - reach_x < width) & (v + reach_y > 0) & (v - reach_y < height)
        visible = in_range & invertible & on_screen & (radius > settings.radius_clip)
        radii = torch.where(visible, radius, 0.0).to(torch.int32)

    # Autograd still walks through culled rows; cutting them here gives them exact zero gradients.
    keep = visible[:, None]
    return Projected(
        means2d=torch.where(keep, means2d, 0.0),
        depths=torch.where(visible, z, 0.0),
        conics=torch.where(keep, conics, 0.0),
        compensations=torch.where(visible, compensations, 0.0) if settings.antialiased else compensations,
        radii=radii,
    )
