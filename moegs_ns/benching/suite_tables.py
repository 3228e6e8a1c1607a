"""The tables of a suite: its rows over all scenes and seeds, the paper's figures beside them."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moegs_ns.benching.jobs import GEOMETRY_NAME, PlannedJob
from moegs_ns.benching.suite import PaperTable, Row, Suite
from moegs_ns.files import write_text
from moegs_ns.reporting.evaluation_files import RunResult, read_result
from moegs_ns.reporting.published import AVERAGE, DEVICE, PublishedScore, data_sets, published_tables
from moegs_ns.reporting.rows import MIXTURE
from moegs_ns.reporting.tables import Table, build_tables, mean_and_deviation, protocol_notes

_MISSING = "n/a"
_PAPER = "paper: "
#: Column, where its number is in `RunResult.scores` or which attribute it is, the paper's name for it, and its format.
_MEANS = (
    ("PSNR", "psnr", "psnr", ".2f"),
    ("dyn. PSNR", "psnr_dynamic", "", ".2f"),
    ("SSIM", "ssim", "ssim", ".4f"),
    ("LPIPS (Alex)", "lpips_alex", "lpips", ".4f"),
    ("LPIPS (VGG)", "lpips_vgg", "", ".4f"),
    ("flicker", "flicker", "", ".2f"),
    ("FPS", "fps", "fps", ".1f"),
    ("MB", "megabytes", "megabytes", ".1f"),
    ("N", "num_gaussians", "", ",.0f"),
    ("train s", "training_seconds", "", ",.0f"),
)
_FEWEST_SEEDS_OF_A_SPREAD = 3
#: What the paper calls the rows of its table over repeated trainings.
_SPREAD = {"worst": "worst of 5 runs", "best": "best of 5 runs", "mean": "mean of 5 runs"}


@dataclass(frozen=True)
class Outcome:
    """A scored run.

    Attributes:
        row: which row of the suite's table it belongs to.
        scene: name of the scene.
        seed: of its plan.
        result: its record and scores.
    """

    row: Row
    scene: str
    seed: int
    result: RunResult


def read_outcomes(jobs: Iterable[PlannedJob]) -> list[Outcome]:
    """Everything of a suite that is finished and scored.

    Raises:
        ValueError: stored scores of another version.
    """
    return [
        Outcome(one.row, one.scene, one.seed, read_result(one.job.run))
        for one in jobs
        if one.row is not None and one.is_scored
    ]


def suite_tables(suite: Suite, outcomes: Sequence[Outcome]) -> list[Table]:
    """The tables over all scenes: PSNR by scene, means of everything, and with several seeds their spread.

    Args:
        suite: what was asked for.
        outcomes: what there is of it; none makes no table.
    """
    if not outcomes:
        return []
    rows = list(dict.fromkeys(outcome.row for outcome in outcomes))
    tables = [_by_scene(suite, rows, outcomes), _means(suite, rows, outcomes)]
    if len(suite.seeds) >= _FEWEST_SEEDS_OF_A_SPREAD:
        tables.append(_spread(suite, rows, outcomes))
    return tables


def scene_tables(outcomes: Sequence[Outcome]) -> list[Table]:
    """The tables of `moegs report`, by scene: each mixture with its experts and oracles, seeds as one; then the single
    models that are no mixture's experts."""
    tables = []
    for scene in dict.fromkeys(outcome.scene for outcome in outcomes):
        here = [outcome for outcome in outcomes if outcome.scene == scene]
        for row in dict.fromkeys(outcome.row for outcome in here if outcome.result.expert_names):
            found = build_tables([outcome.result for outcome in here if outcome.row == row])
            if row.variant:
                found = [_titled(table, f"{table.title}, {row.variant}") for table in found]
            tables += found
        shown = {name for outcome in here for name in outcome.result.expert_names}
        alone = [
            outcome.result
            for outcome in here
            if not outcome.result.expert_names and (outcome.row.variant or not set(outcome.row.experts) <= shown)
        ]
        tables += build_tables(alone) if alone else []
    return tables


def geometry_table(suite: Suite, jobs: Sequence[PlannedJob]) -> list[Table]:
    """Multi-view depth consistency by scene, of what was measured; no table where nothing was."""
    values: dict[str, dict[str, list[float]]] = {}
    for one in jobs:
        if one.job.run.name != GEOMETRY_NAME or not one.job.run.is_file():
            continue
        for label, row in json.loads(one.job.run.read_text("utf8"))["rows"].items():
            error = row["consistency"]["error"]
            name = _geometry_label(one.job.run.parent, label, suite)
            if error is not None:
                values.setdefault(name, {}).setdefault(one.scene, []).append(error)
    if not values:
        return []
    scenes = [scene.name for scene in suite.scenes]
    cells = []
    for label, by_scene in values.items():
        own = [mean_and_deviation(by_scene[scene], ".4f") if scene in by_scene else _MISSING for scene in scenes]
        complete = all(scene in by_scene for scene in scenes)
        mean = statistics.fmean(statistics.fmean(by_scene[scene]) for scene in scenes) if complete else None
        cells.append([label, *own, _MISSING if mean is None else f"{mean:.4f}"])
    notes = ["Mean error of reprojected depth over all pairs of cameras, in the scenes' own units; lower is better."]
    if suite.paper is not None:
        notes += published_tables()[suite.paper.name].notes
    return [Table(f"{suite.name}: multi-view depth consistency", ["", *scenes, AVERAGE], cells, notes)]


def write_tables(tables: Sequence[Table], suite: Suite, jobs: Sequence[PlannedJob], folder: Path) -> Path:
    """Write the tables as Markdown, as a whole.

    Returns:
        The file.
    """
    done = sum(one.job.state() == "finished" for one in jobs)
    head = [f"# {suite.name}", "", suite.description, "", f"{done} of {len(jobs)} jobs are finished.", ""]
    notes = [f"- {note}" for note in suite.notes] + ([""] if suite.notes else [])
    file = folder / f"{suite.name}.md"
    write_text(file, "\n".join([*head, *notes, *(table.markdown() for table in tables)]))
    return file


# -- tables ----------------------------------------------------------------------------------------------------------


def _by_scene(suite: Suite, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> Table:
    scenes = [scene.name for scene in suite.scenes]
    cells: list[list[str]] = []
    bold: list[int] = []
    for row in rows:
        by_scene = {scene: _values(outcomes, row, "psnr", scene, suite.seeds) for scene in scenes}
        average = [_MISSING] if len(scenes) > 1 else []
        if len(scenes) > 1 and (means := _over_scenes(outcomes, row, "psnr", suite)):
            average = [mean_and_deviation(means, ".2f")]
        bold += [len(cells)] if len(row.experts) > 1 else []
        shown = [mean_and_deviation(own, ".2f") if own else _MISSING for own in by_scene.values()]
        cells.append([row.label, *shown, *average])
        paper = _published(suite.paper, row)
        if paper:
            name = next(iter(paper.values())).label
            columns = [*(_known_as(suite.paper, scene) for scene in scenes), *([AVERAGE] if average else [])]
            cells.append([_PAPER + name, *(_figure(paper.get(column or ""), "psnr", ".2f") for column in columns)])
    header = ["", *scenes, *([AVERAGE] if len(scenes) > 1 else [])]
    notes = [*_seed_notes(suite), *_protocols(outcomes), *_paper_notes(suite.paper)]
    return Table(f"{suite.name}: PSNR by scene", header, cells, notes, tuple(bold))


def _means(suite: Suite, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> Table:
    cells: list[list[str]] = []
    bold: list[int] = []
    for row in rows:
        found = [(_over_scenes(outcomes, row, key, suite), form) for _, key, _, form in _MEANS]
        bold += [len(cells)] if len(row.experts) > 1 else []
        cells.append([row.label, *(mean_and_deviation(own, form) if own else _MISSING for own, form in found)])
        mean = _published(suite.paper, row).get(AVERAGE)
        if mean is not None:
            figures = [_figure(mean, theirs, form) if theirs else "" for _, _, theirs, form in _MEANS]
            cells.append([_PAPER + mean.label, *figures])
    notes = [
        "A mixture's MB and N count its experts', its training time is the router's alone.",
        *_seed_notes(suite),
        *(
            []
            if suite.paper is None
            else [f"The paper's FPS are of an {DEVICE}; it does not say which LPIPS it prints."]
        ),
    ]
    header = ["", *(name for name, *_ in _MEANS)]
    return Table(f"{suite.name}: means over {_scenes_told(suite)}", header, cells, notes, tuple(bold))


def _spread(suite: Suite, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> Table:
    cells = []
    for row in rows:
        means = _over_scenes(outcomes, row, "psnr", suite)
        known = [f"{choose(means):.2f}" for choose in (min, max, statistics.fmean)] if means else [_MISSING] * 3
        cells.append([row.label, *known])
        paper = {kind: _published(suite.paper, row, variant).get(AVERAGE) for kind, variant in _SPREAD.items()}
        if paper["mean"] is not None:
            figures = [_figure(paper[kind], "psnr", ".2f") for kind in ("worst", "best", "mean")]
            cells.append([f"{_PAPER}{paper['mean'].method}, 5 runs", *figures])
    title = f"{suite.name}: PSNR over seeds {', '.join(map(str, suite.seeds))}, means over {_scenes_told(suite)}"
    return Table(title, ["", "worst", "best", "mean"], cells, [])


# -- values ----------------------------------------------------------------------------------------------------------


def _values(outcomes: Sequence[Outcome], row: Row, key: str, scene: str, seeds: Sequence[int]) -> list[float]:
    """Of all seeds, empty if one has none: a mean over some would pass for one over all."""
    found = {
        outcome.seed: value
        for outcome in outcomes
        if (outcome.row, outcome.scene) == (row, scene) and (value := _value(outcome.result, key)) is not None
    }
    return [found[seed] for seed in seeds] if set(seeds) <= set(found) else []


def _over_scenes(outcomes: Sequence[Outcome], row: Row, key: str, suite: Suite) -> list[float]:
    """By seed the mean over the scenes; empty unless all are there."""
    by_scene = [_values(outcomes, row, key, scene.name, suite.seeds) for scene in suite.scenes]
    return [statistics.fmean(values) for values in zip(*by_scene, strict=True)] if all(by_scene) else []


def _value(result: RunResult, key: str) -> float | None:
    value: Any = getattr(result, key) if hasattr(RunResult, key) else result.scores.get(key)
    return None if value is None else float(value)


def _published(paper: PaperTable | None, row: Row, variant: str | None = None) -> dict[str, PublishedScore]:
    """The paper's row for ours, by scene; empty where it has none."""
    if paper is None:
        return {}
    theirs = paper.variants.get(row.variant) if variant is None else variant
    if theirs is None:
        theirs = row.variant
    return {
        score.scene: score
        for score in published_tables()[paper.name].scores
        if set(score.experts) == set(row.experts) and score.variant == theirs
    }


def _known_as(paper: PaperTable | None, scene: str) -> str | None:
    """What the paper calls a scene of ours."""
    return None if paper is None else data_sets()[published_tables()[paper.name].data_set].scene(scene)


def _figure(score: PublishedScore | None, metric: str, form: str) -> str:
    value = None if score is None else getattr(score, metric)
    return "-" if value is None else format(value, form)


def _geometry_label(run: Path, label: str, suite: Suite) -> str:
    if label != "fused":
        return f"{label} ({' + '.join(suite.experts[-1])})" if label == MIXTURE else label
    ways = suite.fusion.finetune if suite.fusion is not None else ()
    tuned = next((way for way in ways if run.name.endswith(f"-{way}")), None)
    return f"fused, {tuned} fine-tuned" if tuned else "fused"


# -- notes -----------------------------------------------------------------------------------------------------------


def _titled(table: Table, title: str) -> Table:
    return Table(title, table.header, table.rows, table.notes, table.emphasised)


def _scenes_told(suite: Suite) -> str:
    return suite.scenes[0].name if len(suite.scenes) == 1 else f"{len(suite.scenes)} scenes"


def _seed_notes(suite: Suite) -> list[str]:
    if len(suite.seeds) == 1:
        return [f"Seed {suite.seeds[0]}."]
    return [f"Mean ± standard deviation over the seeds {', '.join(map(str, suite.seeds))}."]


def _protocols(outcomes: Sequence[Outcome]) -> list[str]:
    """The protocol of every scene, those that are alike once."""
    told: dict[str, list[str]] = {}
    for outcome in outcomes:
        scenes = told.setdefault(protocol_notes([outcome.result])[0], [])
        if outcome.scene not in scenes:
            scenes.append(outcome.scene)
    return [f"{', '.join(scenes)}: {protocol}" for protocol, scenes in told.items()]


def _paper_notes(paper: PaperTable | None) -> list[str]:
    if paper is None:
        return []
    table = published_tables()[paper.name]
    return [f"Rows '{_PAPER.strip()}' are {table.source} of MoE-GS (ICLR 2026).", *table.notes]
