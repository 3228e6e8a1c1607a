"""Data parser for the layout of the Neural 3D Video scenes: synchronised videos and ``poses_bounds.npy``.

It may import very little of nerfstudio: see `moegs_ns.scene.dataparsers.base`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from moegs_ns.scene.dataparsers.base import (
    DEFAULT_FPS,
    DynamicDataParser,
    DynamicDataParserConfig,
    frame_rate,
    near_and_far,
)
from moegs_ns.scene.frame_cache import CameraFrames
from moegs_ns.scene.frame_sources import SourceInfo, find_cameras, probe
from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.parsed_scene import ParsedScene
from moegs_ns.scene.points import times_within_range
from moegs_ns.scene.poses_bounds import PosesBounds, read_poses_bounds
from moegs_ns.scene.seed_files import points3d_files, points_in_view, read_seed_cloud
from moegs_ns.scene.splits import split_cameras

_FPS_TOLERANCE = 0.01


@dataclass
class N3VDataParserConfig(DynamicDataParserConfig):
    """Synchronised videos with known cameras: camNN.mp4 (or camNN/images/*) and poses_bounds.npy."""

    _target: type = field(default_factory=lambda: N3VDataParser)
    data: Path = Path()
    """Folder with poses_bounds.npy and one video (camNN.mp4) or image folder (camNN/images/* or camNN/*) per camera.
    Row i of poses_bounds.npy belongs to the i-th camera in sorted order of the names."""
    test_cams: tuple[str, ...] | None = None
    """Held-out cameras, by name (cam00) or by index in the sorted names (0). Default: the first camera."""
    val_cams: tuple[str, ...] = ()
    """Cameras for choosing settings: not trained on, not tested on. Default: none."""
    exclude_cams: tuple[str, ...] = ()
    """Cameras to leave out altogether, such as the unsynchronised cam13 of coffee_martini; their rows
    and files stay."""
    point_cloud: Path | None = None
    """PLY file of seed points (x y z, red green blue, optionally time or t in [0,1] over the whole clip), relative to
    the data folder or absolute. Default: points3D*.ply in the data folder, one with times first."""
    near: float | None = None
    """Near distance in world units. Default: the smallest of the cameras used."""
    far: float | None = None
    """Far distance in world units. Default: the largest of the cameras used."""
    fps: float | None = None
    """Frames per second. Default: what the videos say; 30 for image folders."""
    first_frame: int = 0
    """First frame to use, counted from 0."""
    num_frames: int | None = None
    """Number of frames to use from first_frame on. Default: all. Required if the cameras' lengths differ."""


@dataclass
class N3VDataParser(DynamicDataParser):
    """Whole videos of cameras that stand still; image file names are virtual."""

    config: N3VDataParserConfig

    def read_scene(self) -> ParsedScene:
        config = self.config
        found = find_cameras(config.data)
        names, sources = list(found), [source.absolute() for source in found.values()]
        path = config.data / "poses_bounds.npy"
        poses = read_poses_bounds(path)
        if len(poses) != len(names):
            raise ValueError(
                f"expected one camera per row of {path} ({len(poses)} rows), found {len(names)}: {', '.join(names)}"
                f"{_gaps(names)}; add the missing videos, or remove the rows or videos that belong to no camera"
            )
        splits = split_cameras(names, config.test_cams, config.val_cams, config.exclude_cams)
        used = sorted(index for indices in splits.values() for index in indices)
        infos = {index: probe(sources[index]) for index in used}
        clip_frames = min(info.num_frames for info in infos.values())
        num_frames = _frame_range(config, {names[index]: info.num_frames for index, info in infos.items()})
        _check_sizes(names, poses, infos)
        bounds = poses.near_far[used]
        near_far = near_and_far(
            config, (float(bounds[:, 0].min()), float(bounds[:, 1].max())), f"last two columns of {path}"
        )  # fmt: skip
        fps = _frame_rate(config, {names[index]: info.fps for index, info in infos.items()})
        pinholes = {index: _pinhole(names[index], poses, index, infos[index], config.downscale) for index in used}
        cloud = read_seed_cloud(config.data, config.point_cloud, points3d_files(config.data), config.random_points)
        if cloud is not None:
            cloud = times_within_range(cloud, config.first_frame, num_frames, clip_frames)
        elif config.random_points:
            train = splits["train"]
            views = [pinholes[index] for index in train]
            cloud = points_in_view(config.random_points, poses.camera_to_worlds[train], views, *near_far)

        def frames_of(camera: int, images: Sequence[int]) -> CameraFrames:
            del images  # always all
            size = pinholes[camera].width, pinholes[camera].height
            return CameraFrames(sources[camera], config.first_frame, num_frames, *size)

        frames = np.arange(num_frames)
        camera, frame = np.repeat(used, num_frames), np.tile(frames, len(used))
        return ParsedScene(
            layout="n3v",
            camera_names=names,
            camera=camera,
            frame=frame,
            times=frame / max(1, num_frames - 1),
            poses=poses.camera_to_worlds[camera],
            pinholes=[pinholes[index] for index in camera.tolist()],
            filenames=[
                config.data / names[index] / f"{config.first_frame + number:06d}.png"
                for index in used
                for number in range(num_frames)
            ],
            frames_of=frames_of,
            splits={split: np.flatnonzero(np.isin(camera, indices)).tolist() for split, indices in splits.items()},
            num_frames=num_frames,
            first_frame=config.first_frame,
            fps=fps,
            near_far=near_far,
            cloud=cloud,
        )


def _pinhole(name: str, poses: PosesBounds, index: int, info: SourceInfo, downscale: int) -> Pinhole:
    """What the row says, for the images as they are trained on; the principal point is the image's centre."""
    width, height = info.width // downscale, info.height // downscale
    if width < 1 or height < 1:
        raise ValueError(
            f"expected --downscale to leave at least one pixel of {(info.width, info.height)} in {name}, found "
            f"{downscale}"
        )
    full_width, full_height = poses.sizes[index].tolist()
    focal = float(poses.focals[index])
    return Pinhole(
        focal * width / full_width, focal * height / full_height, width / 2, height / 2, width, height
    )  # fmt: skip


def _gaps(names: list[str]) -> str:
    """Hint: numbers missing between the first and the last camera."""
    numbers = sorted(int("".join(filter(str.isdigit, name))) for name in names)
    missing = [str(number) for number in range(numbers[0], numbers[-1]) if number not in numbers]
    return f" (no camera number {', '.join(missing)})" if missing else ""


def _frame_range(config: N3VDataParserConfig, lengths: dict[str, int]) -> int:
    """Number of frames to use; every camera has them."""
    shortest, longest = min(lengths.values()), max(lengths.values())
    if config.num_frames is None and shortest != longest:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(
            f"expected equally many frames in all cameras of {config.data}, found {listed}; if they all start "
            f"together pass --num-frames {shortest - config.first_frame} (or less), else --exclude-cams the odd ones"
        )
    count = shortest - config.first_frame if config.num_frames is None else config.num_frames
    if config.first_frame < 0 or count < 1 or config.first_frame + count > shortest:
        short = ", ".join(name for name, length in lengths.items() if length == shortest)
        raise ValueError(
            f"expected frames within 0..{shortest - 1} (length of {short}), found --first-frame "
            f"{config.first_frame} and {count} frames; change --first-frame or --num-frames"
        )
    return count


def _frame_rate(config: N3VDataParserConfig, rates: dict[str, float | None]) -> float:
    known = {name: rate for name, rate in rates.items() if rate}
    if config.fps is not None or not known:
        return frame_rate(config, DEFAULT_FPS)
    if max(known.values()) > min(known.values()) * (1 + _FPS_TOLERANCE):
        listed = ", ".join(f"{name} {rate:.3f}" for name, rate in known.items())
        raise ValueError(
            f"expected one frame rate in {config.data}, found {listed}; convert the videos to one rate, or pass --fps "
            "if only what the files say is wrong"
        )
    return next(iter(known.values()))


def _check_sizes(names: list[str], poses: PosesBounds, infos: dict[int, SourceInfo]) -> None:
    """All cameras in use must have the size of their row, or all the same exact multiple of it."""
    scales = {
        index: (Fraction(info.width, int(poses.sizes[index, 0])), Fraction(info.height, int(poses.sizes[index, 1])))
        for index, info in infos.items()
    }
    distinct = {scale for pair in scales.values() for scale in pair}
    if distinct == {Fraction(1)}:
        return
    if len(distinct) == 1:
        scale = float(distinct.pop())
        warnings.warn(
            f"images are {scale:g} times the size that poses_bounds.npy states, for all cameras alike; focal lengths "
            "are scaled accordingly",
            stacklevel=4,
        )
        return
    listed = ", ".join(
        f"{names[index]} {info.width}x{info.height} (row: {poses.sizes[index, 0]}x{poses.sizes[index, 1]})"
        for index, info in infos.items()
        if scales[index] != (1, 1)
    )
    raise ValueError(
        "expected images of the size their rows of poses_bounds.npy state, or all scaled by one and the same factor, "
        f"found {listed}; encode these cameras at their rows' size, correct the rows, or --exclude-cams them"
    )
