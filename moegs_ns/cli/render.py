"""``moegs render``: a run's test cameras as a video beside the truth, and a mixture's gates as a picture.

Films of other cameras and times are `moegs_ns.cli.films`.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass
class Render:
    """Render the test cameras of a run: a video (truth, each expert, mixture) and a picture of the gates.

    Other films, each with its --help: `moegs render fixed` (one camera, all the time), `bullet-time` (one instant, a
    moving camera), `interpolate`, `spiral`, `orbit` (time and camera move), `path` (a camera path of the viewer).
    """

    run_folder: tyro.conf.Positional[Path]
    """Run folder, of a mixture or a single expert."""
    output: Path | None = None
    """Folder to write into. Default: pictures/ in the run folder."""

    def run(self) -> None:
        """Render and print the paths.

        Raises:
            FileNotFoundError, ValueError: not a run, or its data are gone.
        """
        from moegs_ns.cli.console import make_console
        from moegs_ns.cli.pictures import write_pictures

        console = make_console()
        for file in write_pictures(self.run_folder, self.output or self.run_folder / "pictures", console):
            console.print(str(file), soft_wrap=True, highlight=False)
