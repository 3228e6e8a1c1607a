"""``moegs report``: tables from what runs left in their folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from moegs_ns.reporting.evaluation_files import RunResult
    from moegs_ns.reporting.report_files import Reported
    from moegs_ns.reporting.tables import Table

Form = Literal["terminal", "markdown", "latex", "csv"]
_FILE_WIDTH = 160  # columns with deviations do not break
_FORMS: dict[str, Form] = {".md": "markdown", ".tex": "latex", ".csv": "csv"}


@dataclass
class Report:
    """Compare runs in a table: a mixture with its experts and oracles, or single experts.

    Mixtures of the same experts with several seeds become one table of means and standard deviations. A single
    expert's run given beside a mixture of its scene stands below it. On scenes of the MoE-GS paper its figures stand
    beside. What --json stored gives the same tables again when the runs are gone: moegs report FILE.json.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders: of mixtures (moegs-router), of single experts, or both. Also files that --json wrote."""
    format: Form | None = None
    """How to print. By default what the ending of --output says (.md, .tex, .csv), else as for a terminal."""
    output: Path | None = None
    """Write the tables into this file instead. LaTeX needs the package booktabs; CSV has every number unrounded."""
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None
    """Also store records, scores, protocol and tables in this JSON file."""
    plots: Path | None = None
    """Also draw charts into this folder: PSNR over frames, and against speed and size."""
    objects: bool = False
    """Also PSNR per object, and whether what comes and goes is there in time, for scenes with object masks; renders the
    test cameras the first time."""

    def run(self) -> None:
        """Read, compare, print.

        Raises:
            FileNotFoundError, ValueError: a run without record or scores, or other files than expected.
        """
        from moegs_ns.cli.console import make_console
        from moegs_ns.reporting.report_files import report_content, write_report

        if not self.runs:
            raise ValueError("expected run folders to report on, found none: moegs report RUN [RUN ...]")
        console = make_console()
        runs = self._read(console)
        tables = tables_of(runs)
        show_tables(tables, self.format, self.output, console)
        if self.json_file is not None:
            write_report(self.json_file, report_content(runs, tables))
            console.print(f"stored: {self.json_file}", soft_wrap=True, highlight=False)
        if self.plots is not None:
            from moegs_ns.cli.report_plots import draw_plots

            for file in draw_plots(runs, self.plots):
                console.print(f"drawn: {file}", soft_wrap=True, highlight=False)

    def _read(self, console: "Console") -> list["Reported"]:
        from moegs_ns.reporting.evaluation_files import read_result
        from moegs_ns.reporting.report_files import Reported, is_report, read_report

        runs: list[Reported] = []
        for path in dict.fromkeys(self.runs):
            if is_report(path):
                stored = read_report(path)
                if self.objects and any(run.objects is None for run in stored):
                    console.print(f"{path}: stored without scores per object of some runs", style="yellow")
                runs += stored
            else:
                result = read_result(path)
                runs.append(Reported(result, _objects(result, console) if self.objects else None))
        return runs


def tables_of(runs: Sequence["Reported"]) -> list["Table"]:
    """The tables of a report: runs compared; what the paper prints of their scenes; scores per object of runs that have
    them."""
    from moegs_ns.reporting.published_table import published_table
    from moegs_ns.reporting.tables import build_tables

    tables = build_tables([run.result for run in runs])
    printed = [published_table(run.result) for run in runs]
    tables += {table.title: table for table in printed if table is not None}.values()
    for run in runs:
        if run.objects is not None:
            tables += _tables_of_objects(run.result, run.objects)
    return tables


def show_tables(tables: Sequence["Table"], form: Form | None, output: Path | None, console: "Console") -> None:
    """Print the tables, or write them into ``output``."""
    form = form or (_FORMS.get(output.suffix, "terminal") if output is not None else "terminal")
    if output is None and form == "terminal":
        for table in tables:
            console.print(table.terminal())
        return
    text = _text(tables, form)
    if output is None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)
    else:
        from moegs_ns.files import write_text

        write_text(output, text)


def _text(tables: Sequence["Table"], form: Form) -> str:
    if form == "markdown":
        return "\n".join(table.markdown() for table in tables)
    if form == "terminal":
        return _plain(tables)
    from moegs_ns.reporting.table_files import comma_separated, latex

    return comma_separated(tables) if form == "csv" else "\n".join(latex(table) for table in tables)


def object_tables(results: Sequence["RunResult"], console: "Console") -> list["Table"]:
    """Tables of PSNR per object, and of every object that comes or goes, for every run whose scene has masks; a line
    for the others."""
    summaries = [(result, _objects(result, console)) for result in results]
    return [
        table for result, summary in summaries if summary is not None for table in _tables_of_objects(result, summary)
    ]


def _objects(result: "RunResult", console: "Console") -> dict | None:
    """Scores per object, None with a line where the scene has no masks."""
    from moegs_ns.cli.objects import object_summary

    summary = object_summary(result, console)
    if summary is None:
        console.print(f"{result.folder}: no object masks in {result.record['scene']['data']}", style="yellow")
    return summary


def _tables_of_objects(result: "RunResult", summary: dict) -> list["Table"]:
    from moegs_ns.cli.objects import row_labels
    from moegs_ns.reporting.appearance import appearance_table
    from moegs_ns.reporting.object_psnr import object_table

    title = f"{result.scene}: PSNR per object, {result.folder.name}"
    tables = [object_table(title, [summary], row_labels(result))]
    for name, found in summary["appearing"].items():
        rows = {label: [(found, row)] for row, label in row_labels(result).items() if row in found["rows"]}
        tables.append(appearance_table(f"{result.scene}: {name} comes and goes, {result.folder.name}", rows))
    return tables


def _plain(tables: Sequence["Table"]) -> str:
    """As a wide terminal shows them, without colours."""
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=_FILE_WIDTH, emoji=False)
    with console.capture() as capture:
        for table in tables:
            console.print(table.terminal())
    return capture.get()
