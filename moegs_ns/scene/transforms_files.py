"""``transforms*.json`` with a time per image, as nerfstudio and the synthetic scenes of D-NeRF have them, checked.

``transform_matrix`` is camera-to-world in OpenGL axes. Intrinsics stand beside ``frames``, for all images, or in a
frame, for one: ``fl_x fl_y cx cy w h`` in pixels with pixel centres at +0.5, or ``camera_angle_x`` in radians;
distortion ``k1 k2 k3 k4 p1 p2`` as OpenCV has it. What is not stated of a frame's size follows from its image.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from moegs_ns.scene.frame_sources import IMAGE_SUFFIXES, image_size
from moegs_ns.scene.image_splits import Role
from moegs_ns.scene.json_files import read_json
from moegs_ns.scene.lens import Lens

_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
_RADIAL, _TANGENTIAL = ("k1", "k2", "k3", "k4"), ("p1", "p2")
_CAMERA_KEYS = ("camera", "camera_label")
_CAMERA_FOLDER = re.compile(r"cam(era)?[_-]?\d+", re.IGNORECASE)
_ASPECT_TOLERANCE = 0.01
_SPLITS: tuple[Role, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class TransformsImage:
    """One image.

    Attributes:
        name: its path below the scene's folder, without suffix.
        file: the image.
        time: as it is written.
        camera: name of the camera that took it; None where nothing tells.
        camera_to_world: float64 ``[3,4]``, OpenGL axes.
        lens: in pixels of the file.
        size: the file's width and height.
        role: what the file or its lists use it for; None where they say nothing.
    """

    name: str
    file: Path
    time: float
    camera: str | None
    camera_to_world: np.ndarray
    lens: Lens
    size: tuple[int, int]
    role: Role | None


@dataclass(frozen=True)
class Transforms:
    """All images of a scene, and what is said of it as a whole."""

    images: list[TransformsImage]
    point_cloud: Path | None
    """``ply_file_path``."""
    fps: float | None


def read_transforms(data: Path) -> Transforms:
    """``transforms_train.json``, with ``transforms_val.json`` and ``transforms_test.json`` as far as they are there;
    without it, ``transforms.json``.

    Raises:
        FileNotFoundError: none of them, or an image they name is missing.
        ValueError: entries that are missing, or of cameras other than pinholes with OpenCV's distortion.
    """
    files: list[tuple[Path, Role | None]] = [(data / "transforms.json", None)]
    if (data / "transforms_train.json").is_file():
        named: list[tuple[Path, Role | None]] = [(data / f"transforms_{split}.json", split) for split in _SPLITS]
        files = [(path, role) for path, role in named if path.is_file()]
    images: list[TransformsImage] = []
    point_cloud: Path | None = None
    fps: float | None = None
    for path, role in files:
        values = read_json(path, "the images' cameras (transforms_train.json, or transforms.json)")
        frames = values.get("frames")
        if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
            raise ValueError(f"expected a list of frames in {path}, found none; write the file anew")
        images += [_image(data, path, {**values, **frame}, role or _listed_role(values, frame)) for frame in frames]
        if point_cloud is None and values.get("ply_file_path"):
            point_cloud = data / str(values["ply_file_path"])
        fps = _number(values, "fps", path) if fps is None else fps
    if not images:
        raise ValueError(f"expected images in {files[0][0]}, found none; write the file anew")
    names = [image.name for image in images]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"expected every image once in {', '.join(path.name for path, _ in files)}, found {twice} twice"
        )
    return Transforms(images, point_cloud, fps)


def _image(data: Path, path: Path, values: Mapping[str, Any], role: Role | None) -> TransformsImage:
    """``values``: those of the file, overridden by those of the frame."""
    if not isinstance(values.get("file_path"), str):
        raise ValueError(f"expected a file_path for every frame in {path}, found none; write the file anew")
    relative = PurePosixPath(values["file_path"])
    file = _image_file(data / relative, path)
    time = _number(values, "time", path)
    if time is None:
        raise ValueError(
            f"expected a time for every frame in {path}, found none for {relative}; add 'time', 0 for the first frame "
            "to 1 for the last, or use nerfstudio-data and a static method for scenes that stand still"
        )
    try:
        pose = np.array(values["transform_matrix"], dtype=np.float64)[:3]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected a transform_matrix of numbers for {relative} in {path}, found none") from error
    if pose.shape != (3, 4) or not np.isfinite(pose).all():
        raise ValueError(f"expected a finite 4x4 transform_matrix for {relative} in {path}, found {pose.shape}")
    size = image_size(file)
    name = str(relative.with_suffix("")) if relative.suffix.lower() in IMAGE_SUFFIXES else str(relative)
    return TransformsImage(
        name=name,
        file=file,
        time=time,
        camera=_camera_name(values, relative),
        camera_to_world=pose,
        lens=_lens(values, size, file, path),
        size=size,
        role=role,
    )


def _image_file(stated: Path, path: Path) -> Path:
    """The file a path names; synthetic scenes leave out the suffix."""
    candidates = [stated]
    if stated.suffix.lower() not in IMAGE_SUFFIXES:
        candidates = [stated.with_name(stated.name + suffix) for suffix in IMAGE_SUFFIXES]
    found = [candidate for candidate in candidates if candidate.is_file()]
    if not found:
        raise FileNotFoundError(
            f"expected the image that {path} names at {candidates[0]}, found no such file; copy it, or make file_path "
            "relative to the folder of that file"
        )
    return found[0]


def _camera_name(values: Mapping[str, Any], relative: PurePosixPath) -> str | None:
    """What an entry says, else a folder of the path that is called like a camera (cam00/images/0000.png)."""
    for key in _CAMERA_KEYS:
        if values.get(key) is not None:
            return str(values[key])
    return next((part for part in relative.parts[:-1] if _CAMERA_FOLDER.fullmatch(part)), None)


def _lens(values: Mapping[str, Any], size: tuple[int, int], file: Path, path: Path) -> Lens:
    """In pixels of the file, whatever size the numbers were stated for."""
    model = str(values.get("camera_model") or _MODELS[0]).upper()
    if model not in _MODELS or values.get("is_fisheye"):
        raise ValueError(
            f"expected a perspective camera in {path} ({', '.join(_MODELS)}), found "
            f"{'is_fisheye' if values.get('is_fisheye') else model} for {file.name}; undistort the images first"
        )
    numbers = {
        key: _number(values, key, path)
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y", *_RADIAL, *_TANGENTIAL)
    }
    width, height = numbers["w"] or size[0], numbers["h"] or size[1]
    x, y = size[0] / width, size[1] / height
    if abs(x / y - 1) > _ASPECT_TOLERANCE:
        raise ValueError(
            f"expected {file} to have the proportions of w x h = {width:g}x{height:g} in {path}, found "
            f"{size[0]}x{size[1]}; correct w and h, or make the image anew"
        )
    fx = numbers["fl_x"] or _focal(numbers["camera_angle_x"], width)
    fy = numbers["fl_y"] or _focal(numbers["camera_angle_y"], height) or fx
    fx = fx or fy
    if fx is None or fy is None or not (fx > 0 and fy > 0):
        raise ValueError(f"expected fl_x or camera_angle_x above 0 in {path} for {file.name}, found none; add it")
    cx = width / 2 if numbers["cx"] is None else numbers["cx"]
    cy = height / 2 if numbers["cy"] is None else numbers["cy"]
    p1, p2 = (numbers[key] or 0.0 for key in _TANGENTIAL)
    return Lens(fx, fy, cx, cy, 0.0, tuple(numbers[key] or 0.0 for key in _RADIAL), (p1, p2)).resized(x, y)


def _focal(angle: float | None, extent: float) -> float | None:
    return None if angle is None else 0.5 * extent / math.tan(0.5 * angle)


def _number(values: Mapping[str, Any], key: str, path: Path) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a number as '{key}' in {path}, found {value!r}; correct it")
    return float(value)


def _listed_role(values: Mapping[str, Any], frame: Mapping[str, Any]) -> Role | None:
    """By nerfstudio's lists ``train_filenames``, ``val_filenames`` and ``test_filenames`` of a single file."""
    for split in _SPLITS:
        if frame.get("file_path") in (values.get(f"{split}_filenames") or ()):
            return split
    return None
