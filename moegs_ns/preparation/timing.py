"""Which frame of each camera shows the same instant: cameras start at other moments, and record at other rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moegs_ns.preparation.source_videos import SourceVideo

# Frames by which videos may drift apart over the clip and still be taken frame by frame.
_DRIFT = 0.25
_LEAST_FRAMES = 2


@dataclass(frozen=True)
class AlignedClip:
    """The clip all cameras share."""

    fps: float
    frames: dict[str, np.ndarray]
    """Camera -> int64 ``[T]``: number of its frame, counted from 0, at each of the clip's instants; ascending."""
    worst: float
    """Seconds by which the farthest of these frames lies from its instant."""

    @property
    def num_frames(self) -> int:
        return len(next(iter(self.frames.values())))

    def is_whole(self, video: SourceVideo) -> bool:
        """Whether the clip is the camera's whole video, frame by frame."""
        return np.array_equal(self.frames[video.name], np.arange(video.num_frames))


def align(
    videos: Sequence[SourceVideo],
    starts: Mapping[str, float],
    fps: float | None = None,
    first_frame: int = 0,
    num_frames: int | None = None,
) -> AlignedClip:
    """Sample all videos at the same instants, each by the frame presented nearest to it.

    Where all rates are one and starts differ by nothing, frame i of every camera is frame i of the clip, whatever small
    jitter the times have.

    Args:
        videos: the recordings.
        starts: seconds at which cameras took their first frames; 0 for those not named. The clip starts with the last.
        fps: of the clip. Default: that of the slowest camera, so that no frame is shown twice.
        first_frame: instants of the shared clip to leave out at its start.
        num_frames: so many of those that follow; None for all.

    Raises:
        ValueError: starts of cameras that are not there, or nothing (or less than asked for) that all cameras show.
    """
    unknown = sorted(set(starts) - {video.name for video in videos})
    if unknown:
        names = ", ".join(video.name for video in videos)
        raise ValueError(f"expected start times of {names}, found {', '.join(unknown)}; correct the names")
    rates = [video.fps for video in videos]
    rate = min(rates) if fps is None else fps
    if rate <= 0:
        raise ValueError(f"expected --fps above 0, found {rate}")
    drift = max(abs(other / rate - 1) * video.num_frames for other, video in zip(rates, videos, strict=True))
    alike = drift < _DRIFT and all(video.is_even for video in videos)
    if alike and len({starts.get(video.name, 0.0) for video in videos}) == 1:
        count = min(video.num_frames for video in videos)
        frames = {video.name: np.arange(count) for video in videos}
        worst = 0.0
    else:
        begin = max(starts.get(video.name, 0.0) for video in videos)
        end = min(starts.get(video.name, 0.0) + float(video.times[-1]) for video in videos)
        count = int(np.floor((end - begin) * rate + 0.5)) + 1 if end >= begin else 0
        instants = begin + np.arange(count) / rate
        frames = {video.name: _nearest(video.times + starts.get(video.name, 0.0), instants) for video in videos}
        worst = max(
            (
                float(np.abs(video.times[frames[video.name]] + starts.get(video.name, 0.0) - instants).max())
                for video in videos
                if count
            ),
            default=0.0,
        )
    last = count if num_frames is None else first_frame + num_frames
    if first_frame < 0 or last > count or last - first_frame < _LEAST_FRAMES:
        lengths = ", ".join(f"{video.name} {video.num_frames} at {video.fps:.3f}/s" for video in videos)
        raise ValueError(
            f"expected at least {_LEAST_FRAMES} frames, {first_frame} to {last - 1}, that all cameras show, found "
            f"{count} shared ones in all ({lengths}); check start times, --first-frame and --num-frames, or leave out "
            "the camera that is too short"
        )
    return AlignedClip(rate, {name: numbers[first_frame:last] for name, numbers in frames.items()}, worst)


def _nearest(times: np.ndarray, instants: np.ndarray) -> np.ndarray:
    """int64 ``[T]``: for each instant the number of the frame whose time is nearest."""
    after = np.searchsorted(times, instants).clip(1, len(times) - 1)
    return np.where(instants - times[after - 1] <= times[after] - instants, after - 1, after)
