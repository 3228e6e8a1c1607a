"""``moegs report routers``: routers over the same experts, side by side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass
class ReportRouters:
    """Compare routers over the same experts, in the form of the paper's Table 4.

    Runs of one router with several seeds become one row. Written as `moegs report routers RUN RUN ...`.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of mixtures (moegs-router)."""
    format: Literal["terminal", "markdown"] = "terminal"
    """How to print."""

    def run(self) -> None:
        """Read, compare, print.

        Raises:
            FileNotFoundError, ValueError: a run without record or scores, or of something else.
        """
        from moegs_ns.cli.console import make_console
        from moegs_ns.reporting.evaluation_files import read_result
        from moegs_ns.reporting.router_tables import router_tables

        if not self.runs:
            raise ValueError("expected run folders to report on, found none: moegs report routers RUN [RUN ...]")
        console = make_console()
        for table in router_tables([read_result(run) for run in self.runs]):
            if self.format == "markdown":
                console.print(table.markdown(), soft_wrap=True, highlight=False, markup=False)
            else:
                console.print(table.terminal())
