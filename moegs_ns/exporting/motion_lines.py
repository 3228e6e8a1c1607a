"""Gaussians of many frames as straight stretches: while one keeps to a line and otherwise stays as it is, it is one.

A Gaussian's stretch goes on as long as one velocity keeps its centre within a tolerance at every frame, and its other
values stay within theirs; then a new stretch begins. What stands still is one stretch for the whole clip.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from moegs_ns.exporting.frame_gaussians import FrameGaussians
from moegs_ns.splats.splats import sh_of


@dataclass(frozen=True)
class Tolerances:
    """How far a stretch may be from its Gaussian, at a frame.

    Attributes:
        position: as a share of the Gaussian's smallest scale at the stretch's start.
        scale: relative.
        rotation: of a quaternion's components.
        opacity: absolute.
        color: of spherical harmonics coefficients.
    """

    position: float = 0.1
    scale: float = 0.02
    rotation: float = 0.01
    opacity: float = 0.008
    color: float = 0.016


@dataclass(frozen=True, eq=False)
class Stretches:
    """Straight stretches of Gaussians, S in all; numpy float32 where nothing else is said.

    Attributes:
        rows: ``[S]`` int64, whose they are.
        first, end: ``[S]`` int64, positions in the sequence of frames, the end not included.
        means: ``[S,3]`` at the first frame.
        steps: ``[S,3]`` change of the mean per position.
        quats: ``[S,4]`` unit, wxyz.
        scales: ``[S,3]``.
        opacities: ``[S]``.
        sh: ``[S,B,3]``.
    """

    rows: np.ndarray
    first: np.ndarray
    end: np.ndarray
    means: np.ndarray
    steps: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


class _Open:
    """Stretches that have not ended, one slot per Gaussian."""

    def __init__(self, values: int) -> None:
        self._values = values
        self.first = np.full(0, -1, np.int64)  # -1: none
        self.mean = np.empty((0, 3), np.float32)
        self.reach = np.empty((0, 1), np.float32)
        self.slowest, self.fastest = np.empty((0, 3), np.float32), np.empty((0, 3), np.float32)
        self.low, self.high = np.empty((0, values), np.float32), np.empty((0, values), np.float32)

    def make_room(self, slots: int) -> None:
        more = slots - len(self.first)
        if more <= 0:
            return
        self.first = np.concatenate([self.first, np.full(more, -1, np.int64)])
        for name in ("mean", "reach", "slowest", "fastest", "low", "high"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros((more, old.shape[1]), np.float32)]))


def straight_stretches(frames: Iterable[FrameGaussians], tolerances: Tolerances | None = None) -> Stretches:
    """Cut the Gaussians of a sequence of frames into straight stretches, in one pass.

    Args:
        frames: in order; alike in how many spherical harmonics coefficients they have.
        tolerances: how exact.

    Raises:
        ValueError: no frame, or coefficients that change in number.
    """
    tolerances = tolerances or Tolerances()
    ended: list[tuple[np.ndarray, ...]] = []
    still_open: _Open | None = None
    allowed = np.empty(0, np.float32)
    position = -1
    for position, frame in enumerate(frames):
        rows, means, values = frame.rows.numpy(), frame.splats.means.numpy(), _values_of(frame)
        if still_open is None:
            still_open = _Open(values.shape[1])
            allowed = _allowed(tolerances, values.shape[1])
        if values.shape[1] != len(allowed):
            raise ValueError(
                f"expected frames with equally many colour coefficients, found {values.shape[1]} and {len(allowed)} "
                "values a Gaussian; name a degree that all have (--sh-degree)"
            )
        still_open.make_room(int(rows.max(initial=-1)) + 1)
        _align_quaternions(values, still_open, rows)
        goes_on = _extended(still_open, rows, position, means, values, allowed)
        going = np.zeros(len(still_open.first), bool)
        going[rows[goes_on]] = True
        ended.append(_closed(still_open, np.flatnonzero((still_open.first >= 0) & ~going), position))
        _begin(still_open, rows[~goes_on], position, means[~goes_on], values[~goes_on], tolerances)
    if still_open is None:
        raise ValueError("expected at least one frame, found none")
    ended.append(_closed(still_open, np.flatnonzero(still_open.first >= 0), position + 1))
    return _stretches([np.concatenate(columns) for columns in zip(*ended, strict=True)])


def _values_of(frame: FrameGaussians) -> np.ndarray:
    """``[N,8+3B]`` what must stay as it is: logarithms of scales, rotation, opacity, colour."""
    splats = frame.splats
    columns = (splats.scales.log(), splats.quats, splats.opacities[:, None], sh_of(splats).flatten(1))
    return np.concatenate([column.numpy() for column in columns], axis=1).astype(np.float32)


def _allowed(tolerances: Tolerances, values: int) -> np.ndarray:
    """``[8+3B]`` how far apart the values of a stretch may be."""
    each = (tolerances.scale, tolerances.rotation, tolerances.opacity, tolerances.color)
    return 2.0 * np.repeat(np.array(each, np.float32), (3, 4, 1, values - 8))


def _align_quaternions(values: np.ndarray, known: _Open, rows: np.ndarray) -> None:
    """The sign, of two that mean the same rotation, that is closer to what is known."""
    opposite = (values[:, 3:7] * known.low[rows, 3:7]).sum(axis=1) < 0
    values[opposite, 3:7] *= -1


def _extended(
    known: _Open, rows: np.ndarray, position: int, means: np.ndarray, values: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """Take the present frame into open stretches; which of ``rows`` fitted, as bool ``[N]``."""
    ahead = (position - known.first[rows])[:, None].astype(np.float32)  # at least 1 where a stretch is open
    way, reach = means - known.mean[rows], known.reach[rows]
    slowest = np.maximum(known.slowest[rows], (way - reach) / ahead)
    fastest = np.minimum(known.fastest[rows], (way + reach) / ahead)
    low, high = np.minimum(known.low[rows], values), np.maximum(known.high[rows], values)
    fits = (known.first[rows] >= 0) & (slowest <= fastest).all(axis=1) & (high - low <= allowed).all(axis=1)
    changed = rows[fits]
    known.slowest[changed], known.fastest[changed] = slowest[fits], fastest[fits]
    known.low[changed], known.high[changed] = low[fits], high[fits]
    return fits


def _begin(
    known: _Open, rows: np.ndarray, position: int, means: np.ndarray, values: np.ndarray, tolerances: Tolerances
) -> None:
    known.first[rows] = position
    known.mean[rows] = means
    known.reach[rows] = tolerances.position * np.exp(values[:, :3].min(axis=1, keepdims=True))
    known.slowest[rows], known.fastest[rows] = -np.inf, np.inf
    known.low[rows] = known.high[rows] = values


def _closed(known: _Open, rows: np.ndarray, end: int) -> tuple[np.ndarray, ...]:
    first = known.first[rows].copy()
    known.first[rows] = -1
    lone = end - first == 1  # one frame says nothing of a velocity
    with np.errstate(invalid="ignore"):
        middle = 0.5 * (known.slowest[rows] + known.fastest[rows])
    steps = np.where(lone[:, None], 0.0, middle).astype(np.float32)
    values = 0.5 * (known.low[rows] + known.high[rows])
    return rows, first, np.full(len(rows), end, np.int64), known.mean[rows].copy(), steps, values


def _stretches(columns: list[np.ndarray]) -> Stretches:
    rows, first, end, means, steps, values = columns
    quats = values[:, 3:7] / np.linalg.norm(values[:, 3:7], axis=1, keepdims=True)
    return Stretches(
        rows,
        first,
        end,
        means,
        steps,
        quats,
        np.exp(values[:, :3]),
        values[:, 7],
        values[:, 8:].reshape(len(rows), -1, 3),
    )
