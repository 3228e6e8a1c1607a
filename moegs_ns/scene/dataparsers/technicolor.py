"""Data parser for the layout of the Technicolor light-field scenes: one PNG per camera and frame, all in one folder.

It may import very little of nerfstudio: see `moegs_ns.scene.dataparsers.base`.
"""

import re
import warnings
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
from moegs_ns.scene.lens import Lens
from moegs_ns.scene.parsed_scene import ParsedScene, frames_from_files
from moegs_ns.scene.seed_files import points3d_files, points_in_view, read_seed_cloud
from moegs_ns.scene.splits import split_cameras
from moegs_ns.scene.technicolor_cameras import CALIBRATION_NAME, TechnicolorCameras, read_technicolor_cameras

_IMAGE = re.compile(r"(?P<scene>.+)_undist_(?P<frame>\d+)_(?P<camera>\d+)\.png", re.IGNORECASE)
_HELD_OUT = "cam10"
# First of the 50 frames that published comparisons use, by the number in the file names.
_PUBLISHED_FIRST = {"birthday": 151, "fabien": 51, "painter": 100, "theater": 51, "train": 151}
_PUBLISHED_FRAMES = 50
# (scene, frame, camera) of files that were published truncated.
_KNOWN_TRUNCATED = {("birthday", 12, 9), ("birthday", 173, 9), ("birthday", 255, 2)}
_PNG_END = b"IEND"
# A principal point farther from the centre than this share of the image's size belongs to an image of another size.
_FARTHEST_PRINCIPAL_POINT = 0.25


@dataclass
class TechnicolorDataParserConfig(DynamicDataParserConfig):
    """Undistorted images of a 4x4 rig: <Scene>_undist_<frame>_<camera>.png and cameras_parameters.txt."""

    _target: type = field(default_factory=lambda: TechnicolorDataParser)
    data: Path = Path()
    """Folder with cameras_parameters.txt and the images, or with the images in a folder images. Line i of the former,
    after the headings, belongs to camera i."""
    test_cams: tuple[str, ...] | None = None
    """Held-out cameras, by name (cam10) or number (10). Default: camera 10, as in published comparisons."""
    val_cams: tuple[str, ...] = ()
    """Cameras for choosing settings: not trained on, not tested on. Default: none."""
    exclude_cams: tuple[str, ...] = ()
    """Cameras to leave out altogether; their lines stay and their images are not looked at."""
    point_cloud: Path | None = None
    """PLY file of seed points (x y z, red green blue, optionally time or t in [0,1] over the frames used), relative to
    the data folder or absolute. Default: points3D*.ply in the data folder, one with times first."""
    near: float | None = None
    """Near distance in world units. Default: that of the seed points the training cameras see."""
    far: float | None = None
    """Far distance in world units. Default: that of the seed points the training cameras see."""
    fps: float | None = None
    """Frames per second. Default: 30; the files do not say."""
    first_frame: int | None = None
    """First frame to use, as numbered in the file names. Default: as in published comparisons (Birthday 151, Fabien 51,
    Painter 100, Theater 51, Train 151); for other scenes the first there is."""
    num_frames: int | None = None
    """Number of frames to use from first_frame on. Default: 50 for these five scenes, else all."""


@dataclass(frozen=True)
class _Images:
    """The images of a folder: the ``scene`` in their names, and the file of each ``(camera, frame)``."""

    scene: str
    files: dict[tuple[int, int], Path]


@dataclass
class TechnicolorDataParser(DynamicDataParser):
    """Whole image sequences of cameras that stand still."""

    config: TechnicolorDataParserConfig

    def read_scene(self) -> ParsedScene:
        config = self.config
        cameras = read_technicolor_cameras(config.data / CALIBRATION_NAME)
        names = [f"cam{number:02d}" for number in range(len(cameras))]
        splits = split_cameras(names, _test_cameras(config, names), config.val_cams, config.exclude_cams)
        used = sorted(index for indices in splits.values() for index in indices)
        images = _find_images(config.data, len(cameras))
        first, num_frames = _frame_range(config, images, used)
        numbers = range(first, first + num_frames)
        files = [_usable(images, index, number) for index in used for number in numbers]
        sizes = {index: image_size(images.files[index, first]) for index in used}
        _check_principal_points(cameras, sizes, names)
        pinholes = {
            index: view_through(cameras.lenses[index], sizes[index], config.downscale, names[index]) for index in used
        }
        train = splits["train"]
        views = cameras.camera_to_worlds[train], [pinholes[index] for index in train]
        cloud = read_seed_cloud(config.data, config.point_cloud, points3d_files(config.data), config.random_points)
        bounds = None if cloud is None else depth_range(cloud.xyz, *views)
        near_far = near_and_far(config, bounds, "in the depths of seed points the training cameras see")
        if cloud is None and config.random_points:
            cloud = points_in_view(config.random_points, *views, *near_far)
        camera, frame = np.repeat(used, num_frames), np.tile(np.arange(num_frames), len(used))
        per_image = camera.tolist()
        lenses: list[Lens] = [cameras.lenses[index] for index in per_image]
        return ParsedScene(
            layout="technicolor",
            camera_names=names,
            camera=camera,
            frame=frame,
            times=frame / max(1, num_frames - 1),
            poses=cameras.camera_to_worlds[camera],
            pinholes=[pinholes[index] for index in per_image],
            filenames=[images.files[index, number] for index in used for number in numbers],
            frames_of=frames_from_files(files, [pinholes[index] for index in per_image], lenses),
            splits={split: np.flatnonzero(np.isin(camera, indices)).tolist() for split, indices in splits.items()},
            num_frames=num_frames,
            first_frame=first,
            fps=frame_rate(config),
            near_far=near_far,
            cloud=cloud,
        )


def _test_cameras(config: TechnicolorDataParserConfig, names: list[str]) -> tuple[str, ...]:
    if config.test_cams is not None:
        return config.test_cams
    if _HELD_OUT not in names:
        raise ValueError(
            f"expected a rig with {_HELD_OUT}, which is held out as a rule, found {names[0]} to {names[-1]}; name "
            "held-out cameras with --test-cams"
        )
    return (_HELD_OUT,)


def _find_images(data: Path, cameras: int) -> _Images:
    """All images of the scene, in its folder or in ``images`` below it."""
    folder = data / "images" if (data / "images").is_dir() else data
    files: dict[tuple[int, int], Path] = {}
    scenes: set[str] = set()
    for path in sorted(folder.iterdir()):
        if match := _IMAGE.fullmatch(path.name):
            scenes.add(match["scene"])
            files[int(match["camera"]), int(match["frame"])] = path
    if not files:
        raise FileNotFoundError(
            f"expected images <Scene>_undist_<frame>_<camera>.png in {data} or {data / 'images'}, found none; check "
            "--data, and take the undistorted images"
        )
    if len(scenes) > 1:
        raise ValueError(
            f"expected images of one scene in {folder}, found {', '.join(sorted(scenes))}; put each in its own folder"
        )
    if (most := max(camera for camera, _ in files)) >= cameras:
        raise ValueError(
            f"expected images of cameras 0 to {cameras - 1}, the lines of {data / CALIBRATION_NAME}, found camera "
            f"{most}; copy that file again, or remove images that belong to no line"
        )
    return _Images(scenes.pop(), files)


def _frame_range(config: TechnicolorDataParserConfig, images: _Images, used: list[int]) -> tuple[int, int]:
    """First frame and number of frames; every camera in use has them all."""
    there = sorted({frame for camera, frame in images.files if camera in used})
    if not there:
        raise ValueError(f"expected images of the cameras in use, found none in {config.data}; check --exclude-cams")
    published = _PUBLISHED_FIRST.get(images.scene.lower())
    first = config.first_frame
    if first is None:
        first = there[0] if published is None else published
    count = config.num_frames
    if count is None:
        count = there[-1] + 1 - first if published is None else _PUBLISHED_FRAMES
    if count < 1:
        raise ValueError(
            f"expected frames within {there[0]} to {there[-1]}, found --first-frame {first} and {count} frames; change "
            "--first-frame or --num-frames"
        )
    wanted = [(camera, frame) for camera in used for frame in range(first, first + count)]
    missing = [key for key in wanted if key not in images.files]
    if missing:
        camera, frame = missing[0]
        raise ValueError(
            f"expected frames {first} to {first + count - 1} of every camera of {images.scene}, found {len(missing)} "
            f"of {len(wanted)} images missing, such as frame {frame} of camera {camera}; frames {there[0]} to "
            f"{there[-1]} are there: pass --first-frame and --num-frames, or --exclude-cams what is incomplete"
        )
    return first, count


def _usable(images: _Images, camera: int, frame: int) -> Path:
    """The image's file, or for those that were published truncated that of the frame before, as all comparisons do."""
    path = images.files[camera, frame]
    if not _is_truncated(path):
        return path
    if (images.scene.lower(), frame, camera) not in _KNOWN_TRUNCATED:
        raise ValueError(f"expected a whole PNG file at {path}, found a truncated one; copy it again")
    before = images.files.get((camera, frame - 1))
    if before is None or _is_truncated(before):
        raise ValueError(
            f"expected the frame before {path}, which was published truncated, to stand in for it, found none; copy "
            "that frame too, though it lies outside the range"
        )
    warnings.warn(f"{path.name} was published truncated; {before.name} stands in for it", stacklevel=5)
    return before


def _is_truncated(path: Path) -> bool:
    """Whether a PNG file lacks its end."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 64))
        return _PNG_END not in file.read()


def _check_principal_points(cameras: TechnicolorCameras, sizes: dict[int, tuple[int, int]], names: list[str]) -> None:
    """The file does not say which image size it is about; principal points tell."""
    for index, (width, height) in sizes.items():
        lens = cameras.lenses[index]
        off = max(abs(lens.cx / width - 0.5), abs(lens.cy / height - 0.5))
        if off > _FARTHEST_PRINCIPAL_POINT:
            raise ValueError(
                f"expected images of the size that was calibrated, found {width}x{height} in {names[index]} whose "
                f"principal point is ({lens.cx:g}, {lens.cy:g}); use the original images, made smaller by --downscale"
            )
