"""Charts for papers and slides, as PNG and PDF: curves over frames, and points of quality over cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moegs_ns.exporting.palette import expert_color
from moegs_ns.files import written_whole

_FRAMES_SIZE, _PANEL_SIZE = (6.4, 2.4), (4.6, 3.6)  # inches
_DOTS_PER_INCH = 150
_EMPHASISED = "#000000"


@dataclass(frozen=True)
class Series:
    """One method in a panel.

    Attributes:
        label: its name in the legend.
        x: positions.
        y: values, as many.
        y_spread: standard deviation of a single point; None for none.
        emphasised: drawn black and last, as the method that is compared with the others.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    y_spread: float | None = None
    emphasised: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        x_label: with its unit.
        y_label: with its unit.
        series: what is drawn; equal labels have equal colours in all panels of a figure.
        logarithmic: whether the x axis is.
    """

    x_label: str
    y_label: str
    series: Sequence[Series]
    logarithmic: bool = False


def draw_curves(title: str, panels: Sequence[Panel], stem: Path) -> list[Path]:
    """Panels one below the other, each with its curves over the same positions; the legend once, on the right.

    Returns:
        The files written, ``<stem>.png`` and ``<stem>.pdf``.
    """
    size = (_FRAMES_SIZE[0], _FRAMES_SIZE[1] * len(panels) + 0.6)
    return _draw(title, panels, stem, size, (len(panels), 1), "-")


def draw_points(title: str, panels: Sequence[Panel], stem: Path) -> list[Path]:
    """Panels side by side, a point per method with its standard deviation.

    Returns:
        The files written, ``<stem>.png`` and ``<stem>.pdf``.
    """
    size = (_PANEL_SIZE[0] * len(panels) + 1.6, _PANEL_SIZE[1])
    return _draw(title, panels, stem, size, (1, len(panels)), "none")


def _draw(
    title: str,
    panels: Sequence[Panel],
    stem: Path,
    size: tuple[float, float],
    grid: tuple[int, int],
    line: str,
) -> list[Path]:
    # Figures are made without pyplot, which would choose a window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    styles = _styles(panels)
    axes = figure.subplots(*grid, squeeze=False, sharex=grid[1] == 1, sharey=grid[0] == 1).flat
    for axis, panel in zip(axes, panels, strict=True):
        for one in sorted(panel.series, key=lambda series: series.emphasised):
            color, marker = styles[one.label]
            width = 1.8 if one.emphasised else 1.2
            if line == "none":
                axis.errorbar(
                    one.x,
                    one.y,
                    yerr=one.y_spread,
                    fmt=marker,
                    color=color,
                    capsize=3,
                    markersize=11 if one.emphasised else 7,
                )
            else:
                axis.plot(one.x, one.y, line, color=color, linewidth=width)
        axis.set_ylabel(panel.y_label, fontsize=9)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
        if panel.logarithmic:
            _readable_logarithm(axis)
        if grid[1] > 1 or panel is panels[-1]:
            axis.set_xlabel(panel.x_label, fontsize=9)
    _legend(figure, styles, line)
    files = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.pdf")]
    # No dates in the files: the same numbers give the same bytes.
    with written_whole(files[0]) as scratch:
        figure.savefig(scratch, dpi=_DOTS_PER_INCH, metadata={"Software": None})
    with written_whole(files[1]) as scratch:
        figure.savefig(scratch, metadata={"CreationDate": None})
    return files


def _styles(panels: Sequence[Panel]) -> dict[str, tuple[str, str]]:
    """Colour and marker by label, in the order of the first appearance."""
    emphasised = {one.label for panel in panels for one in panel.series if one.emphasised}
    labels = list(dict.fromkeys(one.label for panel in panels for one in panel.series))
    others = [label for label in labels if label not in emphasised]
    markers = "osD^vP"  # colours repeat beyond the seventh; colour and marker together later
    styles = {
        label: ("#{:02x}{:02x}{:02x}".format(*expert_color(number)), markers[number % len(markers)])
        for number, label in enumerate(others)
    }
    return {label: styles.get(label, (_EMPHASISED, "*")) for label in labels}


def _legend(figure: Any, styles: dict[str, tuple[str, str]], line: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, linestyle=line, marker="" if line != "none" else marker, label=label)
        for label, (color, marker) in styles.items()
    ]
    figure.legend(handles=handles, loc="outside right center", fontsize=8, frameon=False)


def _readable_logarithm(axis: Any) -> None:
    """Ticks in plain numbers also where the values span less than a decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
