"""Charts of benchmarks/expert_passes.py's measurements as PNG: time over Gaussians, pixels and experts."""

from pathlib import Path
from typing import Any

AXES = {
    "gaussians": "Gaussians of three experts, 640x480",
    "image": "million pixels, 150 000 Gaussians of three experts",
    "experts": "experts of 50 000 Gaussians each, 640x480",
}
_COLOURS = {"2K passes": "#b4442f", "K passes": "#c98a1b", "single pass": "#1f6f8b"}


def position(row: dict[str, Any]) -> float:
    """Where a row stands on its axis."""
    if row["axis"] == "image":
        return float(row["width"] * row["height"] / 1e6)
    return float(row[row["axis"]])


def write_charts(report: dict[str, Any], stem: Path) -> list[Path]:
    """One picture per axis, ``<stem>_<axis>.png``, whole lines for forward and dashed ones for forward + backward.

    Returns:
        The files written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    files = []
    for axis, label in AXES.items():
        rows = [row for row in report["rows"] if row["axis"] == axis and row["way"] in _COLOURS]
        if not rows:
            continue
        figure, plot = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
        for way, colour in _COLOURS.items():
            for direction, style in (("forward", "-"), ("forward + backward", "--")):
                mine = [row for row in rows if (row["way"], row["direction"]) == (way, direction)]
                own = sorted((position(row), row["median_ms"]) for row in mine)
                plot.plot(
                    *zip(*own, strict=True), style, color=colour, marker="o", markersize=4, label=f"{way}, {direction}"
                )
        plot.set(xlabel=label, ylabel="milliseconds, median", xlim=(0, None), ylim=(0, None))
        plot.grid(alpha=0.3)
        plot.legend(fontsize=8, frameon=False)
        file = stem.with_name(f"{stem.name}_{axis}.png")
        figure.savefig(file, dpi=110, metadata={"Software": None})
        plt.close(figure)
        files.append(file)
    return files
