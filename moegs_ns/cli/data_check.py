"""``moegs data check``: will this train, and if not, why."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import tyro

from moegs_ns.files import write_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from moegs_ns.checking.check import Report

_STYLES = {"fine": "green", "doubtful": "yellow", "unusable": "bold red", "-": "dim"}
_ANSWERS = {
    "fine": "Fine: this will train.",
    "doubtful": "Doubtful: this will train, but not as well as it could.",
    "unusable": "Unusable: this will not train, or not to anything of use.",
}


@dataclass
class Check:
    """Say whether a scene will train, and if not, why.

    Looks at files, poses, synchrony, colours, sharpness, repeated frames, seed points and bounds, and estimates what
    training takes here. Exit status: 0 fine, 1 doubtful, 2 unusable. Options of the data parser go behind `--`: moegs
    data check DATA -- --exclude-cams cam13.
    """

    data: tyro.conf.Positional[Path]
    """Folder of the scene."""
    parser: str = "n3v-data"
    """Data parser, as ns-train knows it; `moegs data layouts` lists them."""
    json: Path | None = None
    """Also write all results with everything measured into this file."""
    picture: Path | None = None
    """Also draw cameras, seed points and bounds into this PNG file."""
    data_options: tyro.conf.Suppress[tuple[str, ...]] = ()
    failure_status: ClassVar[int] = 2  # what cannot be checked is not "doubtful"

    def run(self) -> int:
        """Check, print, write.

        Returns:
            Exit status.

        Raises:
            ValueError: no such parser.
        """
        from moegs_ns.checking.reading import parser_config
        from moegs_ns.cli.console import make_console

        console = make_console()
        start = time.perf_counter()
        report = _check(parser_config(self.data, self.parser, self.data_options), console)
        seconds = time.perf_counter() - start
        console.print(_table(report, self.data.absolute().name))
        word = report.verdict.word
        console.print(f"{_ANSWERS[word]} Checked in {seconds:.0f} s.", style=_STYLES[word])
        if self.json is not None:
            write_json(self.json, self._as_data(report, seconds), indent=2)
            console.print(str(self.json), soft_wrap=True, highlight=False)
        if self.picture is not None and report.scene is not None and report.views:
            from moegs_ns.checking.rig_picture import draw_rig

            drawn = draw_rig(self.picture, report.views, report.scene.cloud, report.scene.near_far, report.blamed)
            console.print(str(drawn), soft_wrap=True, highlight=False)
        return int(report.verdict)

    def _as_data(self, report: "Report", seconds: float) -> dict[str, Any]:
        return {
            "data": str(self.data),
            "parser": self.parser,
            "options": list(self.data_options),
            "verdict": report.verdict.word,
            "seconds": round(seconds, 2),
            "results": [result.as_data() for result in report.results],
        }


def _check(config: Any, console: "Console") -> "Report":
    """With a line of progress on a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from moegs_ns.checking.check import check_scene

    columns = (TextColumn("Checking {task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=1.0)
        return check_scene(config, lambda what, share: progress.update(task, description=what, completed=share))


def _table(report: "Report", name: str) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "verdict", title=f"{name}: will this train?")
    table.add_column("found", overflow="fold")  # paths are to be read to their end
    for result in report.results:
        word = "-" if result.skipped else result.verdict.word
        table.add_row(result.name, f"[{_STYLES[word]}]{word}[/]", escape(result.sentence))
    return table
