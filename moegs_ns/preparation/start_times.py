"""When each camera started, seen from how much moves in its video.

Things that move show in all cameras at once: how much a picture changes from frame to frame rises and falls together
in synchronised videos. The starts at which the curves of all cameras agree best are found together, camera by camera
against all others. Good to about a frame where motion starts, stops or changes speed; motion that is always the same (a
wheel) says nothing. Needs no poses.
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
# Seconds: what changes more slowly (light, how much of a picture moves at all) differs from camera to camera.
_LONGEST_CHANGE = 0.5
# Of a camera's mean change: less is noise, whose logarithm must not count.
_STILL = 0.3
_SMOOTHING = np.array([0.25, 0.5, 0.25])
# Two curves must overlap this far, as a share of the shorter one; long overlaps count for more.
_LEAST_OVERLAP = 0.5
# A camera's curve must correlate this well with the others' on average, so many standard deviations better than by
# chance (of neighbouring frames two count as one), and clearly better than at starts elsewhere.
_LEAST_CORRELATION, _DEVIATIONS = 0.25, 4.0
_CLEARLY_BETTER = 0.03
_NEIGHBOURHOOD = 3  # frames this near belong to the same peak
_ROUNDS = 50
# Frames: estimates are good to about half of one, so less says nothing.
_TOGETHER = 0.7


@dataclass(frozen=True)
class StartTimes:
    """Estimated starts."""

    seconds: dict[str, float]
    """Camera -> when it took its first frame, after the camera that started first: whole frames of the fastest camera,
    from where most cameras start."""
    correlation: float
    """Of the camera whose motion agrees least with the others', with these, on average."""


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
    videos: Sequence[SourceVideo], curves: Mapping[str, np.ndarray] | None = None, longest: float = 1.5
) -> StartTimes:
    """Starts of all cameras.

    Args:
        videos: at least two.
        curves: `motion_curve` of each; computed where not given.
        longest: seconds by which cameras may start apart at most.

    Raises:
        ValueError: some camera's motion does not tell when it started.
    """
    rate = max(video.fps for video in videos)
    known = curves or {video.name: motion_curve(video) for video in videos}
    sampled = [_sampled(video, known[video.name], rate) for video in videos]
    reach = round(longest * rate)
    scores = _all_scores(sampled, reach)
    starts = _best_starts(scores, reach)
    exact, lowest = starts.astype(float), np.inf
    chance = 1 / np.sqrt(min(map(len, sampled)) / 2 * (len(videos) - 1))
    least = max(_LEAST_CORRELATION, _DEVIATIONS * chance)
    for camera, video in enumerate(videos):
        profile = _profile(scores, starts, camera, reach)
        best = reach  # where it is now
        elsewhere = np.abs(np.arange(len(profile)) - best) > _NEIGHBOURHOOD
        if profile[best] < least or profile[best] - profile[elsewhere].max() < _CLEARLY_BETTER:
            raise ValueError(
                f"expected motion that rises and falls together in all videos, found none that tells when {video.name} "
                f"started (correlation {profile[best]:.2f}, elsewhere {profile[elsewhere].max():.2f}); give start "
                "times (--starts), or leave --estimate-starts out if the videos are synchronised"
            )
        exact[camera] += _peak(profile, best)
        lowest = min(lowest, float(profile[best]))
    exact -= np.median(exact)  # most cameras start together
    exact = np.where(np.abs(exact) < _TOGETHER, 0.0, exact.round())
    exact -= exact.min()
    return StartTimes({video.name: float(at / rate) for video, at in zip(videos, exact, strict=True)}, lowest)


def _sampled(video: SourceVideo, curve: np.ndarray, rate: float) -> np.ndarray:
    """The curve's quick changes at a common rate: of its logarithm, as cameras see things at different sizes."""
    middles = (video.times[1:] + video.times[:-1]) / 2
    times = np.arange(0, middles[-1], 1 / rate)
    speed = curve / np.diff(video.times)  # a slower camera sees larger changes
    values = np.log(np.interp(times, middles, speed) + _STILL * speed.mean() + 1e-12)
    width = max(3, round(_LONGEST_CHANGE * rate) // 2 * 2 + 1)
    slow = np.convolve(np.pad(values, width // 2, mode="edge"), np.ones(width) / width, mode="valid")
    return np.convolve(values - slow, _SMOOTHING, mode="valid")


def _all_scores(sampled: Sequence[np.ndarray], reach: int) -> np.ndarray:
    """``[C,C,2*2*reach+1]``: how well two curves correlate if the second camera started so many samples later, from
    -2 reach on; NaN where they do not overlap enough."""
    count = len(sampled)
    shifts = np.arange(-2 * reach, 2 * reach + 1)
    scores = np.full((count, count, len(shifts)), np.nan)
    for one, other in itertools.combinations(range(count), 2):
        a, b = sampled[one], sampled[other]
        least = max(4, int(_LEAST_OVERLAP * min(len(a), len(b))))
        for index, shift in enumerate(shifts):
            # Sample i of the other was taken when sample i + shift of the one was.
            begin, end = max(0, -shift), min(len(b), len(a) - shift)
            if end - begin >= least:
                x, y = a[begin + shift : end + shift], b[begin:end]
                x, y = x - x.mean(), y - y.mean()
                norm = np.sqrt((x * x).sum() * (y * y).sum())
                trust = np.sqrt((end - begin) / min(len(a), len(b)))
                scores[one, other, index] = trust * float((x * y).sum() / norm) if norm > 0 else 0.0
        scores[other, one] = scores[one, other, ::-1]
    return scores


def _profile(scores: np.ndarray, starts: np.ndarray, camera: int, reach: int) -> np.ndarray:
    """``[2*reach+1]``: mean correlation of a camera with the others if it started up to ``reach`` earlier or later than
    it does now; -1 where nothing overlaps."""
    middle = 2 * reach
    moves = np.arange(-reach, reach + 1)
    sums, counts = np.zeros(len(moves)), np.zeros(len(moves))
    for other in range(len(starts)):
        if other == camera:
            continue
        index = starts[camera] - starts[other] + moves + middle
        inside = (index >= 0) & (index <= 2 * middle)
        values = np.where(inside, scores[other, camera, index.clip(0, 2 * middle)], np.nan)
        sums += np.nan_to_num(values)
        counts += np.isfinite(values)
    return np.where(counts > 0, sums / np.maximum(counts, 1), -1.0)


def _best_starts(scores: np.ndarray, reach: int) -> np.ndarray:
    """Samples by which each camera starts after the first one, such that all correlate best: one camera after the
    other is moved to where it fits the others, from where all start together."""
    starts = np.zeros(len(scores), dtype=np.int64)
    for _ in range(_ROUNDS):
        before = starts.copy()
        for camera in range(len(starts)):
            profile = _profile(scores, starts, camera, reach)
            starts[camera] += int(profile.argmax()) - reach
            starts = starts.clip(starts[0] - reach, starts[0] + reach)
        if (starts - starts[0] == before - before[0]).all():
            break
    return starts


def _peak(scores: np.ndarray, best: int) -> float:
    """How far the top of the parabola through the best score and its neighbours lies from it, in samples."""
    before, at, after = scores[best - 1 : best + 2]
    bend = before - 2 * at + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0
