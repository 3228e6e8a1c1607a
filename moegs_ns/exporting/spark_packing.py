"""Gaussians in the sixteen bytes that the web viewer Spark keeps of each, and its words of spherical harmonics.

The layout is that of ``PackedSplats`` in Spark 0.1: colour and opacity in a byte each, positions in half floats,
logarithms of scales in bytes, rotations as an axis (an octahedron unfolded, two bytes) and an angle (one byte),
spherical harmonics in 7, 8 and 6 bits for degree 1, 2 and 3. What a byte means, its range, is chosen per scene.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from moegs_ns.splats.splats import Splats, sh_of

#: Bytes of a Gaussian without its view-dependent colours.
PACKED_BYTES = 16
#: Where among them the opacity is.
OPACITY_BYTE = 3
#: Of every degree of spherical harmonics: name, coefficients (three colours each), bits of one, bytes of all.
SH_BANDS = (("sh1", 9, 7, 8), ("sh2", 15, 8, 16), ("sh3", 21, 6, 16))

_SH_C0 = math.sqrt(1 / (4 * math.pi))
_LARGEST_HALF = 65504.0
_SCALE_STEPS = 254  # byte 0 means a scale of zero
_RARE = 0.002  # share of values at either end of a range that are clipped: few, and they would coarsen all others


@dataclass(frozen=True)
class SparkEncoding:
    """What the bytes mean; the names are Spark's ``SplatEncoding``.

    Attributes:
        rgbMin, rgbMax: colour of byte 0 and 255, of the part that does not depend on the view.
        lnScaleMin, lnScaleMax: logarithm of the scale of byte 1 and 255.
        sh1Max, sh2Max, sh3Max: largest coefficient of a degree; the smallest is its negative.
    """

    rgbMin: float = 0.0
    rgbMax: float = 1.0
    lnScaleMin: float = -12.0
    lnScaleMax: float = 9.0
    sh1Max: float = 1.0
    sh2Max: float = 1.0
    sh3Max: float = 1.0

    @staticmethod
    def of(frames: Iterable[Splats]) -> "SparkEncoding":
        """The narrowest that holds nearly all values of every frame."""
        found = [_ranges(splats) for splats in frames if len(splats)]
        if not found:
            return SparkEncoding()
        lowest = {name: min(ranges[name] for ranges in found) for name in ("rgbMin", "lnScaleMin")}
        highest = {name: max(ranges[name] for ranges in found) for name in found[0] if name not in lowest}
        return SparkEncoding(**lowest, **highest)

    def as_spark(self) -> dict[str, float]:
        """All of Spark's names, the lower ends of spherical harmonics too."""
        return {**asdict(self), **{f"{name}Min": -getattr(self, f"{name}Max") for name, *_ in SH_BANDS}}

    @staticmethod
    def from_spark(values: Mapping[str, float]) -> "SparkEncoding":
        """The inverse of `as_spark`."""
        return SparkEncoding(**{name: float(values[name]) for name in SparkEncoding.__dataclass_fields__})


def pack_splats(splats: Splats, encoding: SparkEncoding, centre: Tensor) -> dict[str, np.ndarray]:
    """Bytes of N Gaussians.

    Args:
        splats: with ``sh``; on the CPU.
        encoding: values outside its ranges are clipped.
        centre: ``[3]`` in world units; positions are kept relative to it, the finer the closer (11 bits).

    Returns:
        ``packed [N,16]`` uint8, and of every degree the Gaussians have ``sh1 [N,8]``, ``sh2 [N,16]``, ``sh3 [N,16]``.
    """
    packed = np.empty((len(splats), PACKED_BYTES), np.uint8)
    colors = (_base_colors(splats).numpy() - encoding.rgbMin) / (encoding.rgbMax - encoding.rgbMin)
    packed[:, :3] = _bytes(colors * 255)
    packed[:, OPACITY_BYTE] = _bytes(splats.opacities.numpy() * 255)
    relative = (splats.means - centre).clamp(-_LARGEST_HALF, _LARGEST_HALF).numpy()
    packed[:, 4:10] = relative.astype("<f2").view(np.uint8).reshape(-1, 6)
    axis, angle = _axis_and_angle(splats.quats.double().numpy())
    packed[:, 10:12] = _bytes((_unfold(axis) * 0.5 + 0.5) * 255)
    packed[:, 15] = _bytes(angle * (255 / math.pi))
    steps = _SCALE_STEPS / (encoding.lnScaleMax - encoding.lnScaleMin)
    logs = np.log(np.maximum(splats.scales.numpy(), 1e-12))
    packed[:, 12:15] = np.clip(np.rint((logs - encoding.lnScaleMin) * steps) + 1, 1, 255).astype(np.uint8)
    arrays = {"packed": packed}
    for degree, (name, _, bits, size) in enumerate(SH_BANDS, start=1):
        band = _band(sh_of(splats), degree)
        if band.shape[1] == 0:
            break
        top = 2 ** (bits - 1) - 1
        values = np.rint(np.clip(band.numpy() / getattr(encoding, f"{name}Max"), -1, 1) * top).astype(np.int64)
        arrays[name] = _join_bits(values, bits, size)
    return arrays


def unpack_splats(arrays: Mapping[str, np.ndarray], encoding: SparkEncoding, centre: Tensor) -> Splats:
    """Gaussians as the viewer reads them; the inverse of `pack_splats` but for what was rounded."""
    packed = arrays["packed"]
    count = len(packed)
    colors = packed[:, :3] / 255 * (encoding.rgbMax - encoding.rgbMin) + encoding.rgbMin
    sh = [torch.from_numpy((colors - 0.5) / _SH_C0).reshape(count, 1, 3)]
    for name, coefficients, bits, _ in SH_BANDS:
        if name not in arrays:
            break
        values = _split_bits(arrays[name], bits, coefficients) / (2 ** (bits - 1) - 1) * getattr(encoding, f"{name}Max")
        sh.append(torch.from_numpy(values).reshape(count, coefficients // 3, 3))
    logs = (packed[:, 12:15].astype(np.float64) - 1) / _SCALE_STEPS * (encoding.lnScaleMax - encoding.lnScaleMin)
    half_angle = packed[:, 15:16] / 255 * math.pi / 2
    axis = _fold(packed[:, 10:12] / 255 * 2 - 1)
    means = np.ascontiguousarray(packed[:, 4:10]).view("<f2").astype(np.float32)
    return Splats(
        means=torch.from_numpy(means) + centre,
        quats=torch.from_numpy(np.concatenate([np.cos(half_angle), axis * np.sin(half_angle)], axis=1)).float(),
        scales=torch.from_numpy(np.exp(logs + encoding.lnScaleMin)).float(),
        opacities=torch.from_numpy(packed[:, OPACITY_BYTE] / 255).float(),
        sh=torch.cat(sh, dim=1).float(),
    )


def _ranges(splats: Splats) -> dict[str, float]:
    """The encoding of one frame."""
    colors, scales = _base_colors(splats).reshape(-1), splats.scales.reshape(-1).clamp_min(1e-12).log()
    largest = float(scales.max())
    ranges = {
        "rgbMin": min(0.0, _quantile(colors, _RARE)),
        "rgbMax": max(1.0, _quantile(colors, 1 - _RARE)),
        "lnScaleMin": min(_quantile(scales, _RARE), largest - 1.0),
        "lnScaleMax": largest,
    }
    for degree, (name, *_) in enumerate(SH_BANDS, start=1):
        values = _band(sh_of(splats), degree).reshape(-1).abs()
        ranges[f"{name}Max"] = max(_quantile(values, 1 - _RARE), 1e-3) if len(values) else 1.0
    return ranges


def _base_colors(splats: Splats) -> Tensor:
    """``[N,3]`` colours without what depends on the view."""
    return 0.5 + _SH_C0 * sh_of(splats)[:, 0]


def _band(sh: Tensor, degree: int) -> Tensor:
    """``[N,3(2 degree + 1)]`` coefficients of one degree, the three colours of each together; ``[N,0]`` without it."""
    return sh[:, degree**2 : (degree + 1) ** 2].reshape(len(sh), -1)


def _quantile(values: Tensor, share: float) -> float:
    """As `torch.quantile`, which takes no more than 16 million values."""
    place = min(len(values), 1 + round(share * (len(values) - 1)))
    return float(values.kthvalue(place).values)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _axis_and_angle(quats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit axes ``[N,3]`` and angles ``[N]`` in [0, pi] of rotations ``[N,4]`` wxyz; no rotation turns about x."""
    quats = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    quats = np.where(quats[:, :1] < 0, -quats, quats)
    lengths = np.linalg.norm(quats[:, 1:], axis=1, keepdims=True)
    axis = np.where(lengths < 1e-6, np.array([1.0, 0.0, 0.0]), quats[:, 1:] / np.maximum(lengths, 1e-12))
    return axis, 2 * np.arctan2(lengths[:, 0], quats[:, 0])


def _unfold(axis: np.ndarray) -> np.ndarray:
    """``[N,2]`` in [-1,1]: directions ``[N,3]`` on an octahedron, its lower half turned outwards."""
    flat = axis[:, :2] / np.abs(axis).sum(axis=1, keepdims=True)
    outside = (1 - np.abs(flat[:, ::-1])) * np.where(flat >= 0, 1.0, -1.0)
    return np.where(axis[:, 2:] < 0, outside, flat)


def _fold(flat: np.ndarray) -> np.ndarray:
    """The inverse of `_unfold`: unit directions ``[N,3]``."""
    height = 1 - np.abs(flat).sum(axis=1, keepdims=True)
    back = np.maximum(-height, 0)
    axis = np.concatenate([flat - np.where(flat >= 0, back, -back), height], axis=1)
    return axis / np.linalg.norm(axis, axis=1, keepdims=True)


def _join_bits(values: np.ndarray, bits: int, size: int) -> np.ndarray:
    """``[N,size]`` bytes of signed integers ``[N,V]``, ``bits`` each, lowest bits first."""
    shifts = np.arange(bits)
    stream = (values[:, :, None] >> shifts & 1).astype(np.uint8).reshape(len(values), -1)
    return np.packbits(np.pad(stream, ((0, 0), (0, 8 * size - stream.shape[1]))), axis=1, bitorder="little")


def _split_bits(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The inverse of `_join_bits`: int64 ``[N,count]``."""
    stream = np.unpackbits(packed, axis=1, bitorder="little")[:, : bits * count].reshape(len(packed), count, bits)
    weights = 2 ** np.arange(bits, dtype=np.int64)
    weights[-1] *= -1  # two's complement
    return stream.astype(np.int64) @ weights
