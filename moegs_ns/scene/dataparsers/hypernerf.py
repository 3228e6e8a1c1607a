"""Data parser for Nerfies and HyperNeRF captures: an image and a camera file per instant, of one or two moving cameras.

It may import very little of nerfstudio: see `moegs_ns.scene.dataparsers.base`.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from moegs_ns.scene.dataparsers.base import (
    DynamicDataParser,
    DynamicDataParserConfig,
    frame_rate,
    near_and_far,
    view_through,
)
from moegs_ns.scene.depth_range import depth_range
from moegs_ns.scene.frame_sources import image_size
from moegs_ns.scene.geometry import check_rotations
from moegs_ns.scene.image_splits import ImageLabels, Role, split_images
from moegs_ns.scene.json_files import read_json
from moegs_ns.scene.lens import Lens, Pinhole
from moegs_ns.scene.nerfies_files import (
    NerfiesCamera,
    NerfiesIds,
    NerfiesMoment,
    read_camera,
    read_ids,
    read_moments,
    read_near_far,
)
from moegs_ns.scene.parsed_scene import ParsedScene, frames_from_files
from moegs_ns.scene.points import PointCloud, times_within_range
from moegs_ns.scene.seed_files import points3d_files, points_in_view, read_seed_cloud

_CAPTURE_FPS = 15.0
_INTERPOLATION_INTERVAL = 4
# Sizes of the smaller levels are rounded by whoever made them.
_SIZE_TOLERANCE = 1.0


@dataclass
class HyperNeRFDataParserConfig(DynamicDataParserConfig):
    """Captures by one or two moving cameras: dataset.json, metadata.json, scene.json, camera/*.json, rgb/Nx/*.png."""

    _target: type = field(default_factory=lambda: HyperNeRFDataParser)
    data: Path = Path()
    """Folder with dataset.json, metadata.json, scene.json, camera/<id>.json and rgb/<N>x/<id>.png. Images without a
    camera file are left out. Lens distortion, skew and pixel aspect are taken out of the images when they are read."""
    test_cams: tuple[str, ...] | None = None
    """Held-out images: by id (left1_000003), frame number (3), camera (right) or slice of the images in the order of
    time (4::8). Default: val_ids of dataset.json. Where these are empty, every fourth image trains and those halfway
    between two of them are held out, as published comparisons do for interpolation scenes."""
    val_cams: tuple[str, ...] = ()
    """Images for choosing settings, named likewise: not trained on, not tested on. Frame numbers, cameras and slices
    choose among those that would train. Default: none."""
    exclude_cams: tuple[str, ...] = ()
    """Images to leave out altogether, named likewise."""
    downscale: int = 2
    """Train and render at 1/downscale of the calibrated size, 2 as in published comparisons: from rgb/<downscale>x
    where it is there, else area averages of the nearest larger level that downscale is a multiple of."""
    point_cloud: Path | None = None
    """PLY file (x y z, red green blue, optionally time or t in [0,1] over the whole clip) or npy file ([M,3]; colours
    in <name>_rgb.npy beside it, else grey) of seed points, relative to the data folder or absolute. Default:
    points3D*.ply in the data folder, else points.npy."""
    random_points: int = 20_000
    """Without a point cloud, start from this many grey points at random places the training cameras see, between near
    and far; 0 = none, and training then refuses to start."""
    near: float | None = None
    """Near distance in the units of camera positions. Default: that of scene.json (near / scale)."""
    far: float | None = None
    """Far distance in the units of camera positions. Default: that of scene.json (far / scale)."""
    fps: float | None = None
    """Frames per second. Default: what extra.json says, else 15."""
    first_frame: int | None = None
    """First frame to use, as metadata.json numbers them (time_id, else warp_id). Default: the first there is."""
    num_frames: int | None = None
    """Number of frames to use from first_frame on, whether or not each has an image. Default: to the last there is."""


@dataclass(frozen=True)
class _Shot:
    """One image of the capture."""

    name: str
    moment: NerfiesMoment
    camera: NerfiesCamera
    file: Path


@dataclass
class HyperNeRFDataParser(DynamicDataParser):
    """Single images with poses of their own; world units are those of camera positions, not the scaled ones."""

    config: HyperNeRFDataParserConfig

    def read_scene(self) -> ParsedScene:
        config = self.config
        near_far = read_near_far(config.data / "scene.json")
        ids = read_ids(config.data / "dataset.json")
        shots = _shots(config, ids)
        first, num_frames = _frame_range(config, shots)
        clip = shots[0].moment.frame, max(shot.moment.frame for shot in shots)  # before frames are chosen
        shots = [shot for shot in shots if first <= shot.moment.frame < first + num_frames]
        roles = _roles(config, ids, [shot.name for shot in shots])
        shots = sorted(shots, key=lambda shot: (shot.moment.camera, shot.moment.frame, shot.name))
        numbers = sorted({shot.moment.camera for shot in shots})
        names = _camera_names(shots, numbers)
        labels = ImageLabels(
            names=[shot.name for shot in shots],
            cameras=[names[shot.moment.camera] for shot in shots],
            frames=[shot.moment.frame for shot in shots],
            camera_names=[names[number] for number in numbers],
            numbers="frame",
        )
        splits = split_images(
            labels, [roles[shot.name] for shot in shots], config.test_cams, config.val_cams, config.exclude_cams
        )
        lenses, pinholes = _views(config, shots)
        poses = np.array([shot.camera.camera_to_world for shot in shots])
        train = splits["train"]
        views = poses[train], [pinholes[image] for image in train]
        cloud = _cloud(config, clip, first, num_frames)
        if near_far is None and cloud is not None:
            near_far = depth_range(cloud.xyz, *views)
        near_far = near_and_far(config, near_far, f"as near / scale and far / scale in {config.data / 'scene.json'}")
        if cloud is None and config.random_points:
            cloud = points_in_view(config.random_points, *views, *near_far)
        frame = np.array([shot.moment.frame for shot in shots]) - first
        return ParsedScene(
            layout="hypernerf",
            camera_names=labels.camera_names,
            camera=np.array([numbers.index(shot.moment.camera) for shot in shots]),
            frame=frame,
            times=frame / max(1, num_frames - 1),
            poses=poses,
            pinholes=pinholes,
            filenames=[shot.file for shot in shots],
            frames_of=frames_from_files([shot.file for shot in shots], pinholes, lenses),
            splits=splits,
            num_frames=num_frames,
            first_frame=first,
            fps=frame_rate(config, _recorded_rate(config.data)),
            near_far=near_far,
            cloud=cloud,
            image_names=labels.names,
        )


def _shots(config: HyperNeRFDataParserConfig, ids: NerfiesIds) -> list[_Shot]:
    """Every image that has a camera, in the order of their frames."""
    present = [name for name in ids.ids if (config.data / "camera" / f"{name}.json").is_file()]
    if not present:
        raise FileNotFoundError(
            f"expected cameras of the {len(ids.ids)} images at {config.data / 'camera'}/<id>.json, found none; check "
            "--data, or estimate the cameras first"
        )
    if len(present) < len(ids.ids):
        without = sorted(set(ids.ids) - set(present))
        warnings.warn(
            f"{len(without)} of {len(ids.ids)} images of {config.data} have no camera and are left out, such as "
            f"{without[0]}",
            stacklevel=5,
        )
    moments = read_moments(config.data / "metadata.json", present)
    folder = config.data / "rgb" / f"{_level(config)}x"
    shots = [
        _Shot(name, moments[name], read_camera(config.data / "camera" / f"{name}.json"), folder / f"{name}.png")
        for name in present
    ]
    check_rotations(
        np.array([shot.camera.camera_to_world[:, :3] for shot in shots]),
        f"orientations in {config.data / 'camera'}",
        [f"{shot.name}.json" for shot in shots],
        "estimate those cameras anew",
    )
    return sorted(shots, key=lambda shot: (shot.moment.frame, shot.name))


def _level(config: HyperNeRFDataParserConfig) -> int:
    """Which of the folders ``rgb/<N>x`` to read: the smallest images that can be averaged down to those wanted."""
    folder = config.data / "rgb"
    found = [re.fullmatch(r"(\d+)x", entry.name) for entry in folder.iterdir()] if folder.is_dir() else []
    levels = sorted(int(match[1]) for match in found if match and int(match[1]) > 0)
    fitting = [level for level in levels if config.downscale % level == 0]
    if not fitting:
        there = ", ".join(f"{level}x" for level in levels) or "none"
        raise FileNotFoundError(
            f"expected images at {folder / f'{config.downscale}x'} or a level it is a multiple of, found {there}; pass "
            f"--downscale {levels[0] if levels else 'N'}"
        )
    return max(fitting)


def _frame_range(config: HyperNeRFDataParserConfig, shots: Sequence[_Shot]) -> tuple[int, int]:
    """First frame and number of frames."""
    earliest, latest = shots[0].moment.frame, shots[-1].moment.frame
    first = earliest if config.first_frame is None else config.first_frame
    count = latest + 1 - first if config.num_frames is None else config.num_frames
    if count < 1 or not any(first <= shot.moment.frame < first + count for shot in shots):
        raise ValueError(
            f"expected frames within {earliest} to {latest} of {config.data}, found --first-frame {first} and {count} "
            "frames; change --first-frame or --num-frames"
        )
    return first, count


def _roles(config: HyperNeRFDataParserConfig, ids: NerfiesIds, used: Sequence[str]) -> dict[str, Role | None]:
    """What the data set uses each image for."""
    if not ids.val and config.test_cams is None:
        # Interpolation: nothing is held out by the data set.
        order = [name for name in ids.ids if name in set(used)]
        train = order[::_INTERPOLATION_INTERVAL]
        between = order[_INTERPOLATION_INTERVAL // 2 :: _INTERPOLATION_INTERVAL][: len(train) - 1]
        return {name: "train" if name in train else "test" if name in between else None for name in used}
    held_out = set(ids.val)
    train = ids.train or [name for name in ids.ids if name not in held_out]
    return {name: "test" if name in held_out else "train" if name in train else None for name in used}


def _camera_names(shots: Sequence[_Shot], numbers: Sequence[int]) -> dict[int, str]:
    """Names by ``camera_id``: what the ids begin with (left1_000003: left) where that tells the cameras apart."""
    words: dict[int, set[str]] = {number: set() for number in numbers}
    for shot in shots:
        match = re.match(r"[A-Za-z]+", shot.name)
        words[shot.moment.camera].add(match[0] if match else "")
    found = [next(iter(own)) for own in words.values()]
    if all(len(own) == 1 for own in words.values()) and all(found) and len(set(found)) == len(numbers):
        return dict(zip(numbers, found, strict=True))
    return {number: f"camera{number}" for number in numbers}


def _views(config: HyperNeRFDataParserConfig, shots: Sequence[_Shot]) -> tuple[list[Lens], list[Pinhole]]:
    """Of each image, the lens in pixels of its file, and the view it is made into."""
    level = _level(config)
    lenses, pinholes = [], []
    for shot in shots:
        width, height = image_size(shot.file)
        full_width, full_height = shot.camera.size
        if max(abs(width - full_width / level), abs(height - full_height / level)) > _SIZE_TOLERANCE:
            raise ValueError(
                f"expected an image of {full_width / level:g}x{full_height / level:g} at {shot.file} (image_size of "
                f"its camera over {level}), found {width}x{height}; make it anew from the full size"
            )
        lens = shot.camera.lens.resized(width / full_width, height / full_height)
        lenses.append(lens)
        pinholes.append(view_through(lens, (width, height), config.downscale // level, shot.file.name))
    return lenses, pinholes


def _cloud(config: HyperNeRFDataParserConfig, clip: tuple[int, int], first: int, num_frames: int) -> PointCloud | None:
    candidates = [*points3d_files(config.data), config.data / "points.npy"]
    cloud = read_seed_cloud(config.data, config.point_cloud, candidates, config.random_points)
    if cloud is None:
        return None
    earliest, latest = clip
    return times_within_range(cloud, first - earliest, num_frames, latest + 1 - earliest)


def _recorded_rate(data: Path) -> float:
    """Frames per second of the recording: DyCheck's captures have them in a file of their own."""
    path = data / "extra.json"
    if not path.is_file():
        return _CAPTURE_FPS
    rate = read_json(path, "facts of the capture").get("fps", _CAPTURE_FPS)
    if not isinstance(rate, int | float) or rate <= 0:
        raise ValueError(f"expected a frame rate above 0 as 'fps' in {path}, found {rate!r}; correct it or pass --fps")
    return float(rate)
