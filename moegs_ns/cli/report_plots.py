"""The charts of ``moegs report --plots``."""

import re
from collections.abc import Sequence
from pathlib import Path

from moegs_ns.exporting.plots import Panel, Series, draw_curves, draw_points
from moegs_ns.reporting.frame_curves import frame_curves
from moegs_ns.reporting.numbers import deviation, mean
from moegs_ns.reporting.report_files import Reported
from moegs_ns.reporting.rows import BEST_EXPERT, MIXTURE
from moegs_ns.reporting.tables import Line, Table, build_tables

_OVER_FRAMES = {"psnr": "PSNR, dB", "psnr_dynamic": "dynamic PSNR, dB", "flicker": "flicker, levels"}
_OVER_COSTS = {
    "fps": "frames per second",
    "stored_megabytes": "MB of the checkpoint's model",
    "megabytes": "MB of parameters",
}


def draw_plots(runs: Sequence[Reported], folder: Path) -> list[Path]:
    """Scores over frames and over costs of every table of the runs.

    Returns:
        The files written; none for what no run knows.
    """
    files: list[Path] = []
    for table in build_tables([run.result for run in runs]):
        stem = folder / re.sub(r"[^A-Za-z0-9]+", "-", table.title).strip("-")
        files += _over_frames(table, stem.with_name(f"{stem.name}_frames"))
        files += _over_costs(table, stem.with_name(f"{stem.name}_costs"))
    return files


def _over_frames(table: Table, stem: Path) -> list[Path]:
    panels = []
    for metric, label in _OVER_FRAMES.items():
        curves = frame_curves(table.runs, metric)
        series = [Series(one.label, one.frames, one.values, emphasised=one.label == MIXTURE) for one in curves]
        if series:
            panels.append(Panel("frame", label, series))
    return draw_curves(table.title, panels, stem) if panels else []


def _over_costs(table: Table, stem: Path) -> list[Path]:
    lines = [line for line in table.lines if _is_a_method(line)]
    panels = []
    for cost, label in _OVER_COSTS.items():
        known = [line for line in lines if line.values.get(cost) and line.values.get("psnr")]
        series = [
            Series(
                line.label,
                (mean(line.values[cost]),),
                (mean(line.values["psnr"]),),
                deviation(line.values["psnr"]),
                emphasised=line.label == MIXTURE,
            )
            for line in known
        ]
        if series:
            panels.append(Panel(label, "PSNR, dB", series, logarithmic=True))
    return draw_points(table.title, panels, stem) if panels else []


def _is_a_method(line: Line) -> bool:
    """Not one that stands there a second time, as the best."""
    return not line.label.startswith((BEST_EXPERT, "best of"))
