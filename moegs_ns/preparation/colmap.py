"""pycolmap, which only preparation uses and which is not always there, and its cameras as the project's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from moegs_ns.scene.geometry import FLIP_Y_AND_Z
from moegs_ns.scene.lens import Lens


def require_pycolmap(purpose: str) -> ModuleType:
    """The module.

    Args:
        purpose: what it is needed for, as the start of a sentence.

    Raises:
        RuntimeError: it is not installed.
    """
    try:
        import pycolmap
    except ImportError as error:
        raise RuntimeError(
            f"{purpose} needs pycolmap, which cannot be imported ({error}): pip install moegs_ns[prepare]"
        ) from error
    return pycolmap


@contextmanager
def quiet(pycolmap: ModuleType) -> Iterator[None]:
    """COLMAP writes pages of progress to the terminal; only its errors are let through."""
    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.ERROR.value)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before


def lens_of(camera: Any, what: str) -> Lens:
    """The lens of a COLMAP camera; both count pixel centres at +0.5.

    Args:
        camera: ``pycolmap.Camera``.
        what: names it in messages.

    Raises:
        ValueError: a lens model this project has none for.
    """
    numbers = [float(number) for number in camera.params]
    match camera.model_name:
        case "SIMPLE_PINHOLE":
            focal, cx, cy = numbers
            return Lens(focal, focal, cx, cy)
        case "PINHOLE":
            fx, fy, cx, cy = numbers
            return Lens(fx, fy, cx, cy)
        case "SIMPLE_RADIAL" | "RADIAL":
            focal, cx, cy, *radial = numbers
            return Lens(focal, focal, cx, cy, radial=tuple(radial))
        case "OPENCV":
            fx, fy, cx, cy, k1, k2, p1, p2 = numbers
            return Lens(fx, fy, cx, cy, radial=(k1, k2), tangential=(p1, p2))
    raise ValueError(
        f"expected a camera model SIMPLE_PINHOLE, PINHOLE, SIMPLE_RADIAL, RADIAL or OPENCV, found {camera.model_name} "
        f"in {what}; undistort with `colmap image_undistorter` first"
    )


def pose_of(image: Any) -> np.ndarray:
    """``[3,4]`` camera-to-world, OpenGL axes, of a ``pycolmap.Image`` that has a pose."""
    camera_from_world = image.cam_from_world()
    rotation = np.asarray(camera_from_world.rotation.matrix()).T
    centre = -rotation @ np.asarray(camera_from_world.translation)
    return np.column_stack([rotation @ FLIP_Y_AND_Z, centre])
