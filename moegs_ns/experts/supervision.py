"""What a training view's picture is held against: as a rule the video's image, in distillation a teacher's too."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from moegs_ns.experts.views import ground_truth_image

Measure = Callable[[Tensor, Tensor], Tensor]
"""A loss: scalar, 0 for equal images, of a picture and the image it should be, both ``[H,W,3]``."""


class Supervision(Protocol):
    """Says what a picture is compared with, whatever an expert family compares by (L1 and SSIM, SSIM alone)."""

    def __call__(self, rgb: Tensor, batch: dict[str, Any], measure: Measure) -> Tensor:
        """``measure`` of the picture ``rgb [H,W,3]`` of a training view, or a weighted mean of several whose weights
        sum to 1."""


class GroundTruth:
    """The image of the batch."""

    def __call__(self, rgb: Tensor, batch: dict[str, Any], measure: Measure) -> Tensor:
        return measure(rgb, ground_truth_image(batch, rgb.device))


GROUND_TRUTH = GroundTruth()


class Supervised:
    """What models that are trained on images have in common."""

    training: bool
    supervision: Supervision = GROUND_TRUTH

    def supervise(self, supervision: Supervision) -> None:
        """Hold training views against what ``supervision`` says instead of the video's images."""
        self.supervision = supervision

    def compare(self, rgb: Tensor, batch: dict[str, Any], measure: Measure) -> Tensor:
        """``measure`` of a view's picture ``[H,W,3]`` against what it is to look like; outside training that is the
        video's image."""
        return (self.supervision if self.training else GROUND_TRUTH)(rgb, batch, measure)
