"""A tiny scene in no layout at all: images with known cameras, which the writers beside this file put on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from moegs_ns.scene.decoding import iterate_frames
from moegs_ns.scene.points import read_ply


@dataclass(frozen=True)
class Shot:
    """One image of a pinhole camera; ``pose [3,4]`` is camera-to-world in OpenGL axes, all else in pixels, whose
    centres are at +0.5."""

    camera: str
    frame: int
    pose: np.ndarray
    fx: float
    fy: float
    cx: float
    cy: float
    image: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.shape[1], self.image.shape[0]

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Where world points ``[M,3]`` appear, ``[M,2]``."""
        local = (points - self.pose[:, 3]) @ self.pose[:, :3]
        assert (local[:, 2] < 0).all()
        return np.stack(
            [self.cx - self.fx * local[:, 0] / local[:, 2], self.cy + self.fy * local[:, 1] / local[:, 2]], axis=1
        )

    def rays(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Origins and unit directions ``[M,3]`` of the rays through pixels ``[M,2]``."""
        x, y = (pixels[:, 0] - self.cx) / self.fx, (pixels[:, 1] - self.cy) / self.fy
        directions = np.stack([x, -y, -np.ones_like(x)], axis=1) @ self.pose[:, :3].T
        return np.tile(self.pose[:, 3], (len(pixels), 1)), directions / np.linalg.norm(directions, axis=1)[:, None]

    def cropped(self, left: int, top: int, width: int, height: int) -> Shot:
        """A part of the image, whose principal point is elsewhere in it."""
        image = self.image[top : top + height, left : left + width]
        assert image.shape[:2] == (height, width)
        return replace(self, image=image, cx=self.cx - left, cy=self.cy - top)


@dataclass(frozen=True)
class Clip:
    """Images in any order; several may share a camera and a frame."""

    shots: list[Shot]
    num_frames: int
    xyz: np.ndarray
    rgb: np.ndarray
    near_far: tuple[float, float]

    @property
    def cameras(self) -> list[str]:
        """Names, sorted."""
        return sorted({shot.camera for shot in self.shots})

    def changed(self, change: Callable[[Shot], Shot]) -> Clip:
        """With every image changed."""
        return replace(self, shots=[change(shot) for shot in self.shots])

    def of(self, camera: str, frame: int) -> Shot:
        """The image of a camera at a frame."""
        (found,) = (shot for shot in self.shots if (shot.camera, shot.frame) == (camera, frame))
        return found


def mixed_clip(scene: Path, cameras: Sequence[int], frames: int, shrink: int = 1) -> Clip:
    """Cameras and the first frames of the bundled scene, poses from its ground truth and not from any camera file.

    Args:
        scene: ``examples/mixed``.
        cameras: which of its twelve; named cam00, cam01, ... in this order.
        frames: how many.
        shrink: makes images smaller; must divide 320 and 240.
    """
    truth = json.loads((scene / "ground_truth.json").read_text("utf8"))
    cloud = read_ply(scene / "points3d.ply")
    shots = []
    for index, camera in enumerate(cameras):
        pose = np.array(truth["cams"][camera])[:3]
        for frame, image in enumerate(iterate_frames(scene / f"cam{camera:02d}.mp4", 0, frames)):
            small = cv2.resize(image, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
            focal = truth["fl"] / shrink
            middle = truth["cx"] / shrink, truth["cy"] / shrink
            shots.append(Shot(f"cam{index:02d}", frame, pose, focal, focal, *middle, small))
    return Clip(shots, frames, cloud.xyz, cloud.rgb, (truth["near"], truth["far"]))


def moving_capture(clip: Clip, offset: int = 0, camera: str = "left") -> Clip:
    """As one camera that jumps would have taken it: of every frame the image of one camera, another each time."""
    names = clip.cameras
    shots = [
        replace(clip.of(names[(frame + offset) % len(names)], frame), camera=camera) for frame in range(clip.num_frames)
    ]
    return replace(clip, shots=shots)


def joined(*clips: Clip) -> Clip:
    """Several cameras' images as one clip."""
    return replace(clips[0], shots=[shot for clip in clips for shot in clip.shots])


@dataclass(frozen=True)
class Distortion:
    """OpenCV's lens model, and skew in pixels."""

    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)
    skew: float = 0.0

    @property
    def coefficients(self) -> np.ndarray:
        """In OpenCV's order: k1 k2 p1 p2 k3."""
        k1, k2, k3 = self.radial
        return np.array([k1, k2, *self.tangential, k3])

    def photographed(self, pinhole: np.ndarray, shot: Shot) -> np.ndarray:
        """Pixels ``[M,2]`` of the pinhole picture of ``shot``, where a photograph by this lens has them, by OpenCV."""
        x = np.column_stack([(pinhole - [shot.cx, shot.cy]) / [shot.fx, shot.fy], np.ones(len(pinhole))])
        bent = cv2.projectPoints(x, np.zeros(3), np.zeros(3), np.eye(3), self.coefficients)[0][:, 0]
        return np.stack(
            [shot.fx * bent[:, 0] + self.skew * bent[:, 1] + shot.cx, shot.fy * bent[:, 1] + shot.cy], axis=1
        )

    def photograph(self, shot: Shot) -> np.ndarray:
        """The image as a camera with this lens takes it, edges repeated where the pinhole picture ends."""
        width, height = shot.size
        columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        y = (rows - shot.cy) / shot.fy
        bent = np.stack([(columns - shot.cx - self.skew * y) / shot.fx, y], axis=-1).reshape(-1, 1, 2)
        straight = cv2.undistortPointsIter(
            bent,
            np.eye(3),
            self.coefficients,
            None,
            None,
            (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12),
        ).reshape(height, width, 2)
        places = (straight * [shot.fx, shot.fy] + [shot.cx, shot.cy] - 0.5).astype(np.float32)
        return cv2.remap(shot.image, places[..., 0], places[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
