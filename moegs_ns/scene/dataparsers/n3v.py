"""Data parser for the layout of the Neural 3D Video scenes: synchronised videos and ``poses_bounds.npy``.

nerfstudio loads data parsers while its own data managers are half imported. This module, and everything it imports,
may therefore import of nerfstudio only ``cameras``, ``base_dataparser``, ``scene_box`` and ``registry_dataparser``.
"""

import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox

from moegs_ns.scene.frame_sources import SourceInfo, files_digest, find_cameras, probe
from moegs_ns.scene.geometry import camera_extent
from moegs_ns.scene.points import PointCloud, ply_has_time, read_ply, times_within_range
from moegs_ns.scene.poses_bounds import PosesBounds, read_poses_bounds
from moegs_ns.scene.splits import SPLITS, split_cameras

_DEFAULT_FPS = 30.0
_FPS_TOLERANCE = 0.01


@dataclass
class N3VDataParserConfig(DataParserConfig):
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
    first_frame: int = 0
    """First frame to use, counted from 0."""
    num_frames: int | None = None
    """Number of frames to use from first_frame on. Default: all. Required if the cameras' lengths differ."""
    downscale: int = 1
    """Train and render at 1/downscale of the images' size (area averaging). Where it does not divide the size, the
    size is rounded down and the focal lengths of x and y follow exactly."""
    point_cloud: Path | None = None
    """PLY file of seed points (x y z, red green blue, optionally time or t in [0,1] over the whole clip), relative to
    the data folder or absolute. Default: points3D*.ply in the data folder, one with times first."""
    near: float | None = None
    """Near distance in world units. Default: the smallest of the cameras used."""
    far: float | None = None
    """Far distance in world units. Default: the largest of the cameras used."""
    fps: float | None = None
    """Frames per second. Default: what the videos say; 30 for image folders."""

    def __setattr__(self, name: str, value: Any) -> None:
        # nerfstudio stores this config as typed; a relative path would tie the run to the current folder. Path() is
        # "not given" and stays.
        if name == "data" and value is not None and Path(value) != Path():
            value = Path(value).expanduser().absolute()
        super().__setattr__(name, value)


@dataclass(frozen=True)
class _Scene:
    """A checked scene: everything but the split."""

    names: list[str]
    sources: list[Path]
    poses: PosesBounds
    splits: dict[str, list[int]]
    image_size: dict[int, tuple[int, int]]
    """Camera index -> (width, height) on disk, for cameras in use."""
    num_frames: int
    fps: float
    near_far: tuple[float, float]
    cloud: PointCloud | None


@dataclass
class N3VDataParser(DataParser):
    """Yields nerfstudio cameras with times; the world is neither recentred nor rescaled.

    Images are ordered camera by camera, frame by frame. ``Cameras.times`` is ``frame_index / (num_frames - 1)``;
    ``Cameras.metadata`` holds ``camera_index`` (into this split's ``camera_names``) and ``frame_index`` (from the first
    frame used), both ``[N,1]`` int64. Image file names are virtual; the frames are read through `FrameStore` from
    ``metadata["frame_sources"]``.
    """

    config: N3VDataParserConfig
    includes_time: bool = True

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        if split not in SPLITS:
            raise ValueError(f"expected one of the splits {', '.join(SPLITS)}, found {split!r}")
        scene = _read_scene(self.config)
        indices = scene.splits[split]
        sources = [scene.sources[index].absolute() for index in indices]
        metadata: dict[str, Any] = {
            "num_frames": scene.num_frames,
            "first_frame": self.config.first_frame,
            "fps": scene.fps,
            "camera_names": [scene.names[index] for index in indices],
            "near": scene.near_far[0],
            "far": scene.near_far[1],
            "frame_sources": [str(source) for source in sources],
            "files_digest": files_digest(sources, self.config.first_frame, scene.num_frames),
            "scene": self.config.data.name or self.config.data.absolute().name,
            "layout": "n3v",
            "camera_extent": camera_extent(scene.poses.camera_to_worlds[scene.splits["train"], :, 3]),
        }
        if scene.cloud is not None:
            metadata["points3D_xyz"] = torch.from_numpy(scene.cloud.xyz.copy())
            metadata["points3D_rgb"] = torch.from_numpy(scene.cloud.rgb.copy())
            if scene.cloud.time is not None:
                metadata["points3D_time"] = torch.from_numpy(scene.cloud.time.copy())
        frames = range(self.config.first_frame, self.config.first_frame + scene.num_frames)
        return DataparserOutputs(
            image_filenames=[
                self.config.data / scene.names[index] / f"{frame:06d}.png" for index in indices for frame in frames
            ],
            cameras=_cameras(scene, indices, self.config.downscale),
            scene_box=_scene_box(scene),
            metadata=metadata,
        )


def _read_scene(config: N3VDataParserConfig) -> _Scene:
    if config.downscale < 1:
        raise ValueError(f"expected --downscale >= 1, found {config.downscale}")
    found = find_cameras(config.data)
    names, sources = list(found), list(found.values())
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
    cloud = _read_cloud(config)
    if cloud is not None:
        cloud = times_within_range(cloud, config.first_frame, num_frames, clip_frames)
    return _Scene(
        names=names,
        sources=sources,
        poses=poses,
        splits=splits,
        image_size={index: (info.width, info.height) for index, info in infos.items()},
        num_frames=num_frames,
        fps=_frame_rate(config, {names[index]: info.fps for index, info in infos.items()}),
        near_far=_near_far(config, poses.near_far[used], path),
        cloud=cloud,
    )


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
    if config.fps is not None:
        if config.fps <= 0:
            raise ValueError(f"expected --fps > 0, found {config.fps}")
        return config.fps
    known = {name: rate for name, rate in rates.items() if rate}
    if not known:
        return _DEFAULT_FPS
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


def _near_far(config: N3VDataParserConfig, bounds: np.ndarray, path: Path) -> tuple[float, float]:
    near = float(bounds[:, 0].min()) if config.near is None else config.near
    far = float(bounds[:, 1].max()) if config.far is None else config.far
    if not 0 < near < far:
        raise ValueError(
            f"expected 0 < near < far, found near {near:g} and far {far:g} (last two columns of {path} unless given); "
            "pass --near and --far"
        )
    return near, far


def _read_cloud(config: N3VDataParserConfig) -> PointCloud | None:
    if config.point_cloud is not None:
        path = config.data / config.point_cloud.expanduser()
    else:
        candidates = sorted(
            (entry for entry in config.data.iterdir() if _is_cloud(entry)),
            key=lambda entry: (not ply_has_time(entry), len(entry.name), entry.name),
        )
        if not candidates:
            warnings.warn(
                f"no seed points (points3D*.ply) in {config.data}; training needs some: pass --point-cloud",
                stacklevel=4,
            )
            return None
        path = candidates[0]
    cloud = read_ply(path)
    if not len(cloud):
        raise ValueError(f"expected points in {path}, found none; delete the file or give another --point-cloud")
    return cloud


def _is_cloud(entry: Path) -> bool:
    name = entry.name.lower()
    return name.startswith("points3d") and name.endswith(".ply") and entry.is_file()


def _cameras(scene: _Scene, indices: list[int], downscale: int) -> Cameras:
    """One camera per image, camera-major. Also of no camera at all (an empty val split)."""
    frames = scene.num_frames
    poses = torch.from_numpy(scene.poses.camera_to_worlds[indices]).float().reshape(-1, 3, 4)
    intrinsics = torch.empty(len(indices), 4)
    size = torch.empty(len(indices), 2, dtype=torch.int64)
    for row, index in enumerate(indices):
        width, height = (int(extent) // downscale for extent in scene.image_size[index])
        if width < 1 or height < 1:
            raise ValueError(
                f"expected --downscale to leave at least one pixel of {scene.image_size[index]} in "
                f"{scene.names[index]}, found {downscale}"
            )
        full_width, full_height = scene.poses.sizes[index].tolist()
        focal = float(scene.poses.focals[index])
        intrinsics[row] = torch.tensor(
            [focal * width / full_width, focal * height / full_height, width / 2, height / 2]
        )
        size[row] = torch.tensor([width, height])
    fx, fy, cx, cy = intrinsics.repeat_interleave(frames, 0)[:, :, None].unbind(1)
    width_column, height_column = size.repeat_interleave(frames, 0)[:, :, None].unbind(1)
    frame_index = torch.arange(frames).repeat(len(indices))[:, None]
    return Cameras(
        camera_to_worlds=poses.repeat_interleave(frames, 0),
        fx=fx,
        fy=fy,
        cx=cx,
        cy=cy,
        width=width_column,
        height=height_column,
        camera_type=CameraType.PERSPECTIVE,
        times=frame_index.float() / max(1, frames - 1),
        metadata={
            "camera_index": torch.arange(len(indices)).repeat_interleave(frames)[:, None],
            "frame_index": frame_index,
        },
    )


def _scene_box(scene: _Scene) -> SceneBox:
    """Axis-aligned box around the cameras in use and the seed points (or, without points, what the cameras look at).

    The outermost half percent of the points on each side is left out: triangulated clouds have strays.
    """
    used = sorted(scene.image_size)
    centres = scene.poses.camera_to_worlds[used, :, 3]
    if scene.cloud is not None:
        content = np.percentile(scene.cloud.xyz, [0.5, 99.5], axis=0)
    else:
        content = centres - scene.poses.camera_to_worlds[used, :, 2] * scene.near_far[1]
    corners = np.concatenate([centres, content])
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = 0.05 * (high - low).max()  # a flat rig without points must not make a flat box
    return SceneBox(aabb=torch.from_numpy(np.stack([low - margin, high + margin])).float())
