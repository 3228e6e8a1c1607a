"""What checks look at: every camera's frames, decoded once, and a few of its pictures with their cameras.

A *view* is a camera that stands still, with pictures of several instants, or one image of a camera that moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import cpu_count

import numpy as np

from moegs_ns.checking.result import CheckResult, Verdict
from moegs_ns.preparation.two_view import intrinsics_of, viewmats_from_poses
from moegs_ns.scene.frame_cache import training_frames
from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.parsed_scene import ParsedScene

NAME = "decoding"
#: Of a clip this many frames are decoded, from the first one on.
MOST_FRAMES = 300
# Pictures kept are at most so wide or high: enough for features, and 21 cameras of 2704x2028 stay below half a GB.
_LARGEST_SIDE = 1400
_THUMBNAIL_SIDE = 160
_INSTANTS = 3
# Of captures by moving cameras, so many images spread over time.
_MOST_MOVING_VIEWS = 32
# Poses of a camera that stands still agree to this share of the scene's near bound, and to so much of a turn.
_STILLNESS = 1e-4


@dataclass(frozen=True)
class View:
    """Pictures of one place.

    Attributes:
        name: of the camera, or of the image where cameras move.
        camera: position in the scene's cameras.
        viewmat: ``[4,4]`` OpenCV world-to-camera.
        intrinsics: ``[3,3]`` pixels of the pictures kept.
        pictures: frame (from the first one used) to uint8 ``[H,W,3]``; all of one size.
    """

    name: str
    camera: int
    viewmat: np.ndarray
    intrinsics: np.ndarray
    pictures: Mapping[int, np.ndarray]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures kept."""
        height, width = next(iter(self.pictures.values())).shape[:2]
        return width, height


@dataclass(frozen=True)
class Footage:
    """All decoded frames of a camera that stands still, in little.

    Attributes:
        thumbnails: uint8 ``[T,h,w]``, brightness at a few pixels.
        changes: float64 ``[T-1]``, mean difference of a frame's brightness from the frame before, in grey levels.
    """

    thumbnails: np.ndarray
    changes: np.ndarray


@dataclass(frozen=True)
class Looks:
    """Everything checks look at.

    Attributes:
        scene: as the data parser reads it.
        stands_still: several cameras, each at one place, with an image of every frame.
        views: in the order of cameras and frames.
        footage: by camera name; empty where cameras move.
    """

    scene: ParsedScene
    stands_still: bool
    views: Sequence[View]
    footage: Mapping[str, Footage]


def stands_still(scene: ParsedScene) -> bool:
    """Whether the scene has several cameras, each at one place with an image of every frame."""
    cameras = sorted(set(scene.camera.tolist()))
    for camera in cameras:
        images = np.flatnonzero(scene.camera == camera)
        away = np.abs(scene.poses[images] - scene.poses[images[:1]]).max(axis=(0, 1))  # three axes and the centre
        if (away[:3] > _STILLNESS).any() or away[3] > _STILLNESS * scene.near_far[0]:
            return False
        if len(images) != scene.num_frames or len({scene.pinholes[image] for image in images}) > 1:
            return False
    return len(cameras) > 1


def look(scene: ParsedScene, on_camera: Callable[[], None] = lambda: None) -> tuple[Looks, list[CheckResult]]:
    """Decode what checks look at.

    Args:
        scene: to look at.
        on_camera: called after each camera.

    Returns:
        What was seen, and a result for every camera that could not be decoded; it is left out.
    """
    fixed = stands_still(scene)
    chosen = np.arange(len(scene.camera)) if fixed else _spread_over_time(scene)
    cameras = sorted(set(scene.camera[chosen].tolist()))

    def look_at(camera: int) -> tuple[list[View], Footage | None] | CheckResult:
        images = [image for image in chosen.tolist() if scene.camera[image] == camera]
        try:
            return _fixed(scene, camera, images) if fixed else (_moving(scene, camera, images), None)
        except (ValueError, OSError) as error:
            return CheckResult(NAME, Verdict.UNUSABLE, str(error), (scene.camera_names[camera],))
        finally:
            on_camera()

    with ThreadPoolExecutor(min(8, cpu_count() or 1)) as pool:
        seen = list(pool.map(look_at, cameras))
    views: list[View] = []
    footage: dict[str, Footage] = {}
    failures = []
    for camera, one in zip(cameras, seen, strict=True):
        if isinstance(one, CheckResult):
            failures.append(one)
            continue
        views += one[0]
        if one[1] is not None:
            footage[scene.camera_names[camera]] = one[1]
    return Looks(scene, fixed, views, footage), failures


def _spread_over_time(scene: ParsedScene) -> np.ndarray:
    """Images of all cameras at instants spread over the clip."""
    frames = np.unique(scene.frame)
    per_frame = max(1, round(len(scene.frame) / len(frames)))
    count = min(len(frames), max(2, _MOST_MOVING_VIEWS // per_frame))
    wanted = frames[np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))]
    return np.flatnonzero(np.isin(scene.frame, wanted))


def _fixed(scene: ParsedScene, camera: int, images: list[int]) -> tuple[list[View], Footage]:
    import cv2

    frames = scene.frames_of(camera, images)
    count = min(frames.num_frames, MOST_FRAMES)
    lenses = frames.lenses[:count]
    kept = set(np.unique(np.linspace(0, count - 1, _INSTANTS).round().astype(int)).tolist())
    pictures, thumbnails, changes = {}, [], []
    before = None
    for index, image in enumerate(training_frames(replace(frames, num_frames=count, lenses=lenses))):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if before is not None:
            changes.append(float(cv2.absdiff(grey, before).mean()))
        before = grey
        thumbnails.append(_limited(grey, _THUMBNAIL_SIDE))
        if index in kept:
            pictures[index] = _limited(image, _LARGEST_SIDE)
    view = _view(scene, scene.camera_names[camera], images[0], pictures)
    return [view], Footage(np.stack(thumbnails), np.array(changes))


def _moving(scene: ParsedScene, camera: int, images: list[int]) -> list[View]:
    names = scene.image_names or [
        f"{scene.camera_names[scene.camera[i]]}/{scene.frame[i]}" for i in range(len(scene.camera))
    ]
    return [
        _view(scene, names[image], image, {int(scene.frame[image]): _limited(picture, _LARGEST_SIDE)})
        for image, picture in zip(images, training_frames(scene.frames_of(camera, images)), strict=True)
    ]


def _view(scene: ParsedScene, name: str, image: int, pictures: Mapping[int, np.ndarray]) -> View:
    height, width = next(iter(pictures.values())).shape[:2]
    return View(
        name=name,
        camera=int(scene.camera[image]),
        viewmat=viewmats_from_poses(scene.poses[image : image + 1])[0],
        intrinsics=_matrix(scene.pinholes[image], width, height),
        pictures=pictures,
    )


def _matrix(pinhole: Pinhole, width: int, height: int) -> np.ndarray:
    return intrinsics_of([pinhole.resized(width, height)])[0]


def _limited(image: np.ndarray, side: int) -> np.ndarray:
    """The image, shrunk to this many pixels on its longer side where it has more."""
    import cv2

    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
