"""The seeds of a prepared scene: which kind, at which instants."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from moegs_ns.files import write_json
from moegs_ns.preparation.agreeing_places import agreeing_places
from moegs_ns.preparation.dense_cloud import read_dense_cloud
from moegs_ns.preparation.narrator import Narrator
from moegs_ns.preparation.neighbours import neighbouring_pairs
from moegs_ns.preparation.options import SeedOptions
from moegs_ns.preparation.plane_sweep import swept_cloud
from moegs_ns.preparation.triangulated_seeds import triangulated_seeds
from moegs_ns.preparation.work_folder import WorkFolder
from moegs_ns.scene.decoding import iterate_frames
from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.points import PointCloud, read_ply, write_ply
from moegs_ns.scene.seed_files import points_in_view

# Fewer triangulated points than this are no start.
_LEAST_POINTS = 100
# Of each camera, to sweep planes with: nearer ones look more alike, and each takes its time.
_SWEPT_NEIGHBOURS = 4


@dataclass(frozen=True)
class Views:
    """The prepared scene as far as it is there."""

    files: list[Path]
    """Its N videos."""
    poses: np.ndarray
    """``[N,3,4]`` camera-to-world, OpenGL axes."""
    pinholes: list[Pinhole]
    bounds: np.ndarray
    """``[N,2]`` near and far, world units."""
    num_frames: int

    @property
    def near_far(self) -> tuple[float, float]:
        """Of all cameras together."""
        return float(self.bounds[:, 0].min()), float(self.bounds[:, 1].max())


def make_seeds(
    options: SeedOptions, views: Views, folder: WorkFolder, told: Narrator
) -> tuple[PointCloud, dict[str, Any]]:
    """The cloud and, as plain data, how it came about.

    Args:
        options: of the preparation.
        views: to make seeds from.
        folder: where the points of each instant are kept until the scene is complete.
        told: what is done, and why not what was hoped for.

    Raises:
        ValueError: seeds of the kind asked for cannot be made.
    """
    if options.dense_cloud is not None:
        cloud, voxel = read_dense_cloud(options.dense_cloud, options.voxel)
        told.say(f"{len(cloud)} seed points from {options.dense_cloud}, one per voxel of {voxel:g}.")
        return cloud, {"kind": "dense cloud", "points": len(cloud), "voxel": voxel}
    instants = _instants(options.seed_frames, views.num_frames)
    if options.seeds in ("auto", "triangulated", "swept"):
        cloud, facts = _matched(options, views, instants, folder, told)
        per_instant = len(cloud) / len(instants)
        if per_instant >= _LEAST_POINTS or (options.seeds != "auto" and len(cloud)):
            told.say(_described(cloud, facts))
            return cloud, facts
        if options.seeds != "auto":
            raise ValueError(
                f"expected points that neighbouring cameras show alike, found none in {len(instants)} instants; check "
                "the cameras with `moegs data check`, try --least-views 2 or --neighbours 12, or --seeds agreeing"
            )
        told.say(
            f"Matching found only {len(cloud)} points ({facts['pairs']} pairs of cameras see the same from "
            "places near each other): random places at which the cameras' colours agree take their place, which are "
            "less exact. Wrong cameras look like this too: run `moegs data check`."
        )
    if options.seeds in ("auto", "agreeing"):
        images = [next(_frames(file, [0]))[1] for file in views.files]
        cloud = agreeing_places(options.random_points, images, views.poses, views.pinholes, *views.near_far)
        if len(cloud):
            told.say(
                f"{len(cloud)} seed points at random places of the first frame at which the cameras' colours agree."
            )
            return cloud, {"kind": "agreeing", "points": len(cloud)}
        if options.seeds == "agreeing":
            raise ValueError(
                "expected places that three cameras see, found none between the bounds; check near and far, or take "
                "--seeds random"
            )
        told.say("No place is seen by three cameras.")
    cloud = points_in_view(options.random_points, views.poses, views.pinholes, *views.near_far)
    told.say(f"{len(cloud)} grey seed points at random places, from which training is slower and ends lower.")
    return cloud, {"kind": "random", "points": len(cloud)}


def _instants(choice: str | int, num_frames: int) -> list[int]:
    if choice == "first":
        return [0]
    count = num_frames if choice == "all" else min(int(choice), num_frames)
    return np.unique(np.linspace(0, num_frames - 1, count).round().astype(int)).tolist()


def _frames(file: Path, instants: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of a video by their numbers, in one pass."""
    wanted = set(instants)
    for number, frame in enumerate(iterate_frames(file, 0, max(instants) + 1)):
        if number in wanted:
            yield number, frame


def _matched(
    options: SeedOptions, views: Views, instants: Sequence[int], folder: WorkFolder, told: Narrator
) -> tuple[PointCloud, dict[str, Any]]:
    """Points of all instants, with times where there are several."""
    missing = [instant for instant in instants if not folder.seed_facts(instant).is_file()]
    tick = told.task("Looking for seeds", len(missing))
    for shown in zip(*(_frames(file, missing) for file in views.files), strict=True) if missing else ():
        instant, images = shown[0][0], [image for _, image in shown]
        cloud, facts = _of_instant(options, views, images)
        write_ply(folder.seeds(instant), cloud)
        write_json(folder.seed_facts(instant), facts)
        tick()
    clouds = [read_ply(folder.seeds(instant)) for instant in instants]
    last = max(1, views.num_frames - 1)
    times = [np.full((len(cloud), 1), frame / last, np.float32) for cloud, frame in zip(clouds, instants, strict=True)]
    cloud = _joined(clouds, np.concatenate(times) if len(instants) > 1 else None)
    kept = [json.loads(folder.seed_facts(instant).read_text("utf8")) for instant in instants]

    def over_instants(name: str, together: Callable[[list[Any]], Any]) -> Any:
        known = [one[name] for one in kept if one[name] is not None]
        return together(known) if known else None

    return cloud, {
        "kind": "matched",
        "points": len(cloud),
        "instants": len(instants),
        "triangulated": over_instants("triangulated", sum),
        "swept": over_instants("swept", sum),
        "pairs": over_instants("pairs", max),
        "least_views": over_instants("least_views", min),
        "reprojection_error": over_instants("reprojection_error", mean),
        "views_per_point": over_instants("views_per_point", mean),
    }


def _of_instant(
    options: SeedOptions, views: Views, images: Sequence[np.ndarray]
) -> tuple[PointCloud, dict[str, Any]]:  # fmt: skip
    """Points of one instant, and how they came about."""
    pairs = neighbouring_pairs(views.poses, views.pinholes, *views.near_far, options.neighbours)
    facts: dict[str, Any] = {
        "pairs": len(pairs), "triangulated": 0, "swept": 0,
        "least_views": None, "reprojection_error": None, "views_per_point": None,
    }  # fmt: skip
    clouds = []
    if options.seeds != "swept":
        seeds = triangulated_seeds(images, views.poses, views.pinholes, pairs, options.features, options.least_views)
        clouds.append(seeds.cloud)
        facts |= {name: getattr(seeds, name) for name in ("least_views", "reprojection_error", "views_per_point")}
        facts["triangulated"] = len(seeds.cloud)
    if options.seeds != "triangulated":
        nearest = min(options.neighbours, _SWEPT_NEIGHBOURS)
        pairs = neighbouring_pairs(views.poses, views.pinholes, *views.near_far, nearest)
        swept = swept_cloud(images, views.poses, views.pinholes, pairs, views.bounds, options.swept_points)
        clouds.append(swept)
        facts["swept"] = len(swept)
    return _joined(clouds, None), facts


def _joined(clouds: Sequence[PointCloud], times: np.ndarray | None) -> PointCloud:
    return PointCloud(
        np.concatenate([one.xyz for one in clouds]), np.concatenate([one.rgb for one in clouds]), times
    )  # fmt: skip


def _described(cloud: PointCloud, facts: dict[str, Any]) -> str:
    """A sentence on seeds that were found."""
    instants = facts["instants"]
    said = f"{len(cloud)} seed points from {instants} instant{'s' if instants > 1 else ''}"
    parts = []
    if facts["triangulated"]:
        parts.append(
            f"{facts['triangulated']} triangulated, on each of which {facts['least_views']} cameras or more agree "
            f"({facts['views_per_point']:.1f} on average) and whose pixels they miss by "
            f"{facts['reprojection_error']:.2f} (median)"
        )
    if facts["swept"]:
        parts.append(f"{facts['swept']} from depth maps")
    return f"{said}: {'; '.join(parts)}."
