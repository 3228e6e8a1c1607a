"""A page about a mixture that opens from a folder, without a server or a network: pictures of some instants,
curves over the clip, tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol
from urllib.parse import quote

from moegs_ns.exporting.page_style import SCRIPT, STYLE
from moegs_ns.exporting.palette import error_scale_colors, expert_color
from moegs_ns.exporting.panels import Color


class PageTable(Protocol):
    """A table as reports print it; the first column holds labels."""

    @property
    def title(self) -> str: ...
    @property
    def header(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Sequence[str]]: ...
    @property
    def notes(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Instant:
    """One position of the slider.

    Attributes:
        label: such as ``frame 12``.
        position: on the charts' axis; None for the whole clip.
        files: panel name (see :mod:`moegs_ns.exporting.gate_panels`) to file, relative to the page, with slashes.
        captions: panel name to a line below it; may lack some.
    """

    label: str
    position: float | None
    files: Mapping[str, str]
    captions: Mapping[str, str]


@dataclass(frozen=True)
class GatePage:
    """What the page says.

    Attributes:
        title: of the page.
        facts: one line on what was rendered.
        summary: sentences.
        experts: names in gate order.
        error_top: root-mean-square error that is shown as white.
        instants: in the slider's order.
        charts: ``<svg>`` elements.
        tables: in order.
        definitions: what the numbers mean, name to sentence.
    """

    title: str
    facts: str
    summary: Sequence[str]
    experts: Sequence[str]
    error_top: float
    instants: Sequence[Instant]
    charts: Sequence[str]
    tables: Sequence[PageTable]
    definitions: Mapping[str, str]


def gate_page(page: GatePage) -> str:
    """The page as HTML text; it refers to nothing but the instants' files.

    Raises:
        ValueError: no instants.
    """
    if not page.instants:
        raise ValueError("expected at least one instant to make a page of, found none")
    chips = "".join(f"<span>{_chip(number)}{escape(name)}</span>" for number, name in enumerate(page.experts))
    grids = "\n".join(_instant(page, number) for number in range(len(page.instants)))
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(page.title)}</title><style>{STYLE}</style></head><body>",
            f'<h1>{escape(page.title)}</h1><p class="facts">{escape(page.facts)}</p>',
            *(f"<p>{escape(sentence)}</p>" for sentence in page.summary),
            "<h2>Which expert is used where</h2>",
            f'<p class="legend">{chips}</p>',
            '<div class="controls"><button id="play" type="button">Play</button>',
            f'<input id="slider" type="range" min="0" max="{len(page.instants) - 1}" value="0" aria-label="instant">',
            f'<output id="label">{escape(page.instants[0].label)}</output>',
            '<label><input id="through" type="checkbox"> show the picture through the maps of winners</label></div>',
            f'<div class="scroll">{grids}</div>',
            _scales(page.error_top),
            f'<h2>Over the clip</h2><div class="charts">{"".join(page.charts)}</div>',
            '<p class="note">The dashed upright line is the instant shown above; a click into a chart shows the '
            "nearest one.</p>",
            "<h2>Numbers</h2>",
            *(_table(table, page.experts) for table in page.tables),
            "<details><summary>What the numbers mean</summary>",
            *(f'<p class="note"><b>{escape(name)}</b>: {escape(text)}</p>' for name, text in page.definitions.items()),
            '</details><dialog id="large"></dialog>',
            f"<script>{SCRIPT}</script></body></html>\n",
        ]
    )


def _instant(page: GatePage, number: int) -> str:
    """Columns: the whole, the mixture, each expert. Rows: pictures, gates, errors."""
    instant = page.instants[number]
    heads = ["", "mixture", *page.experts]
    rows = [
        [("truth", "camera"), ("rgb", "mixture"), *((f"expert_{name}", name) for name in page.experts)],
        [("entropy", "entropy"), ("winner", "winner"), *((f"gate_{name}", f"gate {name}") for name in page.experts)],
        [
            ("best", "best expert"),
            ("error_rgb", "error mixture"),
            *((f"error_{name}", f"error {name}") for name in page.experts),
        ],
    ]
    cells = [
        f'<div class="head">{_chip(place - 2) if place > 1 else ""}{escape(head)}</div>'
        for place, head in enumerate(heads)
    ]
    cells += [_figure(instant, panel, name) for row in rows for panel, name in row]
    hidden = " hidden" if number else ""
    position = "" if instant.position is None else f"{instant.position:g}"
    # Narrow windows scroll: below this width nothing can be seen in a panel.
    columns = f"grid-template-columns:repeat({len(heads)},minmax(170px,1fr))"
    return (
        f'<div class="instant" data-label="{escape(instant.label)}" data-position="{position}" '
        f'style="{columns}"{hidden}>\n{"".join(cells)}</div>'
    )


def _figure(instant: Instant, panel: str, name: str) -> str:
    under = ""
    if panel in ("winner", "best"):
        under = f'<img class="under" src="{_address(instant.files["rgb"])}" alt="">'
    caption = f"{name}: {instant.captions[panel]}" if panel in instant.captions else name
    picture = f'<img src="{_address(instant.files[panel])}" alt="{escape(f"{name}, {instant.label}")}">'
    return f'<figure><div class="stack">{under}{picture}</div><figcaption>{escape(caption)}</figcaption></figure>\n'


def _address(file: str) -> str:
    return escape(quote(file))


def _scales(top: float) -> str:
    ramp = ", ".join(_css(color) for color in error_scale_colors())
    return (
        '<p class="note">Errors: root mean square over the channels, on a scale of 0 to 1, the same colours in all '
        f'pictures: 0 <span class="scale" style="background:linear-gradient(90deg, {ramp})"></span> {top:g} and more '
        f"({255 * top:.0f} of 255).</p>"
        '<p class="note">Gates and entropy: 0 <span class="scale" style="background:linear-gradient(90deg, #000, '
        '#fff)"></span> 1. An entropy of 0 is one expert alone, 1 all alike.</p>'
        '<p class="note">Winner: the expert with the largest gate. Best expert: the one with the smallest error, '
        "averaged over 9x9 pixels; over the whole clip the one that is so most often. Click a picture to enlarge it; "
        "the arrow keys change the instant.</p>"
    )


def _table(table: PageTable, experts: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = []
    for first, *cells in table.rows:
        chip = _chip(experts.index(first)) if first in experts else ""
        values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(f"<tr><td>{chip}{escape(first)}</td>{values}</tr>")
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    return (
        f'<div class="scroll"><table><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{notes}"
    )


def _chip(number: int) -> str:
    return f'<i class="chip" style="background:{_css(expert_color(number))}"></i>'


def _css(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
