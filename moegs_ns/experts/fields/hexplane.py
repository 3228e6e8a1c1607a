"""HexPlane: a space-time feature grid factored into six planes (Cao & Johnson 2023; as used by Wu et al. 2024)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moegs_ns.splats.native_planes import plane_features_native
from moegs_ns.splats.rasterize import takes_native

# Pairs of space axes of the three spatial planes; each temporal plane pairs one axis with time.
_SPATIAL_PAIRS = ((0, 1), (0, 2), (1, 2))


class HexPlane(nn.Module):
    """Features of space-time points: product over six bilinearly sampled planes, concatenated over levels.

    Time is mapped onto all ``time_resolution`` rows. The authors' code feeds t in [0,1) to a lookup that spans [-1,1],
    so it reads only the upper half of its rows; half as many rows here give the same temporal resolution.

    Args:
        bounds: ``[2,3]`` lower and upper corner of the region covered; points outside take the border's features.
        channels: features per level, C.
        resolution: cells per space axis at the first level.
        multipliers: factor on ``resolution`` per level; the time resolution is the same for all levels.
        time_resolution: rows along time.
    """

    bounds: Tensor

    def __init__(
        self, bounds: Tensor, channels: int, resolution: int, multipliers: tuple[int, ...], time_resolution: int
    ) -> None:
        super().__init__()
        self.register_buffer("bounds", bounds.clone().float())
        self.time_resolution = time_resolution
        sizes = [resolution * factor for factor in multipliers]
        # Spatial planes start random, temporal ones at 1: at first the product does not depend on time.
        self.spatial = nn.ParameterList(nn.Parameter(torch.empty(3, channels, n, n).uniform_(0.1, 0.5)) for n in sizes)
        self.temporal = nn.ParameterList(nn.Parameter(torch.ones(3, channels, time_resolution, n)) for n in sizes)

    @property
    def feature_size(self) -> int:
        """Number of features per point."""
        return sum(plane.shape[1] for plane in self.spatial)

    def forward(self, points: Tensor, time: float) -> Tensor:
        """Features ``[N, feature_size]`` at ``points [N,3]`` (world units, differentiable) and ``time`` in [0,1]."""
        extent = (self.bounds[1] - self.bounds[0]).clamp_min(1e-6)
        unit = 2 * (points - self.bounds[0]) / extent - 1
        # One time for all points: interpolate the planes' rows first, then look up along the remaining axis only.
        row = min(max(time, 0.0), 1.0) * (self.time_resolution - 1)
        low = min(int(row), max(self.time_resolution - 2, 0))
        high, weight = min(low + 1, self.time_resolution - 1), row - low
        lines = [torch.lerp(plane[:, :, low], plane[:, :, high], weight) for plane in self.temporal]  # [3,C,n]
        plane_features = plane_features_native if takes_native(unit, *self.spatial) else plane_features_torch
        return plane_features(unit, [*self.spatial], lines)

    def spatial_smoothness(self) -> Tensor:
        """Sum over levels and spatial planes of the mean squared second difference (along the second axis, as the
        authors' "plane TV" term does)."""
        return _total(_second_difference(plane, dim=2).square().mean(dim=(1, 2, 3)) for plane in self.spatial)

    def time_smoothness(self) -> Tensor:
        """Sum over levels and temporal planes of the mean squared second difference along time."""
        if self.time_resolution < 3:
            return self.bounds.new_zeros(())
        return _total(_second_difference(plane, dim=2).square().mean(dim=(1, 2, 3)) for plane in self.temporal)

    def time_sparsity(self) -> Tensor:
        """Sum over levels and temporal planes of the mean distance to 1, the value that means "no change"."""
        return _total((plane - 1).abs().mean(dim=(1, 2, 3)) for plane in self.temporal)


def plane_features_torch(points: Tensor, planes: Sequence[Tensor], lines: Sequence[Tensor]) -> Tensor:
    """The twin of the compiled kernel, see `plane_features_native`. Takes every floating dtype and device."""
    pairs = torch.stack([points[:, list(pair)] for pair in _SPATIAL_PAIRS])[:, None]  # [3,1,N,2]
    axes = torch.stack([points, torch.zeros_like(points)], dim=-1).transpose(0, 1)[:, None]  # [3,1,N,2]
    features = [
        (_product(_sample(plane, pairs)) * _product(_sample(line[:, :, None], axes))).transpose(0, 1)
        for plane, line in zip(planes, lines, strict=True)
    ]
    return torch.cat(features, dim=-1)


def _sample(planes: Tensor, grid: Tensor) -> Tensor:
    """``[P,C,H,W]`` looked up at ``grid [P,1,N,2]`` in [-1,1] -> ``[P,C,N]``; clamped at the border."""
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=True)[:, :, 0]


def _product(values: Tensor) -> Tensor:
    """Product over the first axis of ``[3, ...]``; torch's own ``prod`` looks for zeros in its backward pass, which
    costs more than everything else here."""
    first, second, third = values.unbind(0)
    return first * second * third


def _second_difference(planes: Tensor, dim: int) -> Tensor:
    return torch.diff(planes, n=2, dim=dim)


def _total(per_plane) -> Tensor:
    return torch.stack([values.sum() for values in per_plane]).sum()
