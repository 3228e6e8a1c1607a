"""``moegs data layouts``: which layouts of scenes there are."""

from dataclasses import dataclass


@dataclass
class Layouts:
    """List the layouts of scenes that can be trained on, and the data parser that reads each."""

    def run(self) -> None:
        """Print the table."""
        from rich.table import Table

        from moegs_ns.cli.console import make_console
        from moegs_ns.scene.dataparsers.layouts import LAYOUTS

        table = Table("data parser", "what it reads")
        for layout in LAYOUTS.values():
            table.add_row(layout.parser, layout.description)
        console = make_console()
        console.print(table)
        console.print("Options of each: ns-train moegs-stg PARSER --help")
