"""Seed points an expert starts from: positions, colours and, where known, the time each was seen."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class SeedCloud:
    """M seed points.

    Attributes:
        points: ``[M,3]`` float, world units.
        colors: ``[M,3]`` float in [0,1].
        times: ``[M]`` float in [0,1] (first to last frame of the clip), or None when the cloud carries no times.
    """

    points: Tensor
    colors: Tensor
    times: Tensor | None

    def __len__(self) -> int:
        return self.points.shape[0]

    def subset(self, index: Tensor) -> "SeedCloud":
        """The points at ``index`` (positions or a mask)."""
        return SeedCloud(self.points[index], self.colors[index], None if self.times is None else self.times[index])


def seed_cloud(seed_points: tuple[Tensor, Tensor] | None, metadata: dict[str, Any]) -> SeedCloud:
    """Seeds from what nerfstudio hands a model: ``(xyz [M,3], rgb [M,3] in 0..255)`` plus the parser's metadata.

    Raises:
        ValueError: the scene has no seed points.
    """
    if seed_points is None or len(seed_points[0]) == 0:
        raise ValueError(
            "the scene has no seed points, and Gaussians must start somewhere: put a point cloud (points3D.ply) into "
            "the data folder or name one with --point-cloud"
        )
    xyz, rgb = seed_points
    times = metadata.get("points3D_time")
    return SeedCloud(
        points=xyz.float(),
        colors=rgb.float() / 255,
        times=None if times is None else times.float().reshape(-1),
    )


def thin_out(cloud: SeedCloud, limit: int, seed: int = 0) -> SeedCloud:
    """At most ``limit`` points, chosen at random with a generator of its own (the global one is left alone)."""
    if len(cloud) <= limit:
        return cloud
    generator = torch.Generator().manual_seed(seed)
    kept = torch.randperm(len(cloud), generator=generator)[:limit].sort().values
    return cloud.subset(kept)


def replicate_over_time(cloud: SeedCloud, copies: int) -> tuple[Tensor, SeedCloud]:
    """Times for a cloud's points, repeating an untimed cloud at several times.

    A cloud triangulated from one frame says nothing about when its points are there. An expert whose Gaussians live
    for a while (temporal opacity) needs some at every time; copies at several times let each stretch of the clip
    deform its own. A cloud that already carries times is returned as it is.

    Args:
        cloud: M points.
        copies: how often an untimed cloud is repeated, at the centres of as many equal slices of the clip.

    Returns:
        ``times [M']`` in [0,1] and the cloud of M' points they belong to.
    """
    if cloud.times is not None:
        return cloud.times, cloud
    times = ((torch.arange(copies, dtype=torch.float32) + 0.5) / copies).repeat_interleave(len(cloud))
    return times, SeedCloud(cloud.points.repeat(copies, 1), cloud.colors.repeat(copies, 1), times)
