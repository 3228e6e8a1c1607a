"""Gaussians as other programs can take them over: what models hand to those who write files."""

from __future__ import annotations

from dataclasses import replace
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


def exportable_part(splats: Splats, rows: Tensor, degree: int, settings: ProjectionSettings) -> ExportablePart:
    """Gaussians of an expert, with no more of their spherical harmonics than is in use.

    Args:
        splats: of one instant.
        rows: ``[N]`` where each stands among those stored.
        degree: of spherical harmonics in use.
        settings: how they are projected.

    Raises:
        ValueError: they carry features instead of such colours.
    """
    if splats.sh is None:
        raise ValueError(
            "expected Gaussians with colours in spherical harmonics, found features that other programs cannot draw "
            "(STG's lite and full heads); bake them with --bake-sh, which says what that loses, or train with "
            "--pipeline.model.head sh"
        )
    return ExportablePart(replace(splats, sh=splats.sh[:, : (degree + 1) ** 2], features=None), rows, settings)
