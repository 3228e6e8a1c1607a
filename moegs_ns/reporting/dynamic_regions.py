"""Where a camera that stands still sees something change, told by its own images alone.

A whole image's PSNR is mostly that of its walls. What moves is found without looking at any rendering, so that it is
the same for every model, and once per camera, so that the region can be shown as one picture. Papers that score dynamic
regions have masks by hand or by networks (NSFF's "dynamic only", DyCheck's co-visibility); nothing of the kind comes
with the data sets here, and a rule of five lines can be repeated by anybody.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CHANGE = 20.0 / 255.0
"""How far a pixel's colour, averaged over 3x3 pixels against noise, must go in one channel to have changed. Of three
cameras of a real scene, noise and compression make half of it where nothing passes, and with a threshold a fifth larger
the region is smaller by less than a hundredth of the image."""
MARGIN = 2
"""Pixels around what changes that count as well: the soft edges of what moves."""

# Means of up to nine bytes are multiples of 1/36 of a level: rounding decides for none of them on any device.
_MORE_THAN_CHANGE = CHANGE + 1.0 / 72.0 / 255.0
_STANDS_STILL = 1e-6  # largest difference of a pose or a focal length that is none

DEFINITION = (
    f"pixels whose colour, averaged over 3x3 pixels, ranges over more than {CHANGE * 255:.0f}/255 in "
    f"some channel during the test camera's own images, and those within {MARGIN} pixels of them; one region per "
    "camera, from the camera's images alone"
)


@dataclass(frozen=True)
class DynamicRegion:
    """What changes before one camera.

    Attributes:
        changing: ``[H,W]`` bool, pixels that change at some time.
        truth_flicker: mean absolute change of the camera's images from one frame to the next where nothing changes, in
            levels of 255: their noise. None where everything changes.
        frame_step: by how much the numbers of two consecutive images differ; the least there is.
    """

    changing: Tensor
    truth_flicker: float | None
    frame_step: int

    @property
    def share(self) -> float:
        """Part of the image that changes, in [0,1]."""
        return float(self.changing.float().mean())


class RegionFinder:
    """Sees the images of one camera in the order of time and keeps a few maps of their size, however many they are.

    Args:
        pose: flat: camera-to-world of the first image, with whatever else must stay the same.
    """

    def __init__(self, pose: Tensor) -> None:
        self._pose = pose
        self._trouble: str | None = None
        self._last_frame: int | None = None
        self._images = 0
        self._extremes: tuple[Tensor, Tensor] | None = None
        self._previous: Tensor | None = None
        self._changes: Tensor | None = None
        self._step, self._pairs = 0, 0

    def add(self, frame: int, pose: Tensor, truth: Tensor) -> None:
        """Count one image.

        Args:
            frame: its number in the clip.
            pose: as the first.
            truth: ``[H,W,3]`` float in [0,1].
        """
        if self._trouble is None:
            self._trouble = self._trouble_with(frame, pose, truth)
        if self._trouble is None:
            self._count(frame, truth)

    def _trouble_with(self, frame: int, pose: Tensor, truth: Tensor) -> str | None:
        if bool((pose - self._pose).abs().max() > _STANDS_STILL):
            return "the camera moves, and with it every pixel changes"
        if self._last_frame is not None and frame <= self._last_frame:
            return f"its images are not in the order of time: frame {frame} behind {self._last_frame}"
        if self._previous is not None and self._previous.shape != truth.shape:
            return f"its images differ in size: {tuple(truth.shape)} behind {tuple(self._previous.shape)}"
        return None

    def _count(self, frame: int, truth: Tensor) -> None:
        smooth = _averaged(truth)
        if self._extremes is None:
            self._extremes = smooth, smooth
        self._extremes = torch.minimum(self._extremes[0], smooth), torch.maximum(self._extremes[1], smooth)
        if self._previous is not None and self._last_frame is not None:
            step = frame - self._last_frame
            if self._changes is None or step < self._step:
                self._changes, self._step, self._pairs = torch.zeros_like(truth[..., 0]), step, 0
            if step == self._step:  # a clip may lack frames; changes over a longer time are no flicker
                self._changes += (truth - self._previous).abs().mean(dim=-1)
                self._pairs += 1
        self._previous, self._last_frame = truth, frame
        self._images += 1

    def region(self) -> DynamicRegion | str:
        """What changes, or in words why that cannot be said."""
        if self._trouble is not None:
            return self._trouble
        if self._extremes is None or self._changes is None:
            return f"{self._images} image, which shows no change"
        lowest, highest = self._extremes
        changed = ((highest - lowest) > _MORE_THAN_CHANGE).any(dim=-1)
        changing = F.max_pool2d(changed[None, None].float(), 2 * MARGIN + 1, stride=1, padding=MARGIN)[0, 0] > 0
        still = ~changing
        noise = 255.0 * float(self._changes[still].mean()) / self._pairs if bool(still.any()) else None
        return DynamicRegion(changing, noise, self._step)


def _averaged(image: Tensor) -> Tensor:
    """``[H,W,3]``, each pixel the mean of the 3x3 pixels around it, at the border of those inside the image.

    Sums of shifted copies: a tenth of the time of pooling, which wants the channels first.
    """
    height, width, _ = image.shape
    columns = image.clone()
    columns[1:] += image[:-1]
    columns[:-1] += image[1:]
    sums = columns.clone()
    sums[:, 1:] += columns[:, :-1]
    sums[:, :-1] += columns[:, 1:]
    return sums / (_neighbours(height, image)[:, None, None] * _neighbours(width, image)[None, :, None])


def _neighbours(length: int, like: Tensor) -> Tensor:
    """Of every place of a line, how many there are of itself and the two beside it."""
    counts = torch.full((length,), 3.0, dtype=like.dtype, device=like.device)
    counts[0] -= 1
    counts[-1] -= 1
    return counts
