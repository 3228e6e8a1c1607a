"""What all data parsers share: options every scene has, and nerfstudio's view of a scene once it is read.

nerfstudio loads data parsers while its own data managers are half imported. This module and the parsers, and everything
they import, may therefore import of nerfstudio only ``cameras``, ``base_dataparser``, ``scene_box`` and
``registry_dataparser``.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox

from moegs_ns.scene.frame_cache import CameraFrames
from moegs_ns.scene.frame_sources import digest_of_rows, fingerprint
from moegs_ns.scene.geometry import camera_extent
from moegs_ns.scene.lens import Lens, Pinhole
from moegs_ns.scene.parsed_scene import ParsedScene
from moegs_ns.scene.splits import SPLITS

#: Of image sequences, which do not say.
DEFAULT_FPS = 30.0


@dataclass
class DynamicDataParserConfig(DataParserConfig):
    """Options every data parser has; each says in its own words what they mean for its layout."""

    _target: type = field(default_factory=lambda: DynamicDataParser)
    data: Path = Path()
    """Folder of the scene."""
    test_cams: tuple[str, ...] | None = None
    """Held out for the final scores."""
    val_cams: tuple[str, ...] = ()
    """Held out for choosing settings: not trained on, not tested on."""
    exclude_cams: tuple[str, ...] = ()
    """Left out altogether."""
    downscale: int = 1
    """Train and render at 1/downscale of the images' size (area averaging). Where it does not divide the size, the
    size is rounded down and the focal lengths of x and y follow exactly."""
    point_cloud: Path | None = None
    """PLY file of seed points, relative to the data folder or absolute."""
    random_points: int = 0
    """Without a point cloud, start from this many grey points at random places the training cameras see, between near
    and far; 0 = none, and training then refuses to start."""
    near: float | None = None
    """Near distance in world units."""
    far: float | None = None
    """Far distance in world units."""
    fps: float | None = None
    """Frames per second."""

    def __setattr__(self, name: str, value: Any) -> None:
        # nerfstudio stores this config as typed; a relative path would tie the run to the current folder. Path() is
        # "not given" and stays.
        if name == "data" and value is not None and Path(value) != Path():
            value = Path(value).expanduser().absolute()
        super().__setattr__(name, value)


@dataclass
class DynamicDataParser(DataParser):
    """Yields nerfstudio cameras with times; the world is neither recentred nor rescaled.

    Images are ordered camera by camera, frame by frame. ``Cameras.times`` is ``frame / (num_frames - 1)`` where frames
    have numbers; ``Cameras.metadata`` holds ``camera_index`` (into this split's ``camera_names``) and ``frame_index``
    (from the first frame used), both ``[N,1]`` int64. Cameras are pinholes, and the images their pictures: read through
    `FrameStore` from ``metadata["frame_sources"]``, one `CameraFrames` per camera. Names of image files may be virtual.
    """

    config: DynamicDataParserConfig
    includes_time: bool = True

    @abstractmethod
    def read_scene(self) -> ParsedScene:
        """The scene with all its splits, checked.

        Raises:
            FileNotFoundError, ValueError: files that are missing, wrong, or do not fit the options.
        """

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        if split not in SPLITS:
            raise ValueError(f"expected one of the splits {', '.join(SPLITS)}, found {split!r}")
        if self.config.downscale < 1:
            raise ValueError(f"expected --downscale >= 1, found {self.config.downscale}")
        if self.config.random_points < 0:
            raise ValueError(f"expected --random-points >= 0, found {self.config.random_points}")
        return _outputs(self.read_scene(), split, self.config.data)


def frame_rate(config: DynamicDataParserConfig, default: float = DEFAULT_FPS) -> float:
    """The frame rate a user gave, else the scene's.

    Raises:
        ValueError: not positive.
    """
    rate = default if config.fps is None else config.fps
    if not 0 < rate < math.inf:
        raise ValueError(f"expected --fps > 0, found {rate}")
    return rate


def view_through(lens: Lens, size: tuple[int, int], factor: int, name: str) -> Pinhole:
    """The pinhole picture that photographs of ``size`` (width, height) contain, with 1/factor as many pixels a side,
    rounded down.

    Raises:
        ValueError: the lens leaves no such picture, or no pixel is left; the message names the camera or image.
    """
    width, height = size[0] // factor, size[1] // factor
    if width < 1 or height < 1:
        raise ValueError(
            f"expected --downscale to leave at least one pixel of {size[0]}x{size[1]} in {name}, found {factor}"
        )
    try:
        return lens.pinhole(*size).resized(width, height)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def near_and_far(
    config: DynamicDataParserConfig, bounds: tuple[float, float] | None, source: str
) -> tuple[float, float]:
    """The bounds a user gave, else those of the scene.

    Args:
        config: with the user's.
        bounds: near and far of the scene, None where it says nothing of them.
        source: where the scene's come from, or would, for messages.

    Raises:
        ValueError: no bounds at all, or not 0 < near < far.
    """
    near, far = (
        own if own is not None else None if bounds is None else bounds[index]
        for index, own in enumerate((config.near, config.far))
    )
    if near is None or far is None:
        raise ValueError(
            f"expected a nearest and a farthest distance of the scene's content, found neither {source}; pass --near "
            "and --far in world units"
        )
    if not 0 < near < far:
        raise ValueError(
            f"expected 0 < near < far, found near {near:g} and far {far:g} ({source} unless given); pass --near and "
            "--far"
        )
    return near, far


def _outputs(scene: ParsedScene, split: str, data: Path) -> DataparserOutputs:
    cameras, images = scene.cameras_of(split), scene.splits[split]
    frames = [scene.frames_of(camera, scene.images_of(split, camera)) for camera in cameras]
    train = scene.splits["train"]
    # One centre per place a camera stands at, however long it stands there.
    _, places = np.unique(np.column_stack([scene.camera[train], scene.poses[train, :, 3]]), axis=0, return_index=True)
    metadata: dict[str, Any] = {
        "num_frames": scene.num_frames,
        "first_frame": scene.first_frame,
        "fps": scene.fps,
        "camera_names": [scene.camera_names[camera] for camera in cameras],
        "near": scene.near_far[0],
        "far": scene.near_far[1],
        "frame_sources": frames,
        "files_digest": _digest(frames),
        "scene": data.name or data.absolute().name,
        "layout": scene.layout,
        "camera_extent": camera_extent(scene.poses[train][np.sort(places), :, 3]),
    }
    if scene.background is not None:
        metadata["background"] = scene.background
    if scene.image_names is not None and scene.holds_out_images:
        metadata["image_names"] = [scene.image_names[image] for image in images]
    if scene.cloud is not None:
        metadata["points3D_xyz"] = torch.from_numpy(scene.cloud.xyz.copy())
        metadata["points3D_rgb"] = torch.from_numpy(scene.cloud.rgb.copy())
        if scene.cloud.time is not None:
            metadata["points3D_time"] = torch.from_numpy(scene.cloud.time.copy())
    return DataparserOutputs(
        image_filenames=[scene.filenames[image] for image in images],
        cameras=_cameras(scene, images, cameras),
        scene_box=_scene_box(scene),
        metadata=metadata,
    )


def _digest(frames: Sequence[CameraFrames]) -> str:
    """Of the contents of the files behind them, wherever they lie."""
    return digest_of_rows(row for one in frames for row in fingerprint(one.source, one.first_frame, one.num_frames))


def _cameras(scene: ParsedScene, images: list[int], cameras: list[int]) -> Cameras:
    """One camera per image. Also of no image at all (an empty val split)."""
    pinholes = [scene.pinholes[image] for image in images]
    numbers = torch.tensor([(one.fx, one.fy, one.cx, one.cy) for one in pinholes], dtype=torch.float64).reshape(-1, 4)
    sizes = torch.tensor([(one.width, one.height) for one in pinholes], dtype=torch.int64).reshape(-1, 2)
    fx, fy, cx, cy = numbers.float()[:, :, None].unbind(1)
    width, height = sizes[:, :, None].unbind(1)
    position = {camera: index for index, camera in enumerate(cameras)}
    index = [position[camera] for camera in scene.camera[images].tolist()]
    return Cameras(
        camera_to_worlds=torch.from_numpy(scene.poses[images]).float().reshape(-1, 3, 4),
        fx=fx,
        fy=fy,
        cx=cx,
        cy=cy,
        width=width,
        height=height,
        camera_type=CameraType.PERSPECTIVE,
        times=torch.from_numpy(scene.times[images]).float()[:, None],
        metadata={
            "camera_index": torch.tensor(index, dtype=torch.int64)[:, None],
            "frame_index": torch.from_numpy(scene.frame[images].astype(np.int64))[:, None],
        },
    )


def _scene_box(scene: ParsedScene) -> SceneBox:
    """Axis-aligned box around the cameras in use and the seed points (or, without points, what the cameras look at).

    The outermost half percent of the points on each side is left out: triangulated clouds have strays.
    """
    used = sorted(image for images in scene.splits.values() for image in images)
    centres = scene.poses[used, :, 3]
    if scene.cloud is not None:
        content = np.percentile(scene.cloud.xyz, [0.5, 99.5], axis=0)
    else:
        content = centres - scene.poses[used, :, 2] * scene.near_far[1]
    corners = np.concatenate([centres, content])
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = 0.05 * (high - low).max()  # a flat rig without points must not make a flat box
    return SceneBox(aabb=torch.from_numpy(np.stack([low - margin, high + margin])).float())
