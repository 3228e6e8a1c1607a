"""Seed points on what moves, with the time each was seen, carved from the training videos themselves.

A cloud triangulated from one frame holds nothing of what appears later or moves away. The papers' remedy is structure
from motion at every frame; this is a cheaper one that needs no features: per camera, the median over the clip is its
background and what differs from it moves. A point in space that lies on something moving in (nearly) every camera
that sees it belongs to the moving objects' visual hull at that time. Of the hull the surface is wanted, where colours
of different cameras agree (photo-consistency), and what passes quickly needs more seeds than what stays and moves.

Needs several synchronised, fixed cameras. Reads training cameras only. Holds a few float images per camera at a time,
at the size that is trained on.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.scene.dataset import FrameDataset
from moegs_ns.splats.camera import viewmat_from_camera_to_world

#: Difference from the background (share of the value range, largest channel) that counts as motion.
MOTION_THRESHOLD = 0.05
#: Share of the cameras seeing a point that must see motion there; below 1 because static things may stand before it.
AGREEMENT = 0.9
#: A rig must have this many cameras.
LEAST_CAMERAS = 3
# A point must be seen by this many cameras to be judged, in small rigs by this share of them: what only a few cameras
# see, close before them, passes by chance.
_LEAST_VIEWS = 6
_LEAST_SHARE_OF_VIEWS = 0.6
_BACKGROUND_FRAMES = 25
_HOW_TO_DO_WITHOUT = (
    "set --pipeline.datamanager.motion-seeds 0 (moegs train: add +one-camera to --preset, or name a copy of the preset "
    "without motion_seeds)"
)
# Poses of a camera that stands still agree to this share of the scene's near bound, and to so much of a turn.
_STILLNESS = 1e-4
_GRID = 56
_CANDIDATES_PER_SEED = 100
# Where only the best share of an instant's cells is taken, colours at a point may disagree this many times as much as
# at the best point of the worst of these cells.
_SURFACE_TOLERANCE = 2.0


@dataclass(frozen=True)
class FixedCameras:
    """C cameras that stand still, and their videos.

    Attributes:
        viewmats: ``[C,4,4]`` OpenCV world-to-camera.
        intrinsics: ``[C,3,3]`` pixels.
        frame: ``frame(camera, index) -> uint8 [H,W,3]``; all cameras have the same size.
        num_frames: length of the clip.
    """

    viewmats: Tensor
    intrinsics: Tensor
    frame: Callable[[int, int], np.ndarray]
    num_frames: int

    def __len__(self) -> int:
        return self.viewmats.shape[0]

    def images(self, index: int) -> Tensor:
        """``[C,3,H,W]`` float images of one frame in [0,1]."""
        stack = np.stack([self.frame(camera, index) for camera in range(len(self))])
        return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255

    def backgrounds(self) -> Tensor:
        """``[C,3,H,W]`` median over frames spread evenly over the clip."""
        indices = np.unique(np.linspace(0, self.num_frames - 1, _BACKGROUND_FRAMES).round().astype(int))
        medians = []
        for camera in range(len(self)):
            stack = np.stack([self.frame(camera, int(index)) for index in indices])
            medians.append(torch.from_numpy(np.median(stack, axis=0)).permute(2, 0, 1).float() / 255)
        return torch.stack(medians)

    def project(self, points: Tensor) -> "Projection":
        """Where the points ``[M,3]`` (world) fall in every camera."""
        height, width = self.frame(0, 0).shape[:2]
        local = points @ self.viewmats[:, :3, :3].transpose(1, 2) + self.viewmats[:, None, :3, 3]
        depth = local[..., 2].clamp_min(1e-6)
        column = (local[..., 0] / depth * self.intrinsics[:, 0, 0, None] + self.intrinsics[:, 0, 2, None]).floor()
        row = (local[..., 1] / depth * self.intrinsics[:, 1, 1, None] + self.intrinsics[:, 1, 2, None]).floor()
        seen = (local[..., 2] > 1e-3) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return Projection(torch.where(seen, row * width + column, torch.zeros_like(row)).long(), seen)


@dataclass(frozen=True)
class MotionSeeds:
    """M seed points on moving things.

    Attributes:
        points: ``[M,3]`` world units.
        colors: ``[M,3]`` in [0,1].
        times: ``[M]`` in [0,1]: the instant each was seen.
        durations: ``[M]`` in (0,1]: share of the instants looked at when something moves at the place.
    """

    points: Tensor
    colors: Tensor
    times: Tensor
    durations: Tensor

    def __len__(self) -> int:
        return self.points.shape[0]


@dataclass(frozen=True)
class Projection:
    """M points in C cameras: flat pixel numbers ``pixels [C,M]`` (0 where unseen) and ``seen [C,M]``."""

    pixels: Tensor
    seen: Tensor

    def look_up(self, maps: Tensor) -> Tensor:
        """Values ``[C,M,D]`` of ``maps [C,D,H,W]`` at the points; 0 where unseen."""
        pixels = self.pixels[:, None].expand(-1, maps.shape[1], -1)
        return maps.flatten(2).gather(2, pixels).transpose(1, 2) * self.seen[..., None]

    def agree(self, moving: Tensor) -> Tensor:
        """``[M]`` bool: enough cameras see the point, and nearly all of them see motion ``[C,1,H,W]`` there."""
        views = self.seen.sum(dim=0)
        least = max(LEAST_CAMERAS, min(_LEAST_VIEWS, math.ceil(_LEAST_SHARE_OF_VIEWS * len(self.seen))))
        return (views >= least) & (self.look_up(moving)[..., 0].sum(dim=0) >= AGREEMENT * views)


def check_carvable(metadata: Mapping[str, Any], cameras: Cameras) -> None:
    """Refuse data that seeds cannot be carved from; nothing is decoded.

    Args:
        metadata: of the data parser's training split.
        cameras: one per image, ordered camera by camera.

    Raises:
        ValueError: cameras that move or lack frames, as in captures by one camera; that differ in image size; or too
            few of them.
    """
    _check_fixed(metadata, cameras)
    _check_enough(len(metadata["camera_names"]), int(metadata["num_frames"]))


def _check_fixed(metadata: Mapping[str, Any], cameras: Cameras) -> None:
    num_frames, names = int(metadata["num_frames"]), metadata["camera_names"]
    counts = torch.bincount(cameras.metadata["camera_index"][:, 0], minlength=len(names))  # type: ignore[index]
    first = counts.cumsum(0) - counts
    for name, begin, count in zip(names, first.tolist(), counts.tolist(), strict=True):
        poses = cameras.camera_to_worlds[begin : begin + count]
        away = (poses - poses[:1]).abs().amax(dim=(0, 1))  # of each column: three axes and the centre
        if (away[:3] > _STILLNESS).any() or away[3] > _STILLNESS * float(metadata["near"]):
            raise ValueError(
                f"seeds from motion need several fixed cameras, found {name}, which moves: a moving camera's video has "
                f"no background; {_HOW_TO_DO_WITHOUT}"
            )
        if count != num_frames:
            raise ValueError(
                f"seeds from motion need every camera's image of every frame, found {count} images of {name} in "
                f"{num_frames} frames; {_HOW_TO_DO_WITHOUT}"
            )
    sizes = {tuple(size) for size in torch.cat([cameras.width, cameras.height], dim=1)[first].tolist()}
    if len(sizes) != 1:
        raise ValueError(f"seeds from motion need images of one size, found {sorted(sizes)}; {_HOW_TO_DO_WITHOUT}")


def _check_enough(cameras: int, num_frames: int) -> None:
    if cameras < LEAST_CAMERAS or num_frames < 2:
        raise ValueError(
            f"seeds from motion need at least {LEAST_CAMERAS} fixed cameras and 2 frames, found {cameras} and "
            f"{num_frames}; {_HOW_TO_DO_WITHOUT}"
        )


def fixed_cameras(dataset: FrameDataset) -> FixedCameras:
    """The cameras of a data set whose images are ordered camera by camera.

    Raises:
        ValueError: cameras that move, lack frames, or differ in image size.
    """
    metadata, cameras = dataset.metadata, dataset.cameras
    _check_fixed(metadata, cameras)
    num_frames = int(metadata["num_frames"])
    first = torch.arange(0, len(cameras), num_frames)
    return FixedCameras(
        viewmats=torch.stack([viewmat_from_camera_to_world(cameras.camera_to_worlds[i]) for i in first]),
        intrinsics=cameras.get_intrinsics_matrices()[first],
        frame=dataset.frames.frame,
        num_frames=num_frames,
    )


def carve_motion_seeds(
    cameras: FixedCameras,
    bounds: Tensor,
    count: int,
    slices: int,
    per: Literal["instant", "place"] = "instant",
    surfaces: float = 1.0,
    seed: int = 0,
) -> MotionSeeds:
    """Points on moving things at several times.

    Args:
        cameras: the training cameras.
        bounds: ``[2,3]`` lower and upper corner of the region searched, world units.
        count: how many points at most in all.
        slices: at how many times, spread evenly from the first to the last frame.
        per: share them equally among the places where something moves at an instant (``instant``), or among places over
            the whole clip (``place``): then a place that something only passes gets its seeds while it does.
        surfaces: take only this share of an instant's places, in (0,1], those where colours agree best.
        seed: of the random positions (a generator of its own).

    Returns:
        The seeds; there may be none.

    Raises:
        ValueError: fewer than three cameras, or fewer than two frames; ``surfaces`` out of range.
    """
    if not 0 < surfaces <= 1:
        raise ValueError(f"expected a share of places (motion_seed_surfaces) in (0,1], found {surfaces}")
    _check_enough(len(cameras), cameras.num_frames)
    generator = torch.Generator().manual_seed(seed)
    backgrounds = cameras.backgrounds()
    frames = np.unique(np.linspace(0, cameras.num_frames - 1, slices).round().astype(int))
    cells, size = _grid(bounds)
    projected_cells = cameras.project(cells)
    radius = _half_cell_in_pixels(cameras, cells, size)
    candidates = _CANDIDATES_PER_SEED * -(-count // len(frames))
    found: list[_Surface] = []
    for index in frames:
        images = cameras.images(int(index))
        moving = _motion(images, backgrounds)
        # Cells are judged by their centres, so motion is grown by half a cell.
        grown = F.max_pool2d(moving, 2 * radius + 1, stride=1, padding=radius)
        occupied = projected_cells.agree(grown).nonzero()[:, 0]
        if len(occupied):
            cell = occupied[torch.randint(len(occupied), (candidates,), generator=generator)]
            points = cells[cell] + (torch.rand(candidates, 3, generator=generator) - 0.5) * size
            time = int(index) / (cameras.num_frames - 1)
            found.append(_surface(cameras, images, moving, points, cell, time, surfaces))
    return _share_out(found, count, per, len(frames), len(cells), generator)


@dataclass(frozen=True)
class _Surface:
    """Points on moving surfaces at one ``time``: ``points [M,3]``, ``colors [M,3]``, the ``cell [M]`` each lies in and
    its ``rank [M]`` there, 0 for the point whose colours agree best between cameras."""

    time: float
    points: Tensor
    colors: Tensor
    cell: Tensor
    rank: Tensor


def _share_out(
    surfaces: list[_Surface],
    count: int,
    per: Literal["instant", "place"],
    instants: int,
    cells: int,
    generator: torch.Generator,
) -> MotionSeeds:
    """Of every cell and instant the best points, equally many or fewer the more instants share those of a cell."""
    moments = torch.zeros(cells)
    for surface in surfaces:
        moments[surface.cell.unique()] += 1
    quota = torch.full((cells,), count / max(1.0, float(moments.sum())))
    if per == "place":
        quota = count / max(1, int((moments > 0).sum())) / moments.clamp_min(1)
    parts: list[tuple[Tensor, ...]] = [(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0))]
    for surface in surfaces:
        # Quotas are fractions of a point: rounded up or down by chance, they come out right on average.
        kept = surface.rank < (quota + torch.rand(cells, generator=generator)).floor()[surface.cell]
        durations = moments[surface.cell[kept]] / instants
        times = torch.full((int(kept.sum()),), surface.time)
        parts.append((surface.points[kept], surface.colors[kept], times, durations))
    seeds = MotionSeeds(*(torch.cat(column) for column in zip(*parts, strict=True)))
    if len(seeds) <= count:
        return seeds
    chosen = torch.randperm(len(seeds), generator=generator)[:count].sort().values
    return MotionSeeds(seeds.points[chosen], seeds.colors[chosen], seeds.times[chosen], seeds.durations[chosen])


def _grid(bounds: Tensor) -> tuple[Tensor, float]:
    """Centres ``[G,3]`` of cubic cells that fill the bounds, and their edge length."""
    extent = bounds[1] - bounds[0]
    size = float(extent.max()) / _GRID
    axes = [torch.arange(float(low) + size / 2, float(high), size) for low, high in bounds.T]
    return torch.cartesian_prod(*axes), size


def _motion(images: Tensor, backgrounds: Tensor) -> Tensor:
    """``[C,1,H,W]``, 1 where the (slightly blurred, so denoised) image differs from the background."""
    difference = F.avg_pool2d(images - backgrounds, 3, stride=1, padding=1).abs().amax(dim=1, keepdim=True)
    return (difference > MOTION_THRESHOLD).float()


def _half_cell_in_pixels(cameras: FixedCameras, cells: Tensor, size: float) -> int:
    """Half a cell's edge as it appears at the middle of the region, at least one pixel."""
    centres = -torch.einsum("cji,cj->ci", cameras.viewmats[:, :3, :3], cameras.viewmats[:, :3, 3])
    distance = (cells.mean(0) - centres).norm(dim=1).median()
    return max(1, round(float(0.5 * size * cameras.intrinsics[:, 0, 0].median() / distance)))


def _surface(
    cameras: FixedCameras, images: Tensor, moving: Tensor, points: Tensor, cell: Tensor, time: float, share: float
) -> _Surface:
    """Of random points ``[M,3]`` in cells ``[M]`` those that move in the images, in the best ``share`` of the cells.

    Points of these cells whose colours agree far worse than the best ones' are left out too.
    """
    passed = cameras.project(points).agree(moving)
    points, cell = points[passed], cell[passed]
    values = cameras.project(points).look_up(torch.cat([images, moving], dim=1))
    shades = torch.where(values[..., 3:] > 0, values[..., :3], torch.nan)
    color = shades.nanmedian(dim=0).values
    spread = (shades - color).abs().mean(dim=-1).nanmean(dim=0)
    rank = _rank_in_group(spread, cell)
    best = spread[rank == 0]
    if not len(best) or share == 1:
        return _Surface(time, points, color, cell, rank)
    limit = torch.quantile(best, share)
    touching = cell[rank == 0][best <= limit]
    kept = torch.isin(cell, touching) & (spread <= _SURFACE_TOLERANCE * limit)
    return _Surface(time, points[kept], color[kept], cell[kept], rank[kept])


def _rank_in_group(values: Tensor, group: Tensor) -> Tensor:
    """``[M]`` the position of every value among the values of its group, from 0 for the smallest."""
    order = torch.from_numpy(np.lexsort((values.numpy(), group.numpy())))
    _, sizes = torch.unique_consecutive(group[order], return_counts=True)
    rank = torch.empty_like(group)
    rank[order] = torch.arange(len(group)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return rank
