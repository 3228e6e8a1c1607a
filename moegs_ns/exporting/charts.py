"""Line charts as SVG text for pages that must open without a network; no plotting library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 30, 42
_TICKS = 5


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        label: its name in the legend.
        values: as many as the chart has positions; None leaves a gap.
        color: any CSS colour.
        dashes: SVG dash pattern such as ``6 3``; empty for a whole line.
    """

    label: str
    values: Sequence[float | None]
    color: str
    dashes: str = ""


@dataclass(frozen=True)
class Chart:
    """Curves over shared positions.

    Attributes:
        title: what is shown.
        x_label: with its unit.
        y_label: with its unit.
        positions: ascending.
        curves: drawn in this order.
        y_range: of the axis; None for that of the values.
    """

    title: str
    x_label: str
    y_label: str
    positions: Sequence[float]
    curves: Sequence[Curve]
    y_range: tuple[float, float] | None = None


def svg(chart: Chart) -> str:
    """One ``<svg>`` with axes, ticks, a legend below the title, and a hidden line (class ``now``) that a page may move:
    ``data-left``, ``data-right`` say where on the drawing the first and the last position (``data-first``,
    ``data-last``) lie.

    Raises:
        ValueError: no positions, or curves of another length.
    """
    if not chart.positions or any(len(curve.values) != len(chart.positions) for curve in chart.curves):
        lengths = [len(curve.values) for curve in chart.curves]
        raise ValueError(f"expected curves of {len(chart.positions)} > 0 values, found {lengths}")
    legend, rows = _legend(chart.curves)
    top = _TOP + 16 * rows
    height = HEIGHT + 16 * (rows - 1)
    first, last = chart.positions[0], chart.positions[-1]
    y_ticks, decimals = _y_ticks(chart)
    low, high = y_ticks[0], y_ticks[-1]

    def x(position: float) -> float:
        share = (position - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return height - _BOTTOM - (value - low) / (high - low) * (height - _BOTTOM - top)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(chart.title)}" '
        f'data-first="{first:g}" data-last="{last:g}" data-left="{x(first):.1f}" data-right="{x(last):.1f}">',
        f'<text class="title" x="{_LEFT}" y="16">{escape(chart.title)}</text>',
        legend,
    ]
    for value in y_ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        label = f"{value:.{decimals}f}"
        parts.append(f'<text class="tick" text-anchor="end" x="{_LEFT - 6}" y="{y(value) + 4:.1f}">{label}</text>')
    for position in _x_ticks(chart.positions):
        place = f'x="{x(position):.1f}" y="{height - _BOTTOM + 15}"'
        parts.append(f'<text class="tick" text-anchor="middle" {place}>{position:g}</text>')
    middle_x, middle_y = (_LEFT + WIDTH - _RIGHT) / 2, (top + height - _BOTTOM) / 2
    parts += [
        f'<text class="axis" text-anchor="middle" x="{middle_x:.1f}" y="{height - 8}">{escape(chart.x_label)}</text>',
        f'<text class="axis" text-anchor="middle" transform="translate(13 {middle_y:.1f}) rotate(-90)">'
        f"{escape(chart.y_label)}</text>",
        f'<line class="now" x1="0" x2="0" y1="{top}" y2="{height - _BOTTOM}" visibility="hidden"/>',
    ]
    for curve in chart.curves:
        look = f'stroke="{escape(curve.color)}"' + (f' stroke-dasharray="{curve.dashes}"' if curve.dashes else "")
        for stretch in _stretches(chart.positions, curve.values):
            points = " ".join(f"{x(position):.1f},{y(min(max(value, low), high)):.1f}" for position, value in stretch)
            parts.append(f'<polyline class="curve" {look} points="{points}"/>')
            if len(stretch) == 1:
                where = points.split(",")
                parts.append(f'<circle r="3" cx="{where[0]}" cy="{where[1]}" fill="{escape(curve.color)}"/>')
    return "\n".join([*parts, "</svg>"])


def _legend(curves: Sequence[Curve]) -> tuple[str, int]:
    """The legend and how many rows it takes."""
    parts, x, row = [], float(_LEFT), 0
    for curve in curves:
        width = 30 + 6.4 * len(curve.label)
        if x > _LEFT and x + width > WIDTH - _RIGHT:
            x, row = float(_LEFT), row + 1
        y = _TOP + 4 + 16 * row
        look = f'stroke="{escape(curve.color)}"' + (f' stroke-dasharray="{curve.dashes}"' if curve.dashes else "")
        parts.append(f'<line class="curve" {look} x1="{x:.0f}" x2="{x + 18:.0f}" y1="{y - 4}" y2="{y - 4}"/>')
        parts.append(f'<text class="key" x="{x + 22:.0f}" y="{y}">{escape(curve.label)}</text>')
        x += width
    return "\n".join(parts), row + 1


def _y_ticks(chart: Chart) -> tuple[list[float], int]:
    """Round numbers that enclose the axis, and the decimals they are written with."""
    values = [value for curve in chart.curves for value in curve.values if value is not None]
    low, high = chart.y_range or (min(values, default=0.0), max(values, default=1.0))
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return [number * step for number in range(start, end + 1)], places + (1 if step / power == 2.5 else 0)


def _x_ticks(positions: Sequence[float]) -> list[float]:
    count = min(len(positions), 7)
    if count == 1:
        return [positions[0]]
    return [positions[round(number * (len(positions) - 1) / (count - 1))] for number in range(count)]


def _stretches(positions: Sequence[float], values: Sequence[float | None]) -> list[list[tuple[float, float]]]:
    stretches: list[list[tuple[float, float]]] = [[]]
    for position, value in zip(positions, values, strict=True):
        if value is None:
            stretches.append([])
        else:
            stretches[-1].append((position, value))
    return [stretch for stretch in stretches if stretch]
