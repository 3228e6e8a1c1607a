"""From videos to a scene in the N3V layout: the steps in their order.

Each step is a module of its own; this one hands on what they make, keeps what is long, and says what was done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moegs_ns.files import write_json
from moegs_ns.preparation.clip_writer import link_or_copy, upright_frames, write_clip
from moegs_ns.preparation.depth_bounds import bounds_from_points, guessed_bounds
from moegs_ns.preparation.known_cameras import read_known_cameras
from moegs_ns.preparation.narrator import Narrator, Silence
from moegs_ns.preparation.options import PrepareOptions
from moegs_ns.preparation.rig import Rig, read_rig, write_rig
from moegs_ns.preparation.seeding import Views, make_seeds
from moegs_ns.preparation.source_videos import SourceVideo, find_videos, read_video
from moegs_ns.preparation.start_times import estimate_starts, motion_curve
from moegs_ns.preparation.straightening import centred_pinhole, is_straight, simplified, straighten
from moegs_ns.preparation.structure_from_motion import Estimate, estimate_cameras
from moegs_ns.preparation.timing import AlignedClip, align
from moegs_ns.preparation.triangulated_seeds import detect_enlarged
from moegs_ns.preparation.work_folder import WorkFolder, files_in, work_folder
from moegs_ns.preparation.world import levelled
from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.points import write_ply
from moegs_ns.scene.poses_bounds import PosesBounds, write_poses_bounds

_LEAST_CAMERAS = 2
_LEAST_PLACED = 2


@dataclass(frozen=True)
class Prepared:
    """A scene that is there."""

    folder: Path
    record: dict[str, Any]
    """What was done, as in its ``preparation.json``: plain data."""


def prepare(options: PrepareOptions, narrator: Narrator | None = None) -> Prepared:
    """Make the scene.

    Raises:
        FileNotFoundError, FileExistsError: inputs that are not there, a scene that is.
        FolderIsBusyError: another process prepares it right now.
        ValueError: videos or cameras that do not fit, or cannot be placed.
        RuntimeError: pycolmap is needed and not installed.
    """
    told = narrator or Silence()
    options.check()
    options.start_times()
    given = find_videos(options.videos)
    if len(given) < _LEAST_CAMERAS:
        raise ValueError(f"expected videos of {_LEAST_CAMERAS} cameras or more, found {len(given)}; name a folder")
    poses = options.cameras.poses
    cloud = options.seeds.dense_cloud
    read = [*given.values(), *(path.expanduser() for path in (poses, cloud) if path is not None)]
    with work_folder(options, files_in(read)) as (folder, goes_on):
        if goes_on:
            told.say("Going on with what an interrupted preparation left.")
        record = _make_scene(options, given, folder, told)
        folder.finish(options.output_dir)
    return Prepared(options.output_dir, record)


def _make_scene(
    options: PrepareOptions, given: Mapping[str, Path], folder: WorkFolder, told: Narrator
) -> dict[str, Any]:
    """Everything the scene's folder holds; what was done."""
    videos = [read_video(name, path) for name, path in given.items()]
    _say_names(videos, told)
    starts = _start_times(options, videos, told)
    clip = align(videos, starts, options.time.fps, options.time.first_frame, options.time.num_frames)
    _say_timing(videos, clip, told)
    rig, how = _cameras(options, videos, clip, folder, told)
    kept = how.pop("placed", range(len(videos)))
    videos = [videos[index] for index in kept]
    size = _size(options, videos, told)
    pinholes, written = _pictures(videos, rig, clip, size, folder, told)
    bounds, bounds_from = _first_bounds(rig, pinholes)
    files = [folder.scene / f"{video.name}{written[video.name]['suffix']}" for video in videos]
    views = Views(files, rig.camera_to_worlds, pinholes, bounds, clip.num_frames)
    seeds, seeds_how = make_seeds(options.seeds, views, folder, told)
    if rig.near_far is None and seeds_how["kind"] in ("matched", "dense cloud"):
        found = bounds_from_points(seeds.xyz, rig.camera_to_worlds, pinholes)
        if found is not None:
            bounds, bounds_from = found, "seed points"
    if bounds_from == "guess":
        told.say(
            "Near and far are guessed from where the cameras look: no points say how far the scene reaches. Correct "
            "the last two columns of poses_bounds.npy if you know better."
        )
    sizes = np.array([(one.width, one.height) for one in pinholes])
    focals = np.array([one.fx for one in pinholes])
    write_poses_bounds(
        folder.scene / "poses_bounds.npy", PosesBounds(rig.camera_to_worlds, sizes, focals, bounds)
    )  # fmt: skip
    write_ply(folder.scene / "points3D.ply", seeds)
    record = {
        "videos": {video.name: {"source": str(video.path.absolute()), **written[video.name]} for video in videos},
        "clip": {"frames": clip.num_frames, "fps": clip.fps, "starts": starts, "worst_seconds": clip.worst},
        "cameras": how,
        "bounds": bounds_from,
        "seeds": seeds_how,
    }
    write_json(folder.scene / "preparation.json", record)
    return record


def _say_names(videos: Sequence[SourceVideo], told: Narrator) -> None:
    renamed = [f"{video.name} = {video.path.name}" for video in videos if video.name != video.path.stem]
    if renamed:
        told.say(f"Cameras: {', '.join(renamed)}.")


def _start_times(options: PrepareOptions, videos: Sequence[SourceVideo], told: Narrator) -> dict[str, float]:
    starts = options.start_times()
    if not options.time.estimate_starts:
        return starts
    tick = told.task("Looking at motion", len(videos))
    curves = {}
    for video in videos:
        curves[video.name] = motion_curve(video)
        tick()
    found = estimate_starts(videos, curves, options.time.starts_within)
    said = ", ".join(f"{name} {seconds:.3f}" for name, seconds in found.seconds.items())
    told.say(f"Estimated starts in seconds: {said} (motion correlates by {found.correlation:.2f} or more).")
    return {**found.seconds, **starts}


def _say_timing(videos: Sequence[SourceVideo], clip: AlignedClip, told: Narrator) -> None:
    cut = [video.name for video in videos if not clip.is_whole(video)]
    told.say(
        f"{clip.num_frames} frames at {clip.fps:.3f}/s"
        + (f"; frames are left out or repeated in {', '.join(cut)}" if cut else "")
        + (f"; none is more than {1000 * clip.worst:.1f} ms from its instant" if clip.worst else "")
        + "."
    )


def _cameras(
    options: PrepareOptions, videos: Sequence[SourceVideo], clip: AlignedClip, folder: WorkFolder, told: Narrator
) -> tuple[Rig, dict[str, Any]]:
    """The rig and how it came about; ``placed`` there has the positions of the cameras it consists of, if not all."""
    choice = options.cameras
    if choice.poses is not None:
        rig = read_known_cameras(choice.poses, videos)
        told.say(f"{len(rig)} cameras from {choice.poses}.")
        return rig, {"how": "given", "from": str(choice.poses.absolute())}
    facts = folder.cameras.with_suffix(".facts")
    if facts.is_file():
        rig, how = read_rig(folder.cameras), json.loads(facts.read_text("utf8"))
        told.say("Cameras are those estimated before the interruption.")
        return rig, how
    estimate = _estimate(options, videos, clip, told)
    missing = [video.name for index, video in enumerate(videos) if index not in estimate.placed]
    if missing and (not choice.drop_unplaced or len(estimate.placed) < _LEAST_PLACED):
        raise ValueError(
            f"expected structure from motion to place all {len(videos)} cameras, found no place for "
            f"{', '.join(missing)}: they share too little with the others; leave them out (--drop-unplaced), try more "
            "--sfm-frames or --features, or give all cameras with --poses"
        )
    rig = levelled(estimate.rig, choice.depth)
    sizes = [(videos[index].width, videos[index].height) for index in estimate.placed]
    rig = replace(rig, lenses=[simplified(lens, *size) for lens, size in zip(rig.lenses, sizes, strict=True)])
    how = {
        "how": "structure from motion",
        "placed": estimate.placed,
        "unplaced": missing,
        "lenses": estimate.lenses,
        "reprojection_error": estimate.reprojection_error,
        "points": estimate.points,
        "views_per_point": estimate.views_per_point,
    }
    told.say(
        f"Structure from motion placed {len(rig)} of {len(videos)} cameras"
        + (f" (not {', '.join(missing)})" if missing else "")
        + f": {estimate.points} points, seen by {estimate.views_per_point:.1f} cameras each, miss their pixels by "
        f"{estimate.reprojection_error:.2f}; lenses {estimate.lenses}, focal length "
        f"{np.median([lens.fx for lens in rig.lenses]):.1f} pixels."
    )
    told.say(
        f"Its scale is arbitrary: the world is such that points lie {choice.depth:g} units before the cameras "
        "(median), up (z) is what the cameras hold as up, and the origin lies amid the points."
    )
    write_rig(folder.cameras, rig)
    write_json(facts, how)
    return rig, how


def _estimate(
    options: PrepareOptions, videos: Sequence[SourceVideo], clip: AlignedClip, told: Narrator
) -> Estimate:  # fmt: skip
    choice = options.cameras
    instants = np.unique(np.linspace(0, clip.num_frames - 1, choice.sfm_frames + 2)[1:-1].round().astype(int))
    tick = told.task("Looking for features", len(videos))
    features = []
    for video in videos:
        frames = upright_frames(video, clip.frames[video.name][instants])
        features.append([detect_enlarged(frame, options.seeds.features) for frame in frames])
        tick()
    on_pair = told.task("Matching pairs of cameras", len(videos) * (len(videos) - 1) // 2)
    sizes = [(video.width, video.height) for video in videos]
    return estimate_cameras(features, sizes, choice.focal, choice.lens, choice.lens_sharing, on_pair)


def _size(options: PrepareOptions, videos: Sequence[SourceVideo], told: Narrator) -> tuple[int, int]:
    """Width and height of all pictures."""
    if options.cameras.size is not None:
        if min(options.cameras.size) < 1:
            raise ValueError(f"expected --size of a pixel or more, found {options.cameras.size}")
        return options.cameras.size
    sizes = {(video.width, video.height) for video in videos}
    smallest = min(sizes, key=lambda size: (size[0] * size[1], size))
    if len(sizes) > 1:
        told.say(f"Pictures differ in size; all become {smallest[0]}x{smallest[1]} (--size chooses another).")
    return smallest


def _pictures(
    videos: Sequence[SourceVideo],
    rig: Rig,
    clip: AlignedClip,
    size: tuple[int, int],
    folder: WorkFolder,
    told: Narrator,
) -> tuple[list[Pinhole], dict[str, dict[str, Any]]]:
    """The scene's videos: what each camera's pinhole is, and what became of its file."""
    pinholes, written = [], {}
    tick = told.task("Writing videos", len(videos) * clip.num_frames)
    for video, lens in zip(videos, rig.lenses, strict=True):
        source = video.width, video.height
        straight = is_straight(lens, source, size)
        pinhole = centred_pinhole(lens, source, size)
        pinholes.append(pinhole)
        untouched = straight and not video.turn and clip.is_whole(video)
        suffix = video.path.suffix.lower() if untouched else ".mp4"
        target = folder.scene / f"{video.name}{suffix}"
        done = "written"
        if untouched:
            done = link_or_copy(video.path, target)
            for _ in range(clip.num_frames):
                tick()
        elif not target.is_file():
            change = _unchanged if straight else _straightener(lens, pinhole)
            write_clip(target, video, clip.frames[video.name], clip.fps, change, tick)
        written[video.name] = {"file": done, "suffix": suffix, "straightened": not straight, "turned": video.turn}
    changed = [name for name, one in written.items() if one["file"] == "written"]
    told.say(
        f"{len(videos) - len(changed)} videos are taken as they are"
        + (f", {len(changed)} were written anew ({', '.join(changed)})." if changed else ".")
    )
    return pinholes, written


def _unchanged(image: np.ndarray) -> np.ndarray:
    return image


def _straightener(lens: Any, pinhole: Pinhole) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: straighten(image, lens, pinhole)


def _first_bounds(rig: Rig, pinholes: Sequence[Pinhole]) -> tuple[np.ndarray, str]:
    """Near and far before there are seeds, and what they come from."""
    if rig.near_far is not None:
        return rig.near_far, "given"
    found = None if rig.points is None else bounds_from_points(rig.points, rig.camera_to_worlds, pinholes)
    if found is not None:
        return found, "the reconstruction's points"
    return guessed_bounds(rig.camera_to_worlds), "guess"
