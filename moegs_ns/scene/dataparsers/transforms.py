"""Data parser for ``transforms.json`` with a time per image: nerfstudio's format, of one camera or several.

It may import very little of nerfstudio: see `moegs_ns.scene.dataparsers.base`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from moegs_ns.scene.dataparsers.base import (
    DEFAULT_FPS,
    DynamicDataParser,
    DynamicDataParserConfig,
    frame_rate,
    near_and_far,
    view_through,
)
from moegs_ns.scene.depth_range import depth_range
from moegs_ns.scene.geometry import check_rotations
from moegs_ns.scene.image_splits import ImageLabels, Role, split_images
from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.parsed_scene import ParsedScene, frames_from_files
from moegs_ns.scene.points import PointCloud
from moegs_ns.scene.seed_files import points3d_files, points_in_view, read_seed_cloud
from moegs_ns.scene.transforms_files import Transforms, TransformsImage, read_transforms

BACKGROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0)}
_ONLY_CAMERA = "camera"
# Of a single camera's images, the fifth of every eight is held out: neither the first nor, as a rule, the last.
_HELD_OUT = slice(4, None, 8)
# Times closer than this, as a share of the clip, are one instant: files state them with few digits.
_TIME_TOLERANCE = 1e-6
_LEAST_STEP = 0.1
# Share of the way to the next frame up to which a time is that of its frame.
_FRAME_TOLERANCE = 0.02


@dataclass
class TransformsDataParserConfig(DynamicDataParserConfig):
    """Captures in nerfstudio's format with a time per image: transforms.json, or transforms_train.json and others."""

    _target: type = field(default_factory=lambda: TransformsDataParser)
    data: Path = Path()
    """Folder with transforms_train.json and transforms_test.json (and maybe transforms_val.json), or else with
    transforms.json. Each frame needs a time. A frame's 'camera', or a folder camNN in its file_path, says which camera
    took it; without either one camera took all. Lens distortion is taken out of the images when they are read."""
    test_cams: tuple[str, ...] | None = None
    """Held-out cameras, by name (cam00) or by index in the sorted names (0); or held-out images of a single camera, by
    file_path without suffix (images/0004), frame number (4) or slice of the images in the order of time (4::8).
    Default: what transforms_test.json or test_filenames hold; else the first of several cameras; else 4::8."""
    val_cams: tuple[str, ...] = ()
    """Cameras or images for choosing settings, named likewise: not trained on, not tested on. Numbers and slices choose
    among what would train. Default: what transforms_val.json or val_filenames hold."""
    exclude_cams: tuple[str, ...] = ()
    """Cameras or images to leave out altogether, named likewise."""
    point_cloud: Path | None = None
    """PLY file of seed points (x y z, red green blue, optionally time or t in [0,1] over the clip), relative to the
    data folder or absolute. Default: ply_file_path of the json file, else points3D*.ply in the data folder."""
    near: float | None = None
    """Near distance in world units. Default: that of the seed points the training images show."""
    far: float | None = None
    """Far distance in world units. Default: that of the seed points the training images show."""
    fps: float | None = None
    """Frames per second. Default: 'fps' of the json file, else 30."""
    num_frames: int | None = None
    """Number of frames of the whole clip. Default: from the commonest step between the training images' times."""
    time_range: tuple[float, float] = (0.0, 1.0)
    """Which 'time' is the clip's beginning, and which its end."""
    background: Literal["white", "black"] | None = None
    """What transparent images are composited on; choose the same --pipeline.model.background. Default: such images are
    refused."""


@dataclass
class TransformsDataParser(DynamicDataParser):
    """Single images with poses of their own, or image sequences of cameras that stand still."""

    config: TransformsDataParserConfig
    layout = "transforms"

    def read_scene(self) -> ParsedScene:
        config = self.config
        transforms = read_transforms(config.data)
        names = _camera_names(transforms.images)
        images = sorted(transforms.images, key=lambda image: (names[image.name], image.time, image.name))
        times = _times(config, images)
        num_frames = _num_frames(config, images, times)
        frame = np.round(times * (num_frames - 1)).astype(np.int64)
        # Times are stated with few digits: cameras that saw one frame must agree in it exactly.
        last = max(1, num_frames - 1)
        times = np.where(np.abs(times * last - frame) < _FRAME_TOLERANCE, frame / last, times)
        camera_names = sorted(set(names.values()))
        labels = ImageLabels(
            names=[image.name for image in images],
            cameras=[names[image.name] for image in images],
            frames=frame.tolist(),
            camera_names=camera_names,
            numbers="camera" if len(camera_names) > 1 else "frame",
        )
        splits = split_images(
            labels, _roles(config, images, labels), config.test_cams, config.val_cams, config.exclude_cams
        )
        pinholes = [view_through(image.lens, image.size, config.downscale, image.file.name) for image in images]
        poses = np.array([image.camera_to_world for image in images])
        check_rotations(
            poses[:, :, :3],
            f"rotations in the transform_matrix entries of {config.data}",
            labels.names,
            "write those poses without scale",
        )
        train = splits["train"]
        cloud, near_far = self.seeds_and_bounds(transforms, poses[train], [pinholes[image] for image in train])
        files, lenses = [image.file for image in images], [image.lens for image in images]
        background = None if config.background is None else BACKGROUNDS[config.background]
        return ParsedScene(
            layout=self.layout,
            camera_names=camera_names,
            camera=np.array([camera_names.index(camera) for camera in labels.cameras]),
            frame=frame,
            times=times,
            poses=poses,
            pinholes=pinholes,
            filenames=files,
            frames_of=frames_from_files(files, pinholes, lenses, background),
            splits=splits,
            num_frames=num_frames,
            first_frame=0,
            fps=frame_rate(config, transforms.fps or DEFAULT_FPS),
            near_far=near_far,
            cloud=cloud,
            background=config.background,
            image_names=labels.names,
        )

    def seeds_and_bounds(
        self, transforms: Transforms, poses: np.ndarray, pinholes: Sequence[Pinhole]
    ) -> tuple[PointCloud | None, tuple[float, float]]:
        """Seed points, and near and far; ``poses [N,3,4]`` and pinholes are those of the training images."""
        config = self.config
        candidates = points3d_files(config.data)
        if transforms.point_cloud is not None:
            candidates = [transforms.point_cloud, *candidates]
        cloud = read_seed_cloud(config.data, config.point_cloud, candidates, config.random_points)
        bounds = None if cloud is None else depth_range(cloud.xyz, poses, pinholes)
        near_far = near_and_far(config, bounds, "in the depths of seed points the training images show")
        if cloud is None and config.random_points:
            cloud = points_in_view(config.random_points, poses, pinholes, *near_far)
        return cloud, near_far


def _camera_names(images: Sequence[TransformsImage]) -> dict[str, str]:
    """The camera of every image, by the image's name."""
    named = [image for image in images if image.camera is not None]
    if not named:
        return {image.name: _ONLY_CAMERA for image in images}
    if len(named) < len(images):
        without = next(image.name for image in images if image.camera is None)
        raise ValueError(
            f"expected a 'camera' (or a folder camNN in file_path) for all frames or for none, found {len(named)} of "
            f"{len(images)} with one and {without} without; add it"
        )
    return {image.name: str(image.camera) for image in images}


def _times(config: TransformsDataParserConfig, images: Sequence[TransformsImage]) -> np.ndarray:
    """``[N]`` in [0,1] over the clip."""
    begin, end = config.time_range
    if not begin < end:
        raise ValueError(f"expected --time-range BEGIN END with BEGIN < END, found {begin:g} {end:g}")
    stated = np.array([image.time for image in images])
    times = (stated - begin) / (end - begin)
    if times.min() < -_TIME_TOLERANCE or times.max() > 1 + _TIME_TOLERANCE:
        raise ValueError(
            f"expected times from {begin:g} (first frame) to {end:g} (last) in the json files of {config.data}, found "
            f"{stated.min():g} to {stated.max():g}; pass --time-range {stated.min():g} {stated.max():g}, or the times "
            "of the clip's beginning and end"
        )
    return times.clip(0.0, 1.0)


def _num_frames(config: TransformsDataParserConfig, images: Sequence[TransformsImage], times: np.ndarray) -> int:
    if config.num_frames is not None:
        if config.num_frames < 1:
            raise ValueError(f"expected --num-frames >= 1, found {config.num_frames}")
        return config.num_frames
    training = np.array([image.role in (None, "train") for image in images])
    steps = np.diff(np.unique(times[training] if training.any() else times))
    # Far smaller steps than the mean one are between cameras that saw one frame and state its time with few digits.
    steps = steps[steps > max(_TIME_TOLERANCE, _LEAST_STEP * steps.mean())] if len(steps) else steps
    return 1 if not len(steps) else round(1 / float(np.median(steps))) + 1


def _roles(
    config: TransformsDataParserConfig, images: Sequence[TransformsImage], labels: ImageLabels
) -> list[Role | None]:
    """What the files use each image for; where they hold out nothing, the rule of `TransformsDataParserConfig`."""
    stated = [image.role for image in images]
    if any(role is not None for role in stated):
        return stated
    held_out: set[int] = set()
    if config.test_cams is None and len(labels.camera_names) > 1:
        held_out = {image for image in range(len(images)) if labels.cameras[image] == labels.camera_names[0]}
    elif config.test_cams is None:
        held_out = set(sorted(range(len(images)), key=lambda image: images[image].time)[_HELD_OUT])
    return ["test" if image in held_out else "train" for image in range(len(images))]
