"""Tables of runs: runs of several seeds become one row with mean and standard deviation; every table says by which
protocol its numbers came about."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.numbers import mean_and_deviation
from moegs_ns.reporting.published import PublishedScore
from moegs_ns.reporting.published_rows import PUBLISHED, published_cell, published_matches, published_notes
from moegs_ns.reporting.routers import USUAL_ROUTER, router_label
from moegs_ns.reporting.rows import (
    BEST_EXPERT,
    MIXTURE,
    Row,
    best_of_retrainings,
    mixture_facts,
    mixture_rows,
    single_row,
)
from moegs_ns.reporting.table_notes import (
    HEADERS,
    RETRAININGS_NOTE,
    UNKNOWN,
    VIDEO_METRICS,
    cost_notes,
    gap_notes,
    lead_notes,
    missing_notes,
    protocol_notes,
    seeds_of,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

_FORMATS = {"psnr": ".2f", "psnr_dynamic": ".2f", "ssim": ".4f", "lpips_alex": ".4f", "lpips_vgg": ".4f"}
_FORMATS |= {"flicker": ".2f", "fps": ".1f", "gaussians": ",.0f", "megabytes": ".1f", "stored_megabytes": ".1f"}
_FORMATS |= {"seconds": ",.0f", "total_seconds": ",.0f"}
_LPIPS = ("lpips_alex", "lpips_vgg")
_COSTS = ("fps", "gaussians", "megabytes", "stored_megabytes", "seconds")
_MEANINGLESS = "-"


@dataclass(frozen=True)
class Line:
    """A row of a table as numbers.

    Attributes:
        label: its first cell.
        values: by column, one value per seed. Nothing for what is unknown or means nothing for it; fewer than there are
            seeds where some lack it.
        seeds: how many there are.
        published: what the MoE-GS paper prints of the same method on the same scene.
    """

    label: str
    values: dict[str, tuple[float, ...]]
    seeds: int
    published: PublishedScore | None = None


@dataclass(frozen=True)
class Table:
    """A table ready to print.

    Attributes:
        title: what it compares.
        header: column names, the first that of the labels.
        rows: cells, as many as the header has.
        notes: lines below it.
        emphasised: numbers of rows to print bold.
        lines: the rows as numbers, where the table is of runs.
        runs: whose rows they are.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    emphasised: tuple[int, ...] = ()
    lines: tuple[Line, ...] = ()
    runs: tuple[RunResult, ...] = field(default=(), repr=False, compare=False)

    def markdown(self) -> str:
        """The table as Markdown, its notes as a list."""
        aligned = ["---", *["---:"] * (len(self.header) - 1)]
        body = [
            [f"**{cell}**" for cell in cells] if number in self.emphasised else cells
            for number, cells in enumerate(self.rows)
        ]
        lines = [f"| {' | '.join(cells)} |" for cells in (self.header, aligned, *body)]
        return "\n".join([f"**{self.title}**", "", *lines, "", *(f"- {note}" for note in self.notes), ""])

    def terminal(self) -> "RenderableType":
        """The table for a rich console."""
        from rich import box
        from rich.console import Group
        from rich.markup import escape
        from rich.padding import Padding
        from rich.table import Table as RichTable

        drawn = RichTable(
            title=escape(self.title),
            box=box.SIMPLE_HEAD,
            title_justify="left",
            title_style="bold",
            padding=(0, 1, 0, 0),
        )
        for number, name in enumerate(self.header):
            drawn.add_column(escape(name), justify="right" if number else "left", no_wrap=number == 0)
        for number, cells in enumerate(self.rows):
            drawn.add_row(*map(escape, cells), style="bold" if number in self.emphasised else None)
        notes = [Padding(f"[dim]{escape(note)}[/dim]", (0, 0, 0, 2)) for note in self.notes]
        return Group(drawn, *notes)


def build_tables(results: Sequence[RunResult], only_where_known: Collection[str] = ()) -> list[Table]:
    """One table per scene, protocol, router and set of experts.

    Mixtures of the same experts by the same router are taken as seeds of one experiment. Single experts stand below
    the mixtures of their scene (an equal-budget expert, for one), or in a table of their own where there is none.

    Args:
        results: the runs.
        only_where_known: metrics whose column is left out, without a word, where no run of the table has them; of
            others the column stays and a note gives the reason.
    """
    mixtures: dict[tuple[str, ...], list[RunResult]] = {}
    singles: dict[str, list[RunResult]] = {}
    for result in results:
        key = comparable(result)
        if result.expert_names:
            mixtures.setdefault((key, router_label(result), *result.expert_names), []).append(result)
        else:
            singles.setdefault(key, []).append(result)
    tables = [_mixture_table(group, singles.get(key, []), only_where_known) for (key, *_), group in mixtures.items()]
    alone = [group for key, group in singles.items() if key not in {key for key, *_ in mixtures}]
    return tables + [_single_table(group, only_where_known) for group in alone]


def comparable(result: RunResult) -> str:
    """Equal for runs whose numbers may stand in one table."""
    protocol = result.protocol
    return json.dumps(
        [result.scene, *(protocol.get(key) for key in ("split", "cameras", "frames", "images", "resolution"))]
    )


def _mixture_table(mixtures: list[RunResult], singles: list[RunResult], only_where_known: Collection[str]) -> Table:
    groups = _by_label([mixture_rows(result) for result in mixtures])
    closing_notes = []
    if (retrained := best_of_retrainings(mixtures)) is not None:
        groups = _behind(groups, BEST_EXPERT, retrained)
        closing_notes.append(RETRAININGS_NOTE)
    rivals = _by_label([[single_row(result)] for result in singles], with_detail=True)
    reasons = [run for result in mixtures for run in result.experts() if isinstance(run, str)]
    router = router_label(mixtures[0])
    other = "" if router == USUAL_ROUTER else f", {router}"
    return _table(
        f"{mixtures[0].scene}: {' + '.join(mixtures[0].expert_names)}{other}{seeds_of(mixtures)}",
        [*groups.values(), *rivals.values()],
        mixtures + singles,
        lead_notes([mixture_facts(result) for result in mixtures]),
        [*closing_notes, *(f"{UNKNOWN} where {reason}." for reason in dict.fromkeys(reasons))],
        only_where_known,
    )


def _single_table(results: list[RunResult], only_where_known: Collection[str]) -> Table:
    groups = _by_label([[single_row(result)] for result in results], with_detail=True)
    title = f"{results[0].scene}: single experts{seeds_of(results)}"
    return _table(title, list(groups.values()), results, [], [], only_where_known)


def _by_label(runs: list[list[Row]], with_detail: bool = False) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for rows in runs:
        for row in rows:
            groups.setdefault(f"{row.label} ({row.detail})" if with_detail else row.label, []).append(row)
    return groups


def _behind(groups: dict[str, list[Row]], label: str, row: Row) -> dict[str, list[Row]]:
    """The groups with one more, of a single row, behind that of ``label``."""
    together: dict[str, list[Row]] = {}
    for name, rows in groups.items():
        together[name] = rows
        if name == label:
            together[row.label] = [row]
    return together


def _table(
    title: str,
    groups: Sequence[list[Row]],
    results: list[RunResult],
    leading_notes: list[str],
    closing_notes: list[str],
    only_where_known: Collection[str],
) -> Table:
    stored = _sizes_are_stored(groups)
    quality = [name for name in HEADERS if name not in _COSTS]
    missing = [name for name in quality if not any(name in row.values for rows in groups for row in rows)]
    left_out = {*(name for name in missing if name in only_where_known or name in _LPIPS)}
    left_out.add("megabytes" if stored else "stored_megabytes")
    columns = [name for name in HEADERS if name not in left_out]
    headers = {name: HEADERS[name] for name in columns}
    if set(_LPIPS) <= set(missing):  # neither network: one empty column says it
        columns.insert(columns.index("ssim") + 1, "lpips")
        headers["lpips"] = "LPIPS"
    cells = {name: [_cell(rows, name) for rows in groups] for name in columns}
    printed = published_matches(results[0], [rows[0] for rows in groups])
    if any(printed):
        columns.insert(1, PUBLISHED)
        headers[PUBLISHED] = PUBLISHED
        cells[PUBLISHED] = [_MEANINGLESS if score is None else published_cell(score) for score in printed]
    labels = [_label(rows) for rows in groups]
    lines = tuple(
        Line(label, {name: _values(rows, name) for name in columns if _values(rows, name)}, len(rows), score)
        for label, rows, score in zip(labels, groups, printed, strict=True)
    )
    has_oracles = any(rows[0].label == MIXTURE for rows in groups)
    measured = [(label, row.run) for label, rows in zip(labels, groups, strict=True) for row in rows if row.run]
    notes = [*leading_notes, *protocol_notes(results, measured)]
    notes += [*cost_notes(measured, has_oracles, stored), *closing_notes]
    notes += missing_notes(results, [name for name in missing if name not in only_where_known])
    notes += gap_notes(results, [name for name in VIDEO_METRICS if name not in missing])
    notes += published_notes(results[0]) if any(printed) else []
    return Table(
        title,
        ["", *(headers[name] for name in columns)],
        [[label, *(cells[name][number] for name in columns)] for number, label in enumerate(labels)],
        notes,
        tuple(number for number, rows in enumerate(groups) if rows[0].label == MIXTURE),
        lines,
        tuple(results),
    )


def _sizes_are_stored(groups: Sequence[list[Row]]) -> bool:
    """Whether every row with a size knows that of its checkpoint: a column holds one kind of number."""
    sized = [row for rows in groups for row in rows if "megabytes" in row.values or "stored_megabytes" in row.values]
    return bool(sized) and all("stored_megabytes" in row.values for row in sized)


def _label(rows: list[Row]) -> str:
    details = {row.detail for row in rows}
    return f"{rows[0].label} ({details.pop()})" if len(details) == 1 and rows[0].detail else rows[0].label


def _values(rows: list[Row], name: str) -> tuple[float, ...]:
    if name in _COSTS and not rows[0].has_costs:
        return ()
    return tuple(row.values[name] for row in rows if name in row.values)


def _cell(rows: list[Row], name: str) -> str:
    if not rows[0].has_costs and name in _COSTS:
        return _MEANINGLESS
    values = _values(rows, name)
    if len(values) < len(rows):
        return UNKNOWN  # a mean over some of the seeds would pass for one over all
    text = mean_and_deviation(values, _FORMATS[name])
    if name == "seconds" and rows[0].label == MIXTURE:
        totals = [row.values["total_seconds"] for row in rows if "total_seconds" in row.values]
        whole = mean_and_deviation(totals, _FORMATS["total_seconds"]) if len(totals) == len(rows) else UNKNOWN
        text = f"{text} ({whole})"
    return text
