"""The distillation loss (MoE-GS Eq. 11): a student between the video's images and its teacher's pictures."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from moegs_ns.experts.supervision import GROUND_TRUTH, Measure

Variant = Literal["weighted", "unweighted", "gt"]

#: Keys of a batch: the teacher's picture ``[H,W,3]`` and the student's gate ``[H,W]`` in it, float in [0,1].
TEACHER_IMAGE = "teacher_image"
STUDENT_GATE = "student_gate"
#: Key of a batch whose ``image`` is the teacher's picture of a place no training camera stands at.
PSEUDO_VIEW = "pseudo_view"
# A view whose pixels hardly count at all would be blown up out of nothing.
_LEAST_WEIGHT = 1e-3


@dataclass(frozen=True)
class Distillation:
    """``λ · L(G·I, G·GT) + (1-λ) · L((1-G)·I, (1-G)·T)``: where the teacher trusts this expert (G near 1) the student
    follows the video, elsewhere the teacher's picture T. Masks multiply the images before they are compared, so SSIM
    too sees them masked.

    Attributes:
        ground_truth_weight: λ in [0,1].
        variant: ``weighted`` is Eq. 11; ``unweighted`` the same two terms without masks (Table 13); ``gt`` the first
            term alone, unmasked: plain training.
        balanced: divide by the mean of ``λ·G + (1-λ)·(1-G)`` over the picture. Masks take away about half of the loss
            and of its gradients, but the thresholds of density control are made for whole ones.
    """

    ground_truth_weight: float = 0.5
    variant: Variant = "weighted"
    balanced: bool = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.ground_truth_weight <= 1.0:
            raise ValueError(f"expected a ground-truth weight in [0,1], found {self.ground_truth_weight}")

    def __call__(self, rgb: Tensor, batch: dict[str, Any], measure: Measure) -> Tensor:
        """Compare a training view's picture.

        Args:
            rgb: ``[H,W,3]``.
            batch: the image, and unless ``gt`` the teacher's picture and the student's gate; of a pseudo-view the
                teacher's picture as its image.
            measure: L; whatever the expert family compares by.
        """
        if self.variant == "gt" or PSEUDO_VIEW in batch:
            return GROUND_TRUTH(rgb, batch, measure)
        share, teacher = self.ground_truth_weight, batch[TEACHER_IMAGE]
        if self.variant == "unweighted":
            return _mean(
                [(share, lambda: GROUND_TRUTH(rgb, batch, measure)), (1 - share, lambda: measure(rgb, teacher))]
            )
        gate = batch[STUDENT_GATE][..., None]
        others = 1 - gate
        loss = _mean(
            [
                (share, lambda: GROUND_TRUTH(gate * rgb, batch, lambda picture, truth: measure(picture, gate * truth))),
                (1 - share, lambda: measure(others * rgb, others * teacher)),
            ]
        )
        if not self.balanced:
            return loss
        weight = share * gate.mean() + (1 - share) * others.mean()
        return loss / weight.clamp_min(_LEAST_WEIGHT)


def _mean(terms: list[tuple[float, Any]]) -> Tensor:
    """Sum of weight times term; terms without weight are not computed."""
    values = [term() if weight == 1 else weight * term() for weight, term in terms if weight > 0]
    return values[0] if len(values) == 1 else values[0] + values[1]
