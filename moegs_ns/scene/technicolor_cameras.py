"""``cameras_parameters.txt``, the calibration of the Technicolor light-field scenes.

A line of headings, then one line per camera in the order of their numbers (row by row of the rig), twelve numbers each:
focal length, principal point column and row (pixels), aspect ratio, skew (pixels), the quaternion w x y z and the
translation x y z that take world points to camera axes x right, y down, z forward. The images are undistorted already.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moegs_ns.scene.geometry import FLIP_Y_AND_Z
from moegs_ns.scene.lens import Lens

CALIBRATION_NAME = "cameras_parameters.txt"
_NUMBERS = 12
_UNIT_TOLERANCE = 1e-2


@dataclass(frozen=True)
class TechnicolorCameras:
    """Cameras of a rig, world units untouched."""

    camera_to_worlds: np.ndarray
    """float64 ``[N,3,4]``, OpenGL axes (x right, y up, z backward), as in nerfstudio."""
    lenses: list[Lens]
    """In pixels of the images that were calibrated; no distortion, maybe skew."""

    def __len__(self) -> int:
        return len(self.lenses)


def read_technicolor_cameras(path: Path) -> TechnicolorCameras:
    """Read and check the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: lines of another form, or numbers that describe no camera.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"expected the cameras' calibration at {path}, found no such file; a Technicolor scene needs it"
        )
    rows = _rows(path)
    poses, lenses = [], []
    for number, (focal, column, row, aspect, skew, *rest) in enumerate(rows):
        quaternion, translation = np.array(rest[:4]), np.array(rest[4:])
        length = float(np.linalg.norm(quaternion))
        if focal <= 0 or aspect <= 0 or not abs(length - 1) < _UNIT_TOLERANCE:
            raise ValueError(
                f"expected a focal length and an aspect ratio above 0 and a unit quaternion for camera {number} in "
                f"{path}, found {focal:g}, {aspect:g} and length {length:g}; copy the file again"
            )
        rotation = _rotation(quaternion / length)  # world to camera
        poses.append(np.column_stack([rotation.T @ FLIP_Y_AND_Z, -rotation.T @ translation]))
        lenses.append(Lens(focal, aspect * focal, column, row, skew))
    return TechnicolorCameras(np.array(poses), lenses)


def _rows(path: Path) -> list[list[float]]:
    """Twelve finite numbers per camera."""
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text("utf8", errors="replace").splitlines()):
        words = line.split()
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) == _NUMBERS and np.isfinite(values).all():
            rows.append(values)
        elif words and number > 0:  # the first line holds the headings
            raise ValueError(
                f"expected {_NUMBERS} numbers in line {number + 1} of {path} (f cu cv ar sk, qw qx qy qz, tx ty tz), "
                f"found {line.strip()[:60]!r}; copy the file again"
            )
    if not rows:
        raise ValueError(f"expected a line of {_NUMBERS} numbers per camera in {path}, found none; copy it again")
    return rows


def _rotation(quaternion: np.ndarray) -> np.ndarray:
    """``[3,3]`` of a unit quaternion w x y z."""
    w, *vector = quaternion
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross
