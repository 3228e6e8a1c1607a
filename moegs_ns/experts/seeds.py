"""Seed points an expert starts from: positions, colours and, where known, the time each was seen."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.neighbors import neighbor_rms_distance


@dataclass(frozen=True)
class SeedCloud:
    """M seed points.

    Attributes:
        points: ``[M,3]`` float, world units.
        colors: ``[M,3]`` float in [0,1].
        times: ``[M]`` float in [0,1] (first to last frame of the clip); NaN where the time is not known, as for a
            cloud triangulated from a single frame.
        durations: ``[M]`` float in (0,1]: for what share of the clip something moves at the place; NaN where not known.
    """

    points: Tensor
    colors: Tensor
    times: Tensor
    durations: Tensor

    def __len__(self) -> int:
        return self.points.shape[0]

    @property
    def timed(self) -> Tensor:
        """``[M]`` bool: whether the time is known."""
        return ~self.times.isnan()

    def subset(self, index: Tensor) -> "SeedCloud":
        """The points at ``index`` (positions or a mask)."""
        return SeedCloud(self.points[index], self.colors[index], self.times[index], self.durations[index])


def seed_cloud(seed_points: tuple[Tensor, Tensor] | None, metadata: dict[str, Any]) -> SeedCloud:
    """Seeds from what nerfstudio hands a model: ``(xyz [M,3], rgb [M,3] in 0..255)`` plus the parser's metadata.

    Raises:
        ValueError: the scene has no seed points.
    """
    if seed_points is None or len(seed_points[0]) == 0:
        raise ValueError(
            "the scene has no seed points, and Gaussians must start somewhere: put a point cloud (points3D.ply) into "
            "the data folder, name one with --point-cloud, or start from random places with --random-points"
        )
    xyz, rgb = seed_points
    unknown = torch.full((len(xyz),), torch.nan)
    times, durations = (
        metadata.get(name, unknown).float().reshape(-1) for name in ("points3D_time", "points3D_duration")
    )
    return SeedCloud(xyz.float(), rgb.float() / 255, times, durations)


def thin_out(cloud: SeedCloud, limit: int | None, seed: int = 0) -> SeedCloud:
    """At most ``limit`` points (None = all), chosen at random, without the global generator.

    Where some points have a time and others none, those without go first: the others are what moves, and few.
    """
    if limit is None or len(cloud) <= limit:
        return cloud
    spared = cloud.timed if not cloud.timed.all() and int(cloud.timed.sum()) <= limit else torch.zeros_like(cloud.timed)
    index = torch.arange(len(cloud))
    generator = torch.Generator().manual_seed(seed)
    others = index[~spared]
    drawn = others[torch.randperm(len(others), generator=generator)[: limit - int(spared.sum())]]
    return cloud.subset(torch.cat([index[spared], drawn]).sort().values)


def seed_spacing(cloud: SeedCloud) -> Tensor:
    """``[M]`` root mean squared distance to the three nearest points *of the same time*, world units.

    Points of other times must not count: where nothing moves they repeat the same place, and distances would vanish.
    """
    spacing = torch.zeros(len(cloud))
    for time in [*cloud.times[cloud.timed].unique(), None]:
        group = ~cloud.timed if time is None else cloud.times == time
        spacing[group] = neighbor_rms_distance(cloud.points[group])
    return spacing


def spread_over_time(cloud: SeedCloud, copies: int) -> tuple[SeedCloud, Tensor]:
    """Give every point a time; points without one are repeated at several.

    A cloud triangulated from one frame says nothing about when its points are there. An expert whose Gaussians live
    for a while (temporal opacity) needs some at every time; copies at several times let each stretch of the clip
    deform its own.

    Args:
        cloud: M points.
        copies: how often a point without time is repeated, at the centres of as many equal slices of the clip.

    Returns:
        The cloud of M' points that all have a time, those repeated first, and ``source [M']``, the index of the point
        each came from.
    """
    index = torch.arange(len(cloud))
    untimed, timed = index[~cloud.timed], index[cloud.timed]
    source = torch.cat([untimed.repeat(copies), timed])
    centers = ((torch.arange(copies, dtype=torch.float32) + 0.5) / copies).repeat_interleave(len(untimed))
    spread = cloud.subset(source)
    return replace(spread, times=torch.cat([centers, cloud.times[timed]])), source


def thin_out_later_times(cloud: SeedCloud, share: float) -> SeedCloud:
    """Keep only the most isolated seed points of every time but the first; points without a time are all kept.

    Clouds triangulated frame by frame repeat what stands still; what is far from its neighbours of the same frame is
    more likely to be missing elsewhere.

    Args:
        cloud: M points.
        share: of each later time's points to keep, in [0,1]; those with the largest distance to their nearest
            neighbour.

    Raises:
        ValueError: the share is out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share of seed points in [0, 1], found {share}")
    kept = ~cloud.timed
    for rank, time in enumerate(cloud.times[cloud.timed].unique()):
        index = (cloud.times == time).nonzero()[:, 0]
        if rank > 0:
            distances = neighbor_rms_distance(cloud.points[index], neighbors=1)
            index = index[distances.argsort(descending=True, stable=True)[: round(share * len(index))]]
        kept[index] = True
    return cloud.subset(kept)
