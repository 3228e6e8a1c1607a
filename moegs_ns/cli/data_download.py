"""``moegs data download``: public scenes whose terms allow a program to fetch them."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from moegs_ns.preparation.public_scenes import PublicScene


@dataclass
class Download:
    """Fetch public scenes, or say where they are to be had.

    Fetching goes on where it was cut off. Archives are checked by the checksums in them and deleted once unpacked.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Scenes, such as coffee_martini; none lists what there is."""
    output_dir: Path = Path("data")
    """Where scenes go, as <output-dir>/<set>/<scene>."""
    keep_archives: bool = False
    """Keep the archives beside the scenes."""

    def run(self) -> None:
        """Fetch, check, unpack.

        Raises:
            ValueError: an unknown name; one whose terms leave fetching to the user is answered with how to get it.
            OSError: the network, or no room on the disk.
        """
        from moegs_ns.cli.console import make_console
        from moegs_ns.preparation.public_scenes import ELSEWHERE, SCENES

        console = make_console()
        if not self.names:
            _list(console)
            return
        unknown = sorted(set(self.names) - set(SCENES) - set(ELSEWHERE))
        if unknown:
            raise ValueError(
                f"expected names among {', '.join([*SCENES, *ELSEWHERE])}, found {', '.join(unknown)}; without names "
                "the command lists what there is"
            )
        for name in self.names:
            if name in ELSEWHERE:
                one = ELSEWHERE[name]
                console.print(f"{name}: get {one.files} from {one.home}")
                console.print(f"Put them as {one.place}; {one.parser} reads them.")
            else:
                self._fetch(SCENES[name], console)

    def _fetch(self, scene: "PublicScene", console: "Console") -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        from moegs_ns.preparation.archives import unpack
        from moegs_ns.preparation.download import check_digest, fetch

        folder = self.output_dir / scene.data_set
        place = folder / scene.name
        if place.is_dir() and any(place.iterdir()):
            console.print(f"{scene.name} is there: {place}", soft_wrap=True)
            return
        folder.mkdir(parents=True, exist_ok=True)
        console.print(f"{scene.name}, licence {scene.licence}")
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            parts = []
            for url in scene.urls:
                task = progress.add_task(url.rpartition("/")[2], total=None)
                shown = partial(_show, progress, task)
                file = folder / url.rpartition("/")[2]
                if file.is_file():
                    check_digest(file)
                parts.append(fetch(url, file, shown))
            task = progress.add_task("unpacking", total=None)
            scratch = folder / f".{scene.name}.unpacking"
            shutil.rmtree(scratch, ignore_errors=True)
            unpack(parts, scratch, partial(_show, progress, task))
        # Archives hold the scene's folder, or its files alone.
        inner = scratch / scene.name
        (inner if inner.is_dir() else scratch).replace(place)
        shutil.rmtree(scratch, ignore_errors=True)
        if not self.keep_archives:
            for part in parts:
                part.unlink()
                part.with_name(part.name + ".sha256").unlink(missing_ok=True)
        console.print(f"{place}; now: moegs data check {place}", soft_wrap=True)


def _show(progress: "Progress", task: "TaskID", done: int, total: int) -> None:
    progress.update(task, completed=done, total=total)


def _list(console: "Console") -> None:
    from rich.table import Table

    from moegs_ns.preparation.public_scenes import ELSEWHERE, SCENES

    table = Table("name", "set", "licence", "data parser")
    for scene in SCENES.values():
        table.add_row(scene.name, scene.data_set, scene.licence, scene.parser)
    for one in ELSEWHERE.values():
        table.add_row(one.name, "-", "get it yourself", one.parser)
    console.print(table)
