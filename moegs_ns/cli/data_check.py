"""``moegs data check``: will this train, and if not, why."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro


@dataclass
class Check:
    """Say whether a scene will train, and if not, why.

    Exit status: 0 fine, 1 doubtful, 2 unusable. Options of the data parser go behind `--`: moegs data check DATA --
    --downscale 2.
    """

    data: tyro.conf.Positional[Path]
    """Folder of the scene."""
    parser: str = "n3v-data"
    """Data parser, as ns-train knows it; `moegs data layouts` lists them."""
    data_options: tyro.conf.Suppress[tuple[str, ...]] = ()
    failure_status: ClassVar[int] = 2  # what cannot be checked is not "doubtful"

    def run(self) -> int:
        """Check, print.

        Returns:
            Exit status.

        Raises:
            ValueError: no such parser.
        """
        from moegs_ns.checking.reading import parser_config, read_scene
        from moegs_ns.checking.result import worst
        from moegs_ns.cli.console import make_console

        _, results = read_scene(parser_config(self.data, self.parser, self.data_options))
        console = make_console()
        for result in results:
            console.print(f"{result.verdict.word}: {result.sentence}", soft_wrap=True, highlight=False, markup=False)
        return int(worst(results))
