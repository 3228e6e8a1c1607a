"""Pictures as the prepared scene needs them: without distortion, one focal length, the principal point in the middle.

That is all ``poses_bounds.npy`` can say. Cameras that are so already keep their videos as they are.
"""

from __future__ import annotations

import numpy as np

from moegs_ns.scene.lens import Lens, Pinhole, resampled

# Pixels: below it nobody could tell a principal point from the middle.
_CENTRED = 0.02
_SAME_FOCAL = 1e-5
# Pixels: an estimated distortion that moves nothing by more is not worth compressing a video again.
_NEGLIGIBLE = 0.1
_EDGE_POINTS = 33
# Pictures that shrink by more than this are averaged first, or fine texture would turn into noise.
_SHRINKS = 0.8


def centred_pinhole(lens: Lens, source: tuple[int, int], target: tuple[int, int]) -> Pinhole:
    """The widest pinhole of size ``target``, its principal point in the middle, that sees nothing outside a photograph.

    Args:
        lens: in pixels of the photograph.
        source: width and height of the photograph.
        target: width and height of the picture wanted.

    Raises:
        ValueError: the photograph does not contain what lies straight ahead, or its distortion cannot be undone.
    """
    whole = lens.pinhole(*source)
    left, right = whole.cx / whole.fx, (whole.width - whole.cx) / whole.fx
    above, below = whole.cy / whole.fy, (whole.height - whole.cy) / whole.fy
    half_width, half_height = min(left, right), min(above, below)
    if half_width <= 0 or half_height <= 0:
        raise ValueError(
            f"expected a principal point inside the {source[0]}x{source[1]} picture, found ({lens.cx:g}, {lens.cy:g}); "
            "check the calibration"
        )
    width, height = target
    focal = max(width / 2 / half_width, height / 2 / half_height)
    return Pinhole(focal, focal, width / 2, height / 2, width, height)


def simplified(lens: Lens, width: int, height: int) -> Lens:
    """The lens without its distortion, if that moves no pixel of a picture noticeably."""
    if lens.is_pinhole:
        return lens
    columns, rows = np.meshgrid(np.linspace(0, width, _EDGE_POINTS), np.linspace(0, height, _EDGE_POINTS))
    plain = Lens(lens.fx, lens.fy, lens.cx, lens.cy)
    pixels = np.stack([columns, rows], axis=-1)
    moved = np.abs(lens.project(plain.unproject(pixels)) - pixels).max()
    return plain if moved < _NEGLIGIBLE else lens


def is_straight(lens: Lens, source: tuple[int, int], target: tuple[int, int]) -> bool:
    """Whether a photograph is such a picture already."""
    return (
        source == target
        and lens.is_pinhole
        and abs(lens.fx / lens.fy - 1) < _SAME_FOCAL
        and abs(lens.cx - source[0] / 2) < _CENTRED
        and abs(lens.cy - source[1] / 2) < _CENTRED
    )


def straighten(image: np.ndarray, lens: Lens, pinhole: Pinhole) -> np.ndarray:
    """What the pinhole sees of a photograph: uint8 ``[H,W,3]`` to uint8 ``[H',W',3]``."""
    scale = pinhole.fx / max(lens.fx, lens.fy)
    if scale < _SHRINKS:
        import cv2

        height, width = image.shape[:2]
        smaller = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
        lens = lens.resized(smaller[0] / width, smaller[1] / height)
    return resampled(image, lens, pinhole)
