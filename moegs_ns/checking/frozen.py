"""Frames that repeat the one before: a recorder that stalled, a frame rate that was stretched, a still for a video."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from moegs_ns.checking.result import CheckResult, Verdict, fine, listed
from moegs_ns.checking.views import Footage

NAME = "repeated frames"
# A frame that differs from the one before by less than this share of the camera's median step repeats it, coding noise
# included.
LIMIT = 0.1
# Nothing changes at all, in grey levels of the mean pixel.
_STILL = 0.02
# Other cameras move at an instant if most of them make at least half their usual step.
_MOVES = 0.5
# Share of the frames that may repeat before a camera's motion is not its scene's any more.
_UNUSABLE_SHARE = 0.5


def repeated(footage: Mapping[str, Footage]) -> tuple[dict[str, list[int]], list[int]]:
    """Frames of single cameras that repeat the one before while the others go on, and those that repeat in all."""
    names = list(footage)
    length = min(len(one.changes) for one in footage.values())
    steps = np.array([footage[name].changes[:length] for name in names])
    usual = np.median(steps, axis=1, keepdims=True)
    still = steps < np.maximum(_STILL, LIMIT * usual)
    rig = np.median(usual)
    relative = steps / np.maximum(np.where(usual < _STILL, rig, usual), 1e-9)
    everywhere = still.all(axis=0)
    goes_on = np.median(relative, axis=0) > _MOVES
    own = {name: (np.flatnonzero(still[row] & goes_on) + 1).tolist() for row, name in enumerate(names)}
    return {name: frames for name, frames in own.items() if frames}, (np.flatnonzero(everywhere) + 1).tolist()


def check_frozen(footage: Mapping[str, Footage]) -> CheckResult:
    """The result, with every camera's smallest step."""
    own, everywhere = repeated(footage)
    length = min(len(one.changes) for one in footage.values())
    smallest = {
        name: float(one.changes.min() / max(float(np.median(one.changes)), 1e-9)) if length else 1.0
        for name, one in footage.items()
    }
    numbers = {
        "limit_share_of_usual_step": LIMIT,
        "smallest_share_of_usual_step": min(smallest.values()),
        "usual_step_grey_levels": {name: float(np.median(one.changes)) for name, one in footage.items() if length},
        "repeated": own,
        "repeated_everywhere": everywhere,
    }
    if length and len(everywhere) == length:
        return CheckResult(
            NAME,
            Verdict.DOUBTFUL,
            "Nothing changes in any camera: a still scene needs no dynamic expert; check that these are the right "
            "files.",
            numbers=numbers,
        )
    if own:
        each = listed(f"{name} ({len(frames)}, first {frames[0]})" for name, frames in own.items())
        many = max(len(frames) for frames in own.values()) > _UNUSABLE_SHARE * length
        return CheckResult(
            NAME,
            Verdict.UNUSABLE if many else Verdict.DOUBTFUL,
            f"Frames repeat the one before while other cameras go on: {each}; encode these videos anew from the "
            "recordings without dropped frames, or leave the cameras out (--exclude-cams).",
            tuple(own),
            numbers,
        )
    if everywhere:
        return CheckResult(
            NAME,
            Verdict.DOUBTFUL,
            f"{len(everywhere)} of {length + 1} frames repeat the one before in all cameras (first {everywhere[0]}): "
            "the clip was stretched to a higher frame rate; encode it at the rate it was recorded at.",
            numbers=numbers,
        )
    return fine(NAME, "No camera repeats frames.", **numbers)
