"""``moegs report gates``: which expert of a mixture is used where, in pictures, curves and numbers on one page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass
class ReportGates:
    """Which expert of a mixture is used where: gate, winner, entropy and error maps, curves over the clip, numbers.

    Writes a folder with index.html, which opens without a network, its pictures, and gate_statistics.json. Written as
    `moegs report gates RUN`.
    """

    run_folder: tyro.conf.Positional[Path]
    """Run folder of a mixture (moegs-router)."""
    output: Path | None = None
    """Folder to write into. Default: gates/ in the run folder."""
    split: Literal["test", "val"] = "test"
    """Whose cameras: those of the table, or those that choices are made on."""
    camera: str | None = None
    """Name of the camera. Default: the split's first."""
    instants: int = 8
    """How many frames are shown in pictures, evenly spaced; the page adds the mean over the clip."""
    max_frames: int = 75
    """At most this many frames are rendered and measured: of a longer clip every second, every third and so on."""
    width: int = 640
    """Width of the pictures at most, pixels; larger ones are made smaller."""
    format: Literal["webp", "png"] = "webp"
    """Of the pictures: webp is lossy but for the maps of winners, png without loss."""

    def run(self) -> None:
        """Render, measure, write, print.

        Raises:
            FileNotFoundError, ValueError: no mixture's run, no such camera, or its data are gone.
        """
        from moegs_ns.cli.console import make_console
        from moegs_ns.cli.gate_report import PAGE_NAME, GateReport
        from moegs_ns.reporting.gate_tables import gate_tables, sentences
        from moegs_ns.runs.record import read_run_record
        from moegs_ns.training.load_run import load_run

        smallest = min(self.instants, self.max_frames, self.width)
        if smallest < 1:
            raise ValueError(f"expected --instants, --max-frames and --width of at least 1, found {smallest}")
        record = read_run_record(self.run_folder)
        if record["expert"]["name"] != "router":  # before anything is decoded
            raise ValueError(
                f"expected the run of a mixture (moegs-router), found one of '{record['method']}' at "
                f"{self.run_folder}; name a mixture's"
            )
        console = make_console()
        run = load_run(self.run_folder, self.split)
        folder = self.output or self.run_folder / "gates"
        report = GateReport(run, self.camera, self.instants, self.max_frames, self.width, f".{self.format}")
        statistics = report.write(folder, console)
        for table in gate_tables(statistics):
            console.print(table.terminal())
        for sentence in sentences(statistics):
            console.print(sentence, highlight=False)
        console.print(str(folder / PAGE_NAME), soft_wrap=True, highlight=False)
