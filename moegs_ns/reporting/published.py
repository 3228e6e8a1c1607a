"""What the MoE-GS paper printed, for tables that show it beside scores of this project.

The figures are files of ``configs/published``, one per table of the paper, transcribed as printed, contradictions
between tables included. Standard library only.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from moegs_ns.paths import resource_dir

#: The scene of figures that are a mean over a data set.
AVERAGE = "average"
METRICS = ("psnr", "ssim", "lpips", "fps", "megabytes", "hours")
LPIPS_BACKBONE = "not stated"
"""Of every LPIPS in the paper: it names neither backbone nor range of the images."""
DEVICE = "NVIDIA A6000"
"""What frames per second and hours of training were measured on (section 4.1)."""

_TABLE_KEYS = {"section", "data_set", "scenes", "notes", "discrepancies", "rows"}
_ROW_KEYS = {"method", "experts", "variant", *METRICS}


@dataclass(frozen=True)
class PublishedScore:
    """One method on one scene in one table of the paper.

    Attributes:
        source: ``Table 1``.
        section: of the text that discusses it: ``4.1, 4.2`` or ``C.1``.
        data_set: ``n3v``, ``technicolor`` or ``hypernerf``.
        scene: of the data set, as the paper calls it in snake case; `AVERAGE` for a mean over its scenes.
        method: as printed: ``STG``, ``MoE-GS (N=3)``.
        experts: its experts here, a single one for a method that is one; empty for methods this project does not have.
        variant: what distinguishes it from rows of the same method: ``55% pruning``, ``budget 20%``, ``distilled``.
        psnr: dB, as the other figures None where nothing is printed.
        ssim: structural similarity.
        lpips: of a backbone and range the paper does not name (`LPIPS_BACKBONE`).
        fps: frames per second on a `DEVICE`.
        megabytes: what the paper calls memory; it prints no unit.
        hours: of training on a `DEVICE`.
        notes: what to know of the table, such as figures that other tables contradict.
    """

    source: str
    section: str
    data_set: str
    scene: str
    method: str
    experts: tuple[str, ...] = ()
    variant: str = ""
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    fps: float | None = None
    megabytes: float | None = None
    hours: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def lpips_backbone(self) -> str | None:
        """Network behind `lpips`, None where there is no LPIPS."""
        return None if self.lpips is None else LPIPS_BACKBONE

    @property
    def label(self) -> str:
        """Method and variant: ``MoE-GS (N=2), 55% pruning``."""
        return f"{self.method}, {self.variant}" if self.variant else self.method


@dataclass(frozen=True)
class Discrepancy:
    """A printed average that the printed figures of the scenes do not have.

    Attributes:
        label: `PublishedScore.label` of the row.
        metric: one of `METRICS`.
        printed: the average as printed.
        computed: the mean of the printed scenes.
    """

    label: str
    metric: str
    printed: float
    computed: float


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper.

    Attributes:
        source: ``Table 1``, ``Figure 10``.
        section: of the text that discusses it.
        data_set: of all its rows.
        scenes: its columns.
        scores: row by row, scene by scene; empty where the paper prints a chart without numbers.
        notes: what to know of it.
        discrepancies: averages that do not follow from its scenes.
    """

    source: str
    section: str
    data_set: str
    scenes: tuple[str, ...]
    scores: tuple[PublishedScore, ...]
    notes: tuple[str, ...] = ()
    discrepancies: tuple[Discrepancy, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A data set of the paper.

    Attributes:
        name: ``n3v``.
        title: ``Neural 3D Video``.
        layout: which of this project's layouts its scenes lie in.
        scenes: folder names of each scene, the usual one first, in lower case and with ``_`` for ``-``.
    """

    name: str
    title: str
    layout: str
    scenes: Mapping[str, tuple[str, ...]]

    def scene(self, folder: str) -> str | None:
        """The scene a folder of that name holds, None if it is none of the data set."""
        plain = folder.lower().replace("-", "_").replace(" ", "_")
        return next((scene for scene, names in self.scenes.items() if plain == scene or plain in names), None)


def published_scores(data_set: str, scene: str) -> list[PublishedScore]:
    """The paper's figures for a scene, table by table.

    Args:
        data_set: name of a data set (``n3v``), or of the layout a run record names, which is the same here.
        scene: name of a scene or of its data folder (``flame_salmon_1``, ``vrig-chicken``), or `AVERAGE`.

    Returns:
        Nothing for scenes the paper does not have, whatever layout they lie in.
    """
    if data_set not in data_sets():
        return []
    name = AVERAGE if scene == AVERAGE else data_sets()[data_set].scene(scene)
    printed = (score for table in published_tables().values() for score in table.scores)
    return [score for score in printed if (score.data_set, score.scene) == (data_set, name)]


@cache
def data_sets() -> dict[str, DataSet]:
    """The data sets of the paper by name."""
    with (_folder() / "data_sets.toml").open("rb") as file:
        tables = tomllib.load(file)
    return {
        name: DataSet(
            name, table["title"], table["layout"], {scene: tuple(names) for scene, names in table["scenes"].items()}
        )
        for name, table in tables.items()
    }


@cache
def published_tables() -> dict[str, PublishedTable]:
    """The tables of the paper by the names of their files: ``table_01`` ... ``table_13``, ``figure_10``."""
    files = sorted(file for kind in ("table", "figure") for file in _folder().glob(f"{kind}_*.toml"))
    return {file.stem: read_table(file) for file in sorted(files, key=lambda file: (file.stem[0] == "f", file.stem))}


def read_table(file: Path) -> PublishedTable:
    """One table.

    Raises:
        ValueError: keys no table has, a data set or scene the paper does not have, or a row without a figure per scene.
    """
    with file.open("rb") as stream:
        content = tomllib.load(stream)
    _check_keys(content, _TABLE_KEYS, file)
    kind, number = file.stem.split("_")
    source, data_set = f"{kind.capitalize()} {int(number)}", content["data_set"]
    if data_set not in data_sets():
        raise ValueError(f"expected one of the data sets {', '.join(data_sets())} in {file}, found '{data_set}'")
    scenes = tuple(content["scenes"])
    strangers = sorted(set(scenes) - {*data_sets()[data_set].scenes, AVERAGE})
    if strangers:
        raise ValueError(f"expected scenes of {data_set} in {file}, found {', '.join(strangers)}")
    table = PublishedTable(source, content["section"], data_set, scenes, (), tuple(content.get("notes", ())))
    scores = tuple(score for row in content["rows"] for score in _row_scores(row, table, file))
    told = tuple(Discrepancy(**one) for one in content.get("discrepancies", ()))
    return replace(table, scores=scores, discrepancies=told)


def _row_scores(row: Mapping[str, Any], table: PublishedTable, file: Path) -> list[PublishedScore]:
    """The scores of one row."""
    _check_keys(row, _ROW_KEYS, file)
    metrics = [metric for metric in METRICS if metric in row]
    for metric in metrics:
        if len(row[metric]) != len(table.scenes):
            raise ValueError(
                f"expected {len(table.scenes)} figures for {metric} of {row['method']} in {file}, found "
                f"{len(row[metric])}"
            )
    head: dict[str, Any] = {
        "source": table.source,
        "section": table.section,
        "data_set": table.data_set,
        "method": row["method"],
    }
    head |= {"variant": row.get("variant", ""), "experts": tuple(row.get("experts", ())), "notes": table.notes}
    scores = []
    for column, scene in enumerate(table.scenes):
        figures: dict[str, Any] = {metric: _figure(row[metric][column]) for metric in metrics}
        scores.append(PublishedScore(**head, scene=scene, **figures))
    return scores


def _figure(printed: float) -> float | None:
    """None for what a table leaves out."""
    return None if math.isnan(printed) else float(printed)


def _check_keys(content: Mapping[str, Any], known: set[str], file: Path) -> None:
    unknown = sorted(set(content) - known)
    if unknown:
        raise ValueError(f"expected the keys {', '.join(sorted(known))} in {file}, found {', '.join(unknown)}")


def _folder() -> Path:
    return resource_dir("configs") / "published"
