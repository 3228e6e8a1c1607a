"""Tables of runs: runs of several seeds become one row with mean and standard deviation; every table says by which
protocol its numbers came about."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moegs_ns.reporting.evaluation_files import RunResult
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

if TYPE_CHECKING:
    from rich.console import RenderableType

_HEADERS = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "lpips_alex": "LPIPS (Alex)",
    "lpips_vgg": "LPIPS (VGG)",
    "fps": "FPS",
    "gaussians": "N",
    "megabytes": "MB",
    "seconds": "train s",
}
_FORMATS = {"psnr": ".2f", "ssim": ".4f", "lpips_alex": ".4f", "lpips_vgg": ".4f", "fps": ".1f", "gaussians": ",.0f"}
_FORMATS |= {"megabytes": ".1f", "seconds": ",.0f", "total_seconds": ",.0f"}
_UNKNOWN = "n/a"
_MEANINGLESS = "-"


@dataclass(frozen=True)
class Table:
    """A table ready to print.

    Attributes:
        title: what it compares.
        header: column names, the first that of the labels.
        rows: cells, as many as the header has.
        notes: lines below it.
        emphasised: numbers of rows to print bold.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    emphasised: tuple[int, ...] = ()

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


def build_tables(results: Sequence[RunResult]) -> list[Table]:
    """One table per scene, protocol, router and set of experts.

    Mixtures of the same experts by the same router are taken as seeds of one experiment. Single experts stand below
    the mixtures of their scene (an equal-budget expert, for one), or in a table of their own where there is none.
    """
    mixtures: dict[tuple[str, ...], list[RunResult]] = {}
    singles: dict[str, list[RunResult]] = {}
    for result in results:
        key = comparable(result)
        if result.expert_names:
            mixtures.setdefault((key, router_label(result), *result.expert_names), []).append(result)
        else:
            singles.setdefault(key, []).append(result)
    tables = [_mixture_table(group, singles.get(key, [])) for (key, *_), group in mixtures.items()]
    alone = [group for key, group in singles.items() if key not in {key for key, *_ in mixtures}]
    return tables + [_single_table(group) for group in alone]


def mean_and_deviation(values: Sequence[float], form: str) -> str:
    """``27.31`` for one value, ``27.31 ± 0.05`` (sample standard deviation) for several."""
    mean = format(statistics.fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {format(statistics.stdev(values), form.removeprefix('+'))}"


def _mixture_table(mixtures: list[RunResult], singles: list[RunResult]) -> Table:
    groups = _by_label([mixture_rows(result) for result in mixtures])
    if (retrained := best_of_retrainings(mixtures)) is not None:
        groups = _behind(groups, BEST_EXPERT, retrained)
    rivals = _by_label([[single_row(result)] for result in singles], with_detail=True)
    labels = list(groups) + list(rivals)
    facts = [mixture_facts(result) for result in mixtures]
    notes = [*_lead(facts), *protocol_notes(mixtures + singles), *_cost_notes(mixtures + singles, True)]
    reasons = [run for result in mixtures for run in result.experts() if isinstance(run, str)]
    notes += [f"{_UNKNOWN} where {reason}." for reason in dict.fromkeys(reasons)]
    router = router_label(mixtures[0])
    other = "" if router == USUAL_ROUTER else f", {router}"
    return _table(
        f"{mixtures[0].scene}: {' + '.join(mixtures[0].expert_names)}{other}{seeds_of(mixtures)}",
        [(*groups.values(), *rivals.values())[number] for number in range(len(labels))],
        mixtures + singles,
        notes,
        emphasised=(labels.index(MIXTURE),),
    )


def _single_table(results: list[RunResult]) -> Table:
    groups = _by_label([[single_row(result)] for result in results], with_detail=True)
    notes = [*protocol_notes(results), *_cost_notes(results, False)]
    return _table(f"{results[0].scene}: single experts{seeds_of(results)}", list(groups.values()), results, notes)


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
    notes: list[str],
    emphasised: tuple[int, ...] = (),
) -> Table:
    missing = {name for name in ("lpips_alex", "lpips_vgg") if not any(name in r.values for g in groups for r in g)}
    columns = [name for name in _HEADERS if name not in missing]
    headers = [_HEADERS[name] for name in columns]
    if len(missing) == 2:  # neither network: one empty column says it
        columns.insert(2, "lpips")
        headers.insert(2, "LPIPS")
    if missing:
        notes = [*notes, *_lpips_notes(results, sorted(missing))]
    cells = [[_label(rows), *(_cell(rows, name) for name in columns)] for rows in groups]
    return Table(title, ["", *headers], cells, notes, emphasised)


def _label(rows: list[Row]) -> str:
    details = {row.detail for row in rows}
    return f"{rows[0].label} ({details.pop()})" if len(details) == 1 and rows[0].detail else rows[0].label


def _cell(rows: list[Row], name: str) -> str:
    if not rows[0].has_costs and name in ("fps", "gaussians", "megabytes", "seconds"):
        return _MEANINGLESS
    values = [row.values[name] for row in rows if name in row.values]
    if len(values) < len(rows):
        return _UNKNOWN  # a mean over some of the seeds would pass for one over all
    text = mean_and_deviation(values, _FORMATS[name])
    if name == "seconds" and rows[0].label == MIXTURE:
        totals = [row.values["total_seconds"] for row in rows if "total_seconds" in row.values]
        whole = mean_and_deviation(totals, _FORMATS["total_seconds"]) if len(totals) == len(rows) else _UNKNOWN
        text = f"{text} ({whole})"
    return text


# -- notes -----------------------------------------------------------------------------------------------------------


def _lead(facts: list[dict[str, float]]) -> list[str]:
    def said(name: str, factor: float, form: str) -> str | None:
        values = [factor * one[name] for one in facts if name in one]
        return mean_and_deviation(values, form) if len(values) == len(facts) else None

    shares = [
        f"{said(name, 100, '.0f')} % of the gap to the {oracle}"
        for name, oracle in (("smoothed_share", "smoothed oracle"), ("pixel_share", "pixel oracle"))
        if said(name, 100, ".0f") is not None
    ]
    closed = f": {' and '.join(shares)}" if shares else ""
    lines = [f"The mixture is {said('over_best', 1, '+.2f')} dB from the best expert{closed}."]
    cost = said("router_cost", 100, ".1f")
    return [*lines, f"Router training time: {cost} % of the experts' together."] if cost else lines


def protocol_notes(results: list[RunResult]) -> list[str]:
    protocol = results[0].protocol
    frames, metrics = protocol.get("frames"), protocol.get("metrics", {})
    span = f" (frames {frames['first']} to {frames['last']})" if frames else ""
    stamp = (
        f"Protocol: {protocol.get('split')} split, camera {', '.join(map(str, protocol.get('cameras', [])))}, "
        f"{protocol.get('images')} images{span}, {_size(protocol.get('resolution'))}; mean over images."
    )
    described = [f"{key.upper()}: {metrics[key]}." for key in ("psnr", "ssim") if key in metrics]
    return [stamp, *described]


def _cost_notes(results: list[RunResult], has_oracles: bool) -> list[str]:
    devices = sorted({str(result.protocol.get("device", "unknown device")) for result in results})
    trained = sorted({str(result.record.get("device", {}).get("name", "unknown device")) for result in results})
    notes = [
        f"FPS: one over the median time of a render, on {' / '.join(devices)}. N: Gaussians. MB: parameters as 32-bit "
        f"floats, 10^6 bytes. Train s: seconds of training steps, on {' / '.join(trained)}."
    ]
    if has_oracles:
        notes[0] += " The mixture's are the router's alone, with its experts' in brackets."
        notes.append(
            "The best expert has the highest mean PSNR over the test frames. Oracles choose the expert with the "
            "smallest error per pixel (smoothed: averaged over 9x9 pixels), for which they need the truth. Best of N "
            "retrainings: the strongest run of any expert over all seeds."
        )
    return notes


def _lpips_notes(results: list[RunResult], missing: list[str]) -> list[str]:
    notes = []
    for name in missing:
        said = {str(result.protocol.get("metrics", {}).get(name, "not evaluated")) for result in results}
        reasons = {reason.removeprefix("unavailable: ") for reason in said}
        notes.append(f"{_HEADERS[name]} is {_UNKNOWN}: {'; '.join(sorted(reasons))}.")
    return notes


def seeds_of(results: Sequence[RunResult]) -> str:
    """How a title names the seeds of its runs."""
    seeds = list(dict.fromkeys(str(result.seed) for result in results))
    return f", seed {seeds[0]}" if len(seeds) == 1 else f", mean ± sd of seeds {', '.join(seeds)}"


def _size(resolution: Any) -> str:
    if not resolution:
        return "unknown resolution"
    sizes = [resolution] if isinstance(resolution[0], int) else resolution
    return ", ".join("x".join(map(str, size)) for size in sizes)


def comparable(result: RunResult) -> str:
    """Equal for runs whose numbers may stand in one table."""
    protocol = result.protocol
    return json.dumps(
        [result.scene, *(protocol.get(key) for key in ("split", "cameras", "frames", "images", "resolution"))]
    )
