"""Scores frame by frame, as charts show them."""

from collections.abc import Sequence
from dataclasses import dataclass

from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.numbers import mean
from moegs_ns.reporting.rows import MIXTURE, single_row


@dataclass(frozen=True)
class FrameCurve:
    """One metric of one method over a clip.

    Attributes:
        label: the method.
        frames: numbers in the clip, ascending.
        values: of each, the mean over test cameras and seeds.
    """

    label: str
    frames: tuple[int, ...]
    values: tuple[float, ...]


def frame_curves(results: Sequence[RunResult], metric: str) -> list[FrameCurve]:
    """Curves of the runs of one table: a mixture's experts and the mixture, then single experts. Nothing for those
    whose evaluation has no such scores.

    Args:
        results: runs that share a table.
        metric: ``psnr``, ``psnr_dynamic`` or ``flicker``.
    """
    points: dict[str, dict[int, list[float]]] = {}
    for label, key, result in _keys(results, metric):
        for row in result.scores.get("per_image", []):
            if row.get("frame") is not None and key in row:
                points.setdefault(label, {}).setdefault(int(row["frame"]), []).append(float(row[key]))
    return [
        FrameCurve(label, tuple(sorted(of)), tuple(mean(of[frame]) for frame in sorted(of)))
        for label, of in points.items()
    ]


def _keys(results: Sequence[RunResult], metric: str) -> list[tuple[str, str, RunResult]]:
    """Label, key in the rows of images, and run."""
    keys = []
    for result in results:
        if result.expert_names:
            keys += [(name, f"expert_{name}/{metric}", result) for name in result.expert_names]
            keys.append((MIXTURE, metric, result))
    for result in results:
        if not result.expert_names:
            row = single_row(result)
            keys.append((f"{row.label} ({row.detail})", metric, result))
    return keys
