"""Straight stretches hold what frames showed, within the tolerances, and are no more than needed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from moegs_ns.exporting.frame_gaussians import FrameGaussians
from moegs_ns.exporting.motion_lines import Stretches, Tolerances, straight_stretches
from tests.exporting.gaussian_sets import make_splats

FRAMES = 12


def frames_of(kind: str, count: int = 20) -> list[FrameGaussians]:
    splats, found = make_splats(count, degree=1), []
    for frame in range(FRAMES):
        time, means, opacities, rows = frame / (FRAMES - 1), splats.means, splats.opacities, torch.arange(count)
        if kind == "line":
            means = means + time * torch.linspace(-1, 1, count)[:, None]
        elif kind == "circle":
            means = means + 0.5 * torch.tensor([math.cos(5 * time), math.sin(5 * time), 0.0])
        elif kind == "fading":
            opacities = opacities * (1 - 0.5 * time)
        now = replace(splats, means=means, opacities=opacities)
        if kind == "flipping" and frame % 2:
            now = replace(now, quats=-now.quats)
        if kind == "coming" and frame in (0, 1, 5):  # the first is not there
            now = type(now)(now.means[1:], now.quats[1:], now.scales[1:], now.opacities[1:], sh=now.sh[1:])
            rows = rows[1:]
        found.append(FrameGaussians(frame, time, now, rows))
    return found


def largest_errors(stretches: Stretches, frames: list[FrameGaussians]) -> dict[str, float]:
    """Every Gaussian of every frame is in exactly one stretch; how far that is from it."""
    worst: dict[str, float] = {"position": 0.0, "opacity": 0.0, "scale": 0.0, "color": 0.0}
    for position, frame in enumerate(frames):
        alive = (stretches.first <= position) & (position < stretches.end)
        order = np.argsort(stretches.rows[alive])
        chosen = np.flatnonzero(alive)[order]
        assert stretches.rows[chosen].tolist() == sorted(frame.rows.tolist())
        ahead = (position - stretches.first[chosen])[:, None]
        means = stretches.means[chosen] + ahead * stretches.steps[chosen]
        s = frame.splats
        way = np.abs(means - s.means.numpy()).max(axis=1) / s.scales.numpy().min(axis=1)
        worst["position"] = max(worst["position"], float(way.max()))
        worst["opacity"] = max(worst["opacity"], float(np.abs(stretches.opacities[chosen] - s.opacities.numpy()).max()))
        scale = np.abs(np.log(stretches.scales[chosen]) - s.scales.log().numpy())
        worst["scale"] = max(worst["scale"], float(scale.max()))
        worst["color"] = max(worst["color"], float(np.abs(stretches.sh[chosen] - s.sh.numpy()).max()))
    return worst


@pytest.mark.parametrize("kind", ["still", "line", "circle", "fading", "flipping", "coming"])
def test_stretches_stay_within_the_tolerances(kind: str) -> None:
    frames, allowed = frames_of(kind), Tolerances()
    worst = largest_errors(straight_stretches(frames), frames)
    assert worst["position"] <= allowed.position + 1e-3
    assert worst["opacity"] <= allowed.opacity + 1e-6
    assert worst["scale"] <= allowed.scale + 1e-6
    assert worst["color"] <= allowed.color + 1e-6


@pytest.mark.parametrize(("kind", "expected"), [("still", 20), ("line", 20), ("flipping", 20), ("coming", 21)])
def test_what_keeps_to_a_line_is_one(kind: str, expected: int) -> None:
    assert len(straight_stretches(frames_of(kind))) == expected


def test_a_curve_is_several_but_fewer_than_frames() -> None:
    stretches = straight_stretches(frames_of("circle"), Tolerances(position=1.0))
    assert 20 * 2 <= len(stretches) <= 20 * FRAMES / 2
    assert len(stretches) < len(straight_stretches(frames_of("circle"), Tolerances(position=0.1)))


def test_what_cannot_be_cut_is_told() -> None:
    with pytest.raises(ValueError, match="expected at least one frame, found none"):
        straight_stretches([])
    frames = frames_of("still")
    other = replace(frames[1].splats, sh=frames[1].splats.sh[:, :1])
    with pytest.raises(ValueError, match="expected frames with equally many colour coefficients"):
        straight_stretches([frames[0], FrameGaussians(1, 0.1, other, frames[1].rows)])
