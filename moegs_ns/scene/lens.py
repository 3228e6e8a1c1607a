"""What a lens does to straight rays, and the pinhole picture that a photograph through it contains.

The renderers know pinholes only. A photograph with distortion or skew is therefore resampled once, when it is decoded,
into the picture of a pinhole camera at the same place (`straightened`). That picture has the photograph's size and
shows the largest rectangle of directions the photograph covers everywhere: nothing is invented at its borders, and
nothing is black. Its focal lengths and principal point follow (`Lens.pinhole`), the same for every image of one lens.

Pixel centres are at +0.5: a photograph of width W covers 0 to W. numpy only, but for the resampling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

#: Changes when `straightened` makes other pixels of the same photograph: part of a cached frame's identity.
STRAIGHTENING_VERSION = 1
# Points along each edge of a photograph whose directions bound the pinhole picture.
_EDGE_POINTS = 65
_NEWTON_STEPS = 30
_NEWTON_TOLERANCE = 1e-10  # of the normalised image plane; a ten-thousandth of a thousandth of a pixel


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion. All in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def resized(self, width: int, height: int) -> Pinhole:
        """The same view in another number of pixels; focal lengths follow each side's own factor."""
        x, y = width / self.width, height / self.height
        return Pinhole(self.fx * x, self.fy * y, self.cx * x, self.cy * y, width, height)


@dataclass(frozen=True)
class Lens:
    """A pinhole with OpenCV's radial and tangential distortion, and skew.

    A direction ``(x, y, 1)`` (x right, y down) has ``r2 = x*x + y*y``, falls to
    ``x' = x * (1 + k1 r2 + k2 r2^2 + ...) + 2 p1 x y + p2 (r2 + 2 x^2)``, likewise y' with p1 and p2 exchanged, and
    appears at ``u = fx x' + skew y' + cx``, ``v = fy y' + cy``.
    """

    fx: float
    """Focal lengths and principal point in pixels of the photograph."""
    fy: float
    cx: float
    cy: float
    skew: float = 0.0
    """Pixels."""
    radial: tuple[float, ...] = ()
    """k1, k2, ..., any number of them."""
    tangential: tuple[float, float] = (0.0, 0.0)
    """p1, p2."""

    @property
    def is_pinhole(self) -> bool:
        """Whether photographs through it are pinhole pictures already."""
        return not (any(self.radial) or any(self.tangential) or self.skew)

    def resized(self, x: float, y: float) -> Lens:
        """The lens for photographs scaled by the factors ``x`` and ``y``; distortion is in units of the focal length
        and stays."""
        return replace(
            self, fx=self.fx * x, fy=self.fy * y, cx=self.cx * x, cy=self.cy * y, skew=self.skew * x
        )  # fmt: skip

    def project(self, directions: np.ndarray) -> np.ndarray:
        """Pixels ``[...,2]`` at which directions ``(x, y)`` of the plane z = 1, ``[...,2]``, appear."""
        x, y = np.moveaxis(self._distorted(directions)[0], -1, 0)
        return np.stack([self.fx * x + self.skew * y + self.cx, self.fy * y + self.cy], axis=-1)

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """Directions ``[...,2]`` of the plane z = 1 that appear at pixels ``[...,2]``.

        Raises:
            ValueError: the distortion has no inverse there: it folds the picture over itself.
        """
        y = (pixels[..., 1] - self.cy) / self.fy
        wanted = np.stack([(pixels[..., 0] - self.cx - self.skew * y) / self.fx, y], axis=-1)
        found = wanted.copy()
        for _ in range(_NEWTON_STEPS):
            reached, jacobian = self._distorted(found)
            error = reached - wanted
            if not np.isfinite(error).all() or (np.linalg.det(jacobian) <= 0).any():
                break
            if np.abs(error).max(initial=0.0) < _NEWTON_TOLERANCE:
                return found
            found = found - np.linalg.solve(jacobian, error[..., None])[..., 0]
        raise ValueError(
            f"expected a distortion that can be undone all over the image, found radial {list(self.radial)} and "
            f"tangential {list(self.tangential)} at focal length {self.fx:g}, which folds the image over itself; "
            "check the calibration, whose coefficients may be of another lens model"
        )

    def pinhole(self, width: int, height: int) -> Pinhole:
        """The pinhole camera whose picture of ``width`` x ``height`` lies wholly inside the photograph of that size.

        Raises:
            ValueError: as `unproject`, or the distortion leaves no such rectangle.
        """
        return _pinhole(self, width, height)

    def _distorted(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distorted ``[...,2]``, and the derivative of it by the directions, ``[...,2,2]``."""
        x, y = np.moveaxis(np.asarray(directions, dtype=np.float64), -1, 0)
        p1, p2 = self.tangential
        squared = x * x + y * y
        scale, slope = np.ones_like(squared), np.zeros_like(squared)  # 1 + k1 r2 + ..., and its derivative by r2
        for order, coefficient in enumerate(self.radial, start=1):
            scale = scale + coefficient * squared**order
            slope = slope + order * coefficient * squared ** (order - 1)
        point = np.stack(
            [
                x * scale + 2 * p1 * x * y + p2 * (squared + 2 * x * x),
                y * scale + 2 * p2 * x * y + p1 * (squared + 2 * y * y),
            ],
            axis=-1,
        )
        mixed = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        by_x = np.stack([scale + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x, mixed], axis=-1)
        by_y = np.stack([mixed, scale + 2 * y * y * slope + 2 * p2 * x + 6 * p1 * y], axis=-1)
        return point, np.stack([by_x, by_y], axis=-1)


@lru_cache(maxsize=4096)
def _pinhole(lens: Lens, width: int, height: int) -> Pinhole:
    if lens.is_pinhole:
        return Pinhole(lens.fx, lens.fy, lens.cx, lens.cy, width, height)
    along = np.linspace(0.0, 1.0, _EDGE_POINTS)
    start, end = np.zeros_like(along), np.ones_like(along)
    size = np.array([width, height])
    left, right = (lens.unproject(np.stack([edge, along], axis=-1) * size)[:, 0] for edge in (start, end))
    top, bottom = (lens.unproject(np.stack([along, edge], axis=-1) * size)[:, 1] for edge in (start, end))
    low, high = np.array([left.max(), top.max()]), np.array([right.min(), bottom.min()])
    if (high <= low).any():
        raise ValueError(
            f"expected a distortion that leaves a rectangle of the {width}x{height} image whole, found radial "
            f"{list(lens.radial)}, tangential {list(lens.tangential)} and skew {lens.skew:g}; check the calibration"
        )
    fx, fy = (size / (high - low)).tolist()
    return Pinhole(fx, fy, float(-low[0] * fx), float(-low[1] * fy), width, height)


def straightened(image: np.ndarray, lens: Lens) -> np.ndarray:
    """The picture ``lens.pinhole`` sees in a photograph: uint8 ``[H,W,3]`` to uint8 ``[H,W,3]``, by bicubic
    interpolation. A photograph through a pinhole is returned as it is."""
    if lens.is_pinhole:
        return image
    return resampled(image, lens, lens.pinhole(image.shape[1], image.shape[0]))


def resampled(image: np.ndarray, lens: Lens, pinhole: Pinhole) -> np.ndarray:
    """What any pinhole at the same place sees of a photograph: uint8 ``[H,W,3]`` of the photograph to that of the
    pinhole's size, by bicubic interpolation. Beyond its borders the photograph is continued by its last pixels."""
    import cv2

    columns, rows = _places(lens, pinhole)
    return cv2.remap(image, columns, rows, interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=2)  # a video's frames come one after another through one lens
def _places(lens: Lens, pinhole: Pinhole) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of the pinhole picture lies in the photograph, as OpenCV counts: pixel centres at whole numbers.

    Two float32 ``[H,W]``: columns and rows.
    """
    x = (np.arange(pinhole.width) + 0.5 - pinhole.cx) / pinhole.fx
    y = (np.arange(pinhole.height) + 0.5 - pinhole.cy) / pinhole.fy
    places = lens.project(np.stack(np.meshgrid(x, y), axis=-1)) - 0.5
    return places[..., 0].astype(np.float32), places[..., 1].astype(np.float32)
