"""``moegs report``: tables from what runs left in their folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from moegs_ns.reporting.evaluation_files import RunResult
    from moegs_ns.reporting.tables import Table


@dataclass
class Report:
    """Compare runs in a table: a mixture with its experts and oracles, or single experts.

    Mixtures of the same experts with several seeds become one table of means and standard deviations. A single
    expert's run given beside a mixture of its scene stands below it.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders: of mixtures (moegs-router), of single experts, or both."""
    format: Literal["terminal", "markdown"] = "terminal"
    """How to print."""
    output: Path | None = None
    """Write the tables into this file instead."""
    objects: bool = False
    """Also PSNR per object, and whether what comes and goes is there in time, for scenes with object masks; renders the
    test cameras the first time."""

    def run(self) -> None:
        """Read, compare, print.

        Raises:
            FileNotFoundError, ValueError: a run without record or scores, or other files than expected.
        """
        from moegs_ns.cli.console import make_console
        from moegs_ns.reporting.evaluation_files import read_result
        from moegs_ns.reporting.tables import build_tables

        if not self.runs:
            raise ValueError("expected run folders to report on, found none: moegs report RUN [RUN ...]")
        console = make_console()
        results = [read_result(run) for run in self.runs]
        tables = build_tables(results)
        if self.objects:
            tables += object_tables(results, console)
        show_tables(tables, self.format, self.output, console)


def show_tables(
    tables: Sequence["Table"], form: Literal["terminal", "markdown"], output: Path | None, console: "Console"
) -> None:
    """Print the tables, or write them into ``output``."""
    if output is None and form == "terminal":
        for table in tables:
            console.print(table.terminal())
        return
    text = "\n".join(table.markdown() for table in tables) if form == "markdown" else _plain(tables)
    if output is None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, "utf8")


def object_tables(results: Sequence["RunResult"], console: "Console") -> list["Table"]:
    """Tables of PSNR per object, and of every object that comes or goes, for every run whose scene has masks; a line
    for the others."""
    from moegs_ns.cli.objects import object_summary, row_labels
    from moegs_ns.reporting.appearance import appearance_table
    from moegs_ns.reporting.object_psnr import object_table

    tables = []
    for result in results:
        summary = object_summary(result, console)
        if summary is None:
            console.print(f"{result.folder}: no object masks in {result.record['scene']['data']}", style="yellow")
            continue
        title = f"{result.scene}: PSNR per object, {result.folder.name}"
        tables.append(object_table(title, [summary], row_labels(result)))
        for name, found in summary["appearing"].items():
            rows = {label: [(found, row)] for row, label in row_labels(result).items() if row in found["rows"]}
            tables.append(appearance_table(f"{result.scene}: {name} comes and goes, {result.folder.name}", rows))
    return tables


def _plain(tables: Sequence["Table"]) -> str:
    """As the terminal shows them, without colours."""
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=120)
    with console.capture() as capture:
        for table in tables:
            console.print(table.terminal())
    return capture.get()
