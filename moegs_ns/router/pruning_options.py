"""When and how a router's training prunes its experts."""

from dataclasses import dataclass
from typing import Literal

Criterion = Literal["gate", "contribution", "gate*responsibility", "opacity", "random"]


@dataclass
class PruningOptions:
    """The part of a mixture's options that says which Gaussians of its experts are removed while the router trains."""

    prune_ratio: float = 0.0
    """Share of all experts' Gaussians to remove in the course of training, those that matter least; 0 = none."""
    prune_threshold: float | None = None
    """Instead of a share, remove in every round the Gaussians that score less than this."""
    prune_criterion: Criterion = "gate"
    """What matters: *gate* the sensitivity of gates to a Gaussian's weights (MoE-GS Eq. 10), *contribution* what the
    mixture shows of it, gate*responsibility sensitivity of unsaturated gates times responsibility; for comparison
    *opacity* (the largest over time) and *random*."""
    prune_temperature: float | None = None
    """Temperature of the softmax over experts while scoring. Default: that of evaluation."""
    prune_start: int = 500
    """Training steps before the first round of pruning."""
    prune_interval: int = 500
    """Training steps from one round of pruning to the next, for the router to recover."""
    prune_rounds: int = 1
    """Rounds of pruning; each removes the same share of what is still there, until the ratio is reached."""
    prune_view_stride: int = 1
    """Score by every so-manieth training image only; an image costs about one and a half training steps."""
    prune_seed: int = 0
    """Seed of the criterion *random*."""
