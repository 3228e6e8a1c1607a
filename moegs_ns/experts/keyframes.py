"""The clock of keyframed Gaussians: where the keyframes of a clip lie, and how far training has opened it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KeyframeClock:
    """Keyframes at equal distances, beginning before the clip and ending after it.

    A curve through keyframes needs one more on either side of those around a time, so the first lies ``interval +
    padding`` frames before the clip.

    Attributes:
        num_frames: length of the clip.
        interval: frames from one keyframe to the next.
        padding: frames from a keyframe to the clip's first frame.
    """

    num_frames: int
    interval: int
    padding: int

    @property
    def count(self) -> int:
        """Number of keyframes: the last interval's two neighbours and one more after it."""
        return int(self.position(self.last_frame)) + 3

    @property
    def last_frame(self) -> int:
        """Number of the clip's last frame."""
        return self.num_frames - 1

    def frame(self, time: float) -> float:
        """Frame number, not rounded, of the project's time in [0,1]."""
        return time * self.last_frame

    def position(self, frame: float) -> float:
        """A frame number in keyframes."""
        return (frame + self.interval + self.padding) / self.interval

    def keyframes(self) -> Tensor:
        """``[count]`` frame number of every keyframe; negative before the clip."""
        return (torch.arange(self.count) - 1) * float(self.interval) - self.padding


@dataclass(frozen=True)
class GrowingWindow:
    """The part of the clip training has reached: from the first frame to one that moves on step by step.

    Attributes:
        last_frame: of the clip.
        first_end: last frame of the window at the start of training.
        growth: frames the window grows by.
        interval: steps from one growth to the next; 0 = the whole clip at once.
        start: no growth up to this step.
    """

    last_frame: int
    first_end: int
    growth: int
    interval: int
    start: int

    def end(self, steps: int) -> int:
        """Number of the window's last frame after so many finished steps; at least 1, at most the clip's last."""
        if not self.interval:
            return max(1, self.last_frame)
        # At multiples of the interval, as the authors do: neither within the first interval nor before the start.
        missed = max(math.floor(self.start / self.interval), 1)
        growths = max(0, steps // self.interval - missed)
        return max(1, min(self.last_frame, self.first_end + self.growth * growths))

    def grows_at(self, steps: int) -> bool:
        """Whether the window is larger after ``steps`` steps than one step before."""
        return steps > 0 and self.end(steps) > self.end(steps - 1)
