"""Gaussians as other programs can take them over: what models hand to those who write files."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.splats import Splats


class ExportablePart(NamedTuple):
    """Gaussians of one instant that are projected alike."""

    splats: Splats
    """With ``sh [N,B,3]`` of the degree in use, and no features."""
    rows: Tensor
    """``[N]`` int64, where each stands among those the model stores: the same number is the same Gaussian always."""
    settings: ProjectionSettings
    """How their own model projects them."""
