"""Whether cameras that stand still show each frame at the same instant.

Two cameras and a plane through both their centres: whatever moves in that plane moves in both pictures, on two
corresponding epipolar lines, at the same time. How much moves on each of a pencil of such lines over time (a *motion
barcode*: Ben-Artzi, Kasten, Peleg and Werman, CVPR 2016) is therefore alike in both cameras, whatever they see of it,
and most alike at the right offset between them. No feature of a moving thing has to be found in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moegs_ns.checking.result import CheckResult, Verdict, fine, listed, skipped
from moegs_ns.checking.views import Footage, View

NAME = "synchrony"
_LINES = 48
_NEIGHBOURS = 6
# Grey levels a pixel of a thumbnail changes by from frame to frame for noise and coding.
_NOISE = 3.0
_BRIGHTEST = 30.0
_MOST_FRAMES_OFF = 15
LEAST_FRAMES = 8
# Of their correlation with their neighbours, averaged over these. Measured (docs/data_check.md): 0.44 to 0.96 at the
# true offset, and 0.04 to 0.5 less one frame beside it.
LEAST_CORRELATION = 0.2
# An offset counts if it explains so much more than none, and most pairs of the camera prefer it or one next to it.
LEAST_GAIN = 0.02
_LEAST_VOTES = 0.6


@dataclass(frozen=True)
class Offsets:
    """How late each of C cameras is.

    Attributes:
        names: of the cameras that could be judged.
        frames: int64 ``[C]``: the camera shows what the others show so many frames earlier; most are 0.
        correlations: ``[C]`` with the neighbours, at these offsets.
        gains: ``[C]`` how much lower they were without them.
        votes: ``[C]`` share of the camera's pairs that are most alike within a frame of them.
        margins: ``[C]`` how much lower one frame beside them.
    """

    names: Sequence[str]
    frames: np.ndarray
    correlations: np.ndarray
    gains: np.ndarray
    votes: np.ndarray
    margins: np.ndarray


def estimate_offsets(
    views: Sequence[View], footage: Mapping[str, Footage], on_pair: Callable[[float], None] = lambda share: None
) -> Offsets:
    """Compare the motion of neighbouring cameras at all offsets.

    Args:
        views: cameras that stand still, with poses that are right.
        footage: of them.
        on_pair: called with the share of the work that each step does.
    """
    count = len(views)
    length = min(len(footage[view.name].thumbnails) for view in views)
    reach = min(_MOST_FRAMES_OFF, length // 3)
    motion = [_motion(footage[view.name].thumbnails[:length]) for view in views]
    rays = [_rays(view, footage[view.name]) for view in views]
    pairs = _neighbours(views)
    curves: dict[tuple[int, int], np.ndarray] = {}
    for one, other in pairs:
        lines = _lines(views[one], views[other], rays[one], rays[other])
        if lines is not None:
            curves[one, other] = _curve(_barcode(motion[one], lines[0]), _barcode(motion[other], lines[1]), reach)
        on_pair(1 / len(pairs))
    judged = [view for view in range(count) if _correlation(curves, view, np.zeros(count, int), reach, 0) is not None]
    frames = _solve(curves, count, reach)
    rows = []
    for view in judged:
        at = {step: _correlation(curves, view, frames, reach, step) or 0.0 for step in (-1, 0, 1)}
        none = _correlation(curves, view, np.where(np.arange(count) == view, 0, frames), reach, 0) or 0.0
        rows.append((at[0], at[0] - none, _votes(curves, view, frames, reach), at[0] - max(at[-1], at[1])))
    table = np.array(rows).reshape(-1, 4)
    return Offsets([views[view].name for view in judged], frames[judged], *table.T)


def check_synchrony(offsets: Offsets) -> CheckResult:
    """The result, with every camera's offset."""
    clear = offsets.correlations >= LEAST_CORRELATION
    late = clear & (offsets.frames != 0) & (offsets.gains >= LEAST_GAIN) & (offsets.votes >= _LEAST_VOTES)
    numbers = {
        "least_correlation": LEAST_CORRELATION,
        "least_gain": LEAST_GAIN,
        "cameras": {
            name: {"frames_late": int(frames), "correlation": c, "gain_over_no_offset": g, "votes": v, "margin": m}
            for name, frames, c, g, v, m in zip(
                offsets.names,
                offsets.frames,
                offsets.correlations,
                offsets.gains,
                offsets.votes,
                offsets.margins,
                strict=True,
            )
        },
    }
    if not clear.any():
        return skipped(NAME, "Too little moves that neighbouring cameras see, to compare their times.")
    if not late.any():
        unclear = [name for name, told in zip(offsets.names, clear, strict=True) if not told]
        note = f"; of {listed(unclear)} too little motion is seen to say" if unclear else ""
        return fine(
            NAME,
            f"Motion is most alike between cameras without any offset (correlation "
            f"{np.median(offsets.correlations):.2f}){note}.",
            **numbers,
        )
    names = [name for name, is_late in zip(offsets.names, late, strict=True) if is_late]
    each = listed(
        f"{name} {abs(frames)} frame{'s' if abs(frames) > 1 else ''} {'late' if frames > 0 else 'early'}"
        for name, frames, is_late in zip(offsets.names, offsets.frames.tolist(), late, strict=True)
        if is_late
    )
    return CheckResult(
        NAME,
        Verdict.DOUBTFUL,
        f"Out of step with the other cameras: {each}; cut the videos to a common start (`moegs data prepare` does), or "
        "leave these cameras out (--exclude-cams).",
        tuple(names),
        numbers,
    )


def _motion(thumbnails: np.ndarray) -> np.ndarray:
    """float32 ``[T-1,h*w]``: by how much more than noise each pixel changes; strong edges do not drown the rest."""
    steps = np.abs(np.diff(thumbnails.astype(np.float32), axis=0))
    return np.clip(steps - _NOISE, 0, _BRIGHTEST).reshape(len(steps), -1)


def _rays(view: View, footage: Footage) -> np.ndarray:
    """Directions in the world ``[h*w,3]`` of a thumbnail's pixels."""
    height, width = footage.thumbnails.shape[1:]
    rows, columns = np.mgrid[:height, :width] + 0.5
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3)
    shrunk = np.diag([width / view.size[0], height / view.size[1], 1.0]) @ view.intrinsics
    return pixels @ np.linalg.inv(shrunk).T @ view.viewmat[:3, :3]


def _neighbours(views: Sequence[View]) -> list[tuple[int, int]]:
    centres = np.array([-view.viewmat[:3, :3].T @ view.viewmat[:3, 3] for view in views])
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1)
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1)[:, : min(_NEIGHBOURS, len(views) - 1)]
    return sorted({(min(one, other), max(one, other)) for one in range(len(views)) for other in nearest[one].tolist()})


def _lines(
    one: View, other: View, rays_one: np.ndarray, rays_other: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Of each camera's pixels, on which of the epipolar lines they lie; -1 for none. None without a common one."""
    start, end = (-view.viewmat[:3, :3].T @ view.viewmat[:3, 3] for view in (one, other))
    baseline = end - start
    length = float(np.linalg.norm(baseline))
    if length == 0:
        return None
    baseline /= length
    least = np.eye(3)[np.abs(baseline).argmin()]
    right = np.cross(baseline, least)
    right /= np.linalg.norm(right)
    up = np.cross(baseline, right)
    turns = [np.arctan2(rays @ up, rays @ right) for rays in (rays_one, rays_other)]
    middle = np.angle(sum(np.exp(1j * turn).mean() for turn in turns))
    turns = [np.angle(np.exp(1j * (turn - middle))) for turn in turns]
    # Where a picture shows nearly nothing of a plane its line says little.
    low = max(float(np.percentile(turn, 2)) for turn in turns)
    high = min(float(np.percentile(turn, 98)) for turn in turns)
    if high <= low:
        return None
    lines = [np.floor((turn - low) / (high - low) * _LINES).astype(np.int64) for turn in turns]
    return tuple(np.where((line >= 0) & (line < _LINES), line, -1) for line in lines)  # type: ignore[return-value]


def _barcode(motion: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """``[lines,T-1]``: mean motion on each line."""
    from scipy.sparse import csr_matrix

    on = np.flatnonzero(lines >= 0)
    share = 1.0 / np.bincount(lines[on], minlength=_LINES)[lines[on]]
    return csr_matrix((share.astype(np.float32), (lines[on], on)), shape=(_LINES, len(lines))) @ motion.T


def _curve(one: np.ndarray, other: np.ndarray, reach: int) -> np.ndarray:
    """Correlation ``[2 reach + 1]`` of two barcodes if ``other`` is late by -reach to reach frames."""
    return np.array([_alike(one, other, late) for late in range(-reach, reach + 1)])


def _alike(one: np.ndarray, other: np.ndarray, late: int) -> float:
    length = one.shape[1] - abs(late)
    first = one[:, max(0, -late) :][:, :length]
    second = other[:, max(0, late) :][:, :length]
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale > 0 else 0.0


def _read(curve: np.ndarray, late: int, reach: int) -> float:
    return float(curve[late + reach]) if abs(late) <= reach else -1.0


def _correlation(
    curves: Mapping[tuple[int, int], np.ndarray], view: int, frames: np.ndarray, reach: int, step: int
) -> float | None:
    """Mean over the view's pairs, were it ``step`` frames later than ``frames`` says; None without pairs."""
    found = []
    for (one, other), curve in curves.items():
        if view in (one, other):
            late = int(frames[other] - frames[one]) + (step if view == other else -step)
            found.append(_read(curve, late, reach))
    return float(np.mean(found)) if found else None


def _solve(curves: Mapping[tuple[int, int], np.ndarray], count: int, reach: int) -> np.ndarray:
    """Offsets ``[C]`` under which motion is most alike; the most common one is 0.

    One camera at a time is moved, that which gains most by it, until none gains.
    """
    frames = np.zeros(count, dtype=np.int64)
    for _ in range(4 * count):
        best = (LEAST_GAIN / 2, -1, 0)
        for view in range(count):
            now = _correlation(curves, view, frames, reach, 0)
            if now is None:
                continue
            for step in range(-reach, reach + 1):
                if abs(frames[view] + step) <= reach:
                    there = _correlation(curves, view, frames, reach, step)
                    best = max(best, ((there or 0.0) - now, view, step))
        if best[1] < 0:
            break
        frames[best[1]] += best[2]
    values, counts = np.unique(frames, return_counts=True)
    return frames - values[counts.argmax()]


def _votes(curves: Mapping[tuple[int, int], np.ndarray], view: int, frames: np.ndarray, reach: int) -> float:
    agreeing = [
        abs(int(curve.argmax()) - reach - int(frames[other] - frames[one])) <= 1
        for (one, other), curve in curves.items()
        if view in (one, other)
    ]
    return float(np.mean(agreeing)) if agreeing else 0.0
