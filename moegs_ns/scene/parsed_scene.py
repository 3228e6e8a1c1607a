"""A scene as every data parser reads it: its images with their cameras and times, who holds them, who trains on them.

numpy only, no torch and no nerfstudio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moegs_ns.paths import check_plain_names
from moegs_ns.scene.frame_cache import CameraFrames
from moegs_ns.scene.lens import Lens, Pinhole
from moegs_ns.scene.points import PointCloud

FramesOfCamera = Callable[[int, Sequence[int]], CameraFrames]
"""Camera and some of its images, in their order in the scene, to what decodes them into frames in that order."""


@dataclass(frozen=True)
class ParsedScene:
    """N images of C cameras, ordered camera by camera and frame by frame. World units are the data set's own.

    A camera may move, and need not have an image at every frame, nor only one.
    """

    layout: str
    """What `moegs_ns.scene.dataparsers.layouts` calls the layout."""
    camera_names: Sequence[str]
    camera: np.ndarray
    """int64 ``[N]``, positions in ``camera_names``."""
    frame: np.ndarray
    """int64 ``[N]`` from the first frame used."""
    times: np.ndarray
    """float64 ``[N]`` in [0,1], first to last frame used."""
    poses: np.ndarray
    """float64 ``[N,3,4]`` camera-to-world, OpenGL axes (x right, y up, z backward)."""
    pinholes: Sequence[Pinhole]
    """Of each image as it is trained on."""
    filenames: Sequence[Path]
    """A name of its own for each image; need not exist."""
    frames_of: FramesOfCamera
    splits: dict[str, list[int]]
    """Positions of the images that train, validate and test, ascending."""
    num_frames: int
    first_frame: int
    """Its number in the recording."""
    fps: float
    near_far: tuple[float, float]
    """World units."""
    cloud: PointCloud | None
    background: str | None = None
    """Name of the colour transparent images are composited on; None where none is transparent."""
    image_names: Sequence[str] | None = None
    """Of each image, where single images may be held out rather than whole cameras."""

    def __post_init__(self) -> None:
        check_plain_names(self.camera_names, "names of cameras")  # exports and reports call files after them

    def cameras_of(self, split: str) -> list[int]:
        """Cameras that have images in a split, ascending."""
        return sorted(set(self.camera[self.splits[split]].tolist()))

    @property
    def holds_out_images(self) -> bool:
        """Whether some camera has images in several splits."""
        cameras = [camera for split in self.splits for camera in self.cameras_of(split)]
        return len(set(cameras)) < len(cameras)

    def images_of(self, split: str, camera: int) -> list[int]:
        """A camera's images in a split."""
        return [image for image in self.splits[split] if self.camera[image] == camera]


def frames_from_files(
    files: Sequence[Path],
    pinholes: Sequence[Pinhole],
    lenses: Sequence[Lens] | None = None,
    background: tuple[int, int, int] | None = None,
) -> FramesOfCamera:
    """`ParsedScene.frames_of` of scenes with a file per image.

    Args:
        files: of all N images.
        pinholes: as in the scene.
        lenses: what the images were taken through, in pixels of the files; None where there is no distortion at all.
        background: RGB colour transparent images are composited on.
    """

    def frames_of(camera: int, images: Sequence[int]) -> CameraFrames:
        sizes = {(pinholes[image].width, pinholes[image].height) for image in images}
        if len(sizes) != 1:
            raise ValueError(
                f"expected images of one size from each camera, found {sorted(sizes)} from that of {files[images[0]]}; "
                "scale them to one size"
            )
        ((width, height),) = sizes
        own = () if lenses is None else tuple(lenses[image] for image in images)
        straight = all(lens.is_pinhole for lens in own)
        return CameraFrames(
            source=tuple(files[image].absolute() for image in images),
            first_frame=0,
            num_frames=len(images),
            width=width,
            height=height,
            lenses=() if straight else own,
            background=background,
        )

    return frames_of
