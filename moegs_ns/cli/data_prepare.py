"""``moegs data prepare``: from videos to a scene."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from moegs_ns.preparation.options import CameraOptions, PrepareOptions, SeedOptions, TimeOptions

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


@dataclass
class Prepare:
    """Make a scene (camNN.mp4, poses_bounds.npy, points3D.ply) of videos by cameras that stand still.

    Aligns the videos in time, finds out where the cameras stand (or is told, --poses), takes out distortion and
    triangulates seed points. Videos that need no change are linked, not encoded again. Run it again after an
    interruption: what is there is kept.
    """

    videos: tyro.conf.Positional[tuple[Path, ...]]
    """Videos, or folders of them. Names camNN are kept; others become cam00, cam01, ... in their order."""
    output_dir: Path
    """Folder of the scene; must not exist yet."""
    time: Annotated[TimeOptions, tyro.conf.arg(name="")] = field(default_factory=TimeOptions)
    cameras: Annotated[CameraOptions, tyro.conf.arg(name="")] = field(default_factory=CameraOptions)
    seeds: Annotated[SeedOptions, tyro.conf.arg(name="")] = field(default_factory=SeedOptions)

    def run(self) -> None:
        """Prepare, and say what was done.

        Raises:
            FileNotFoundError, FileExistsError, ValueError: inputs that are not there or do not fit, a scene that is.
            RuntimeError: pycolmap is needed and not installed.
        """
        from rich.progress import Progress

        from moegs_ns.cli.console import make_console
        from moegs_ns.preparation.prepare import prepare

        console = make_console()
        options = PrepareOptions(self.videos, self.output_dir, self.time, self.cameras, self.seeds)
        with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
            prepared = prepare(options, _Terminal(console, bars))
        console.print(f"{prepared.folder}", soft_wrap=True, highlight=False, markup=False)
        console.print(
            f"Next: moegs data check {prepared.folder}", soft_wrap=True, highlight=False, markup=False
        )  # fmt: skip


class _Terminal:
    """Sentences and bars."""

    def __init__(self, console: "Console", bars: "Progress") -> None:
        self._console, self._bars = console, bars

    def say(self, sentence: str) -> None:
        self._console.print(sentence, soft_wrap=True, highlight=False, markup=False)

    def task(self, what: str, total: int) -> Callable[[], None]:
        number = self._bars.add_task(what, total=total)
        return lambda: self._bars.advance(number)
