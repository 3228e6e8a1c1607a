"""Whether the cameras stand where a scene can be seen in depth from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moegs_ns.checking.result import CheckResult, Verdict, fine, listed
from moegs_ns.checking.views import View

NAME = "cameras"
# Closer than this share of the rig's size two cameras stand at one place, which two bodies cannot.
_SAME_PLACE = 1e-3


def centres_of(views: Sequence[View]) -> np.ndarray:
    """``[V,3]`` world units."""
    return np.array([-view.viewmat[:3, :3].T @ view.viewmat[:3, 3] for view in views])


def rig_size(centres: np.ndarray) -> float:
    """The diagonal of the box around camera centres ``[V,3]``."""
    return float(np.linalg.norm(np.ptp(centres, axis=0)))


def check_geometry(views: Sequence[View], near_far: tuple[float, float], stands_still: bool) -> CheckResult:
    """The result, with positions and the rig's size."""
    centres = centres_of(views)
    size = rig_size(centres)
    axes = np.array([view.viewmat[2, :3] for view in views])
    angles = np.degrees(np.arccos(np.clip(axes @ axes.T, -1, 1)))
    numbers = {
        "rig_size": size,
        "near": near_far[0],
        "far": near_far[1],
        "widest_angle_degrees": float(angles.max()),
        "positions": {view.name: centre.tolist() for view, centre in zip(views, centres, strict=True)},
    }
    if size < 1e-6 * near_far[1]:
        return CheckResult(
            NAME,
            Verdict.UNUSABLE,
            "All views are taken from one place: nothing tells how far anything is; a scene needs several cameras, or "
            "one that moves.",
            numbers=numbers,
        )
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1) + np.eye(len(views)) * size
    together = sorted({*np.flatnonzero(apart.min(axis=1) < _SAME_PLACE * size).tolist()})
    if stands_still and together:
        names = [views[index].name for index in together]
        return CheckResult(
            NAME,
            Verdict.DOUBTFUL,
            f"Cameras stand at one place: {listed(names)}; their poses were copied, or cameras failed to be "
            "registered: calibrate them anew.",
            tuple(names),
            numbers,
        )
    nearest = float(np.median(np.sort(angles, axis=1)[:, 1])) if len(views) > 1 else 0.0
    return fine(
        NAME,
        f"{len(views)} {'cameras' if stands_still else 'views'} in a rig {size:.3g} across, {nearest:.0f} degrees from "
        f"one to the next, {angles.max():.0f} in all.",
        **numbers,
    )
