"""Charts of benchmarks/expert_passes.py's measurements as PNG: time over Gaussians, pixels and experts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

AXES = {
    "gaussians": "Gaussians of three experts, 640x480",
    "image": "million pixels, 150 000 Gaussians of three experts",
    "experts": "experts of 50 000 Gaussians each, 640x480",
}
ORDINARY, FUSED = "single pass to picture", "fused inference to picture"
#: What is drawn beside each other: the passes, and the way to the picture that is shown.
_PANELS = (("2K passes", "K passes", "single pass"), (ORDINARY, FUSED))
_COLOURS = {
    "2K passes": "#b4442f",
    "K passes": "#c98a1b",
    "single pass": "#1f6f8b",
    ORDINARY: "#1f6f8b",
    FUSED: "#2f7d4f",
}
_STYLES = {"forward": "-", "forward + backward": "--"}


def position(row: dict[str, Any]) -> float:
    """Where a row stands on its axis."""
    if row["axis"] == "image":
        return float(row["width"] * row["height"] / 1e6)
    return float(row[row["axis"]])


def write_charts(report: dict[str, Any], stem: Path) -> list[Path]:
    """One picture per axis, ``<stem>_<axis>.png``, whole lines for forward and dashed ones for forward + backward; ways
    and directions as far as they were measured.

    Returns:
        The files written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    files = []
    for axis, label in AXES.items():
        rows = [row for row in report["rows"] if row["axis"] == axis]
        measured = {row["way"] for row in rows}
        panels = [ways for ways in _PANELS if measured & {*ways}]
        if not panels:
            continue
        size = (6.4 if len(panels) == 1 else 5.2 * len(panels), 4.0)
        figure, plots = plt.subplots(1, len(panels), figsize=size, layout="constrained", squeeze=False)
        for plot, ways in zip(plots[0], panels, strict=True):
            _draw(plot, rows, ways)
            plot.set(xlabel=label, ylabel="milliseconds, median", xlim=(0, None), ylim=(0, None))
            plot.grid(alpha=0.3)
            plot.legend(fontsize=8, frameon=False)
        file = stem.with_name(f"{stem.name}_{axis}.png")
        figure.savefig(file, dpi=110, metadata={"Software": None})
        plt.close(figure)
        files.append(file)
    return files


def _draw(plot: Any, rows: Sequence[dict[str, Any]], ways: Sequence[str]) -> None:
    for way in ways:
        for direction, style in _STYLES.items():
            mine = [row for row in rows if (row["way"], row["direction"]) == (way, direction)]
            if mine:
                own = sorted((position(row), row["median_ms"]) for row in mine)
                label = f"{way}, {direction}"
                plot.plot(*zip(*own, strict=True), style, color=_COLOURS[way], marker="o", markersize=4, label=label)
