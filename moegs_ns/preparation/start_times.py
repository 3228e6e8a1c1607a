"""When each camera started, seen from how much moves in its video.

Things that move show in all cameras at once: how much a picture changes from frame to frame rises and falls together
in synchronised videos. The shift at which two cameras' curves agree best is the difference of their starts. Good to
about half a frame where motion starts, stops or changes speed; motion that is always the same (a wheel) says nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moegs_ns.preparation.source_videos import SourceVideo
from moegs_ns.scene.decoding import iterate_frames

# Pictures are compared at about this width: noise averages out, and compression with it.
_WIDTH = 160
# The two curves must overlap this far, as a share of the shorter one.
_LEAST_OVERLAP = 0.5
# A pair of cameras says something where its curves correlate this well, and clearly better than at shifts elsewhere.
_LEAST_CORRELATION = 0.5
_CLEARLY_BETTER = 0.05
_NEIGHBOURHOOD = 3  # shifts this near belong to the same peak
_SMOOTHING_FRAMES = 3


@dataclass(frozen=True)
class StartTimes:
    """Estimated starts."""

    seconds: dict[str, float]
    """Camera -> when it took its first frame, after the camera that started first."""
    residual: float
    """Seconds: median disagreement between the shift of a pair of cameras and the difference of their starts."""


def motion_curve(video: SourceVideo) -> np.ndarray:
    """float64 ``[N-1]``: mean absolute change from each frame to the next, of small grey pictures, in 0..255."""
    import cv2

    scale = min(1.0, _WIDTH / video.width)
    size = max(1, round(video.width * scale)), max(1, round(video.height * scale))
    if video.turn in (90, 270):
        size = size[::-1]
    before: np.ndarray | None = None
    changes = []
    for frame in iterate_frames(video.path, 0, video.num_frames):
        grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA).astype(float)
        if before is not None:
            changes.append(float(np.abs(grey - before).mean()))
        before = grey
    return np.array(changes)


def estimate_starts(
    videos: Sequence[SourceVideo], curves: Mapping[str, np.ndarray] | None = None, longest: float = 5.0
) -> StartTimes:
    """Starts of all cameras by the shifts of all pairs that say something, together.

    Args:
        videos: at least two.
        curves: `motion_curve` of each; computed where not given.
        longest: seconds by which cameras may start apart at most.

    Raises:
        ValueError: some camera's motion resembles that of no other.
    """
    rate = max(video.fps for video in videos)
    known = curves or {video.name: motion_curve(video) for video in videos}
    sampled = [_sampled(video, known[video.name], rate) for video in videos]
    pairs, shifts, weights = [], [], []
    for one, other in itertools.combinations(range(len(videos)), 2):
        found = _shift(sampled[one], sampled[other], round(longest * rate))
        if found is not None:
            pairs.append((one, other))
            shifts.append(found[0] / rate)
            weights.append(found[1])
    _check_connected(videos, pairs)
    starts, residual = _consistent(len(videos), pairs, np.array(shifts), np.array(weights))
    starts -= starts.min()
    return StartTimes({video.name: float(start) for video, start in zip(videos, starts, strict=True)}, residual)


def _sampled(video: SourceVideo, curve: np.ndarray, rate: float) -> np.ndarray:
    """The curve at a common rate, lightly smoothed."""
    middles = (video.times[1:] + video.times[:-1]) / 2
    times = np.arange(0, middles[-1], 1 / rate)
    speed = curve / np.diff(video.times)  # a slower camera sees larger changes
    values = np.interp(times, middles, speed)
    kernel = np.hanning(_SMOOTHING_FRAMES + 2)[1:-1]
    return np.convolve(np.pad(values, _SMOOTHING_FRAMES // 2, mode="edge"), kernel / kernel.sum(), mode="valid")


def _shift(one: np.ndarray, other: np.ndarray, longest: int) -> tuple[float, float] | None:
    """By how many samples ``other`` started after ``one``, and how well their curves then correlate; None where they
    do not, or at several shifts alike."""
    least = max(4, int(_LEAST_OVERLAP * min(len(one), len(other))))
    shifts = np.arange(-longest, longest + 1)
    scores = np.full(len(shifts), -np.inf)
    for index, shift in enumerate(shifts):
        # Sample i of `other` was taken when sample i + shift of `one` was.
        begin, end = max(0, -shift), min(len(other), len(one) - shift)
        if end - begin < least:
            continue
        a, b = one[begin + shift : end + shift], other[begin:end]
        a, b = a - a.mean(), b - b.mean()
        norm = np.sqrt((a * a).sum() * (b * b).sum())
        if norm > 0:
            scores[index] = float((a * b).sum() / norm)
    best = int(scores.argmax())
    elsewhere = np.abs(shifts - shifts[best]) > _NEIGHBOURHOOD
    runner_up = float(scores[elsewhere].max(initial=-np.inf))
    if scores[best] < _LEAST_CORRELATION or scores[best] - runner_up < _CLEARLY_BETTER:
        return None
    return float(shifts[best]) + _peak(scores, best), float(scores[best])


def _peak(scores: np.ndarray, best: int) -> float:
    """How far the top of the parabola through the best score and its neighbours lies from it, in samples."""
    if not 0 < best < len(scores) - 1:
        return 0.0
    before, at, after = scores[best - 1 : best + 2]
    bend = before - 2 * at + after
    if not np.isfinite(bend) or bend >= 0:
        return 0.0
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))


def _check_connected(videos: Sequence[SourceVideo], pairs: Sequence[tuple[int, int]]) -> None:
    group = list(range(len(videos)))
    for one, other in pairs:
        old, new = group[other], group[one]
        group = [new if label == old else label for label in group]
    if len(set(group)) > 1:
        largest = max(set(group), key=group.count)
        lone = ", ".join(video.name for video, label in zip(videos, group, strict=True) if label != largest)
        raise ValueError(
            f"expected motion that rises and falls together in all videos, found none that tells when {lone} started; "
            "give start times (--starts), or leave --estimate-starts out if the videos are synchronised"
        )


def _consistent(
    count: int, pairs: Sequence[tuple[int, int]], shifts: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, float]:
    """Starts ``[count]`` that agree with the shifts of most pairs (least absolute deviations), and the median rest."""
    if not pairs:
        return np.zeros(count), 0.0
    rows = np.zeros((len(pairs) + 1, count))
    for row, (one, other) in enumerate(pairs):
        rows[row, one], rows[row, other] = -1, 1
    rows[-1, 0] = 1  # the first camera starts at 0
    wanted = np.append(shifts, 0.0)
    trust = np.append(weights, 1.0)
    starts = np.zeros(count)
    for _ in range(50):  # iteratively reweighted least squares
        starts = np.linalg.lstsq(rows * trust[:, None], wanted * trust, rcond=None)[0]
        rest = np.abs(rows @ starts - wanted)
        trust = np.append(weights, 1.0) / np.sqrt(np.maximum(rest, 1e-4))
    return starts, float(np.median(rest[:-1]))
