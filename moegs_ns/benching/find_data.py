"""Where the scenes of suites lie, and how to get those that are not here."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from moegs_ns.paths import resource_dir
from moegs_ns.preparation.public_scenes import ELSEWHERE, SCENES

#: Where `moegs data download` puts scenes, relative to the working folder.
DOWNLOADS = Path("data")


def data_dir() -> Path:
    """Folder of scenes that many checkouts share: ``$MOEGS_DATA_DIR``, else ``../shared/data`` beside the checkout, or
    beside the working folder where there is no checkout."""
    named = os.environ.get("MOEGS_DATA_DIR")
    return Path(named).absolute() if named else default_data_dir()


def default_data_dir() -> Path:
    """`data_dir` where the environment names none."""
    return ((checkout() or Path.cwd()).parent / "shared" / "data").absolute()


def checkout() -> Path | None:
    """The checkout the package runs from, None where it is installed elsewhere."""
    top = resource_dir("configs").parent
    return top if (top / "pyproject.toml").is_file() else None


def find_data(data: str, folders: Sequence[Path] = ()) -> Path:
    """A data folder, absolute.

    Args:
        data: where it is, or relative to ``folders``, the checkout, the working folder, its ``data`` folder, or
            `data_dir`, looked for in this order.
        folders: to look in first.

    Raises:
        FileNotFoundError: it is in none of these; the message says how to get it, where that is known.
    """
    places = list(_places(data, folders))
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"expected data in {' or '.join(dict.fromkeys(map(str, places)))}, found none; {how_to_get([data])}, or set "
        f"MOEGS_DATA_DIR to the folder that holds '{data}'"
    )


def assumed_data(data: str, folders: Sequence[Path] = ()) -> Path:
    """The data folder, or where it could be put if it is nowhere."""
    try:
        return find_data(data, folders)
    except FileNotFoundError:
        return (*folders, DOWNLOADS)[0] / data


def how_to_get(missing: Sequence[str]) -> str:
    """In words: how the scenes of such folders (``n3v/coffee_martini``) are to be had."""
    fetched = [Path(data).name for data in missing if Path(data).name in SCENES]
    said = []
    if fetched:
        names = " ".join(fetched)
        seeds = "and seed points, which are not in it, by: moegs data prepare (docs/benchmarks.md)"
        said.append(f"get {names} by: moegs data download {names}, {seeds}")
    for name, one in ELSEWHERE.items():
        folders = [data for data in missing if Path(data).parts[:1] == (name,)]
        if folders:
            said.append(f"get {one.files} from {one.home}, each as {one.place}, SCENE being {', '.join(folders)}")
    return "; ".join(said) or "put it there"


def _places(data: str, folders: Sequence[Path]) -> Iterator[Path]:
    own = checkout()
    for folder in (*folders, *([] if own is None else [own]), Path(), DOWNLOADS, data_dir()):
        yield (folder / data).absolute()
