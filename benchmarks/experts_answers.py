"""The experts compared by numbers: tables and sentences of docs/experts.md, made from kept results."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from expert_families import EXPECTATIONS
from page_parts import TEMPORAL_MEAN, temporal_mean_of, with_temporal_mean
from suites import Kept

from moegs_ns.cli.objects import TEMPORAL_MEAN as TEMPORAL_MEAN_ROW
from moegs_ns.reporting.appearance import appearance_table, separation
from moegs_ns.reporting.motion import MotionStatistics, TrackError, errors_from_plain, statistics_from_plain
from moegs_ns.reporting.motion_tables import statistics_table, track_table
from moegs_ns.reporting.numbers import mean_and_deviation
from moegs_ns.reporting.object_psnr import PROTOCOL
from moegs_ns.reporting.routers import USUAL_ROUTER, router_label
from moegs_ns.reporting.rows import mixture_facts
from moegs_ns.reporting.table_notes import VIDEO_METRICS
from moegs_ns.reporting.tables import Table, build_tables

#: Numbers of frames over which errors of displacement are told in a sentence.
TOLD_STEP = 4
#: Gaussians that recover less than this percentage of the points' displacement do not follow them.
FOLLOWS = 10


@dataclass(frozen=True)
class SuiteRuns:
    """Kept runs of one suite.

    Attributes:
        name: of the suite.
        experts: runs of each expert alone, in the order of the families; without equal-budget ones.
        mixtures: runs of routers.
    """

    name: str
    experts: dict[str, list[Kept]]
    mixtures: list[Kept]

    def entries(self, *path: str) -> dict[str, list[Any]]:
        """By expert, the entry under ``path`` of every run's file; experts that lack it in some run are left out."""
        found = {name: [_entry(one, path) for one, _ in runs] for name, runs in self.experts.items()}
        return {name: own for name, own in found.items() if all(own)}


def suite_runs(name: str, kept: Sequence[Kept], order: Sequence[str]) -> SuiteRuns:
    """The runs of a suite by expert, those in ``order`` first."""
    experts: dict[str, list[Kept]] = {expert: [] for expert in order}
    for one, result in kept:
        if not result.expert_names and "equal_budget" not in one:
            experts.setdefault(result.expert, []).append((one, result))
    mixtures = [(one, result) for one, result in kept if result.expert_names]
    return SuiteRuns(name, {expert: runs for expert, runs in experts.items() if runs}, mixtures)


# -- the answers -----------------------------------------------------------------------------------------------------


def cost_part(suite: SuiteRuns) -> list[str]:
    """Quality and cost of whole pictures."""
    runs = [one for group in suite.experts.values() for one in group]
    if not runs:
        return []
    tables = build_tables([result for _, result in runs], only_where_known=VIDEO_METRICS)
    mean = temporal_mean_of(runs)
    if mean is not None:
        labelled = [(name, result) for name, group in suite.experts.items() for _, result in group]
        tables = [with_temporal_mean(table, mean, labelled) for table in tables]
    if len(suite.experts) == 1:
        return [_part(suite, [], tables)]
    scores = _means({name: [result.scores["psnr"] for _, result in group] for name, group in suite.experts.items()})
    spread = max(scores.values()) - min(scores.values())
    lines = [
        f"PSNR: {in_order(scores, '.2f')} dB; the highest is {spread:.2f} dB above the lowest.",
        *_cheapest(suite),
    ]
    return [_part(suite, lines, tables)]


def _cheapest(suite: SuiteRuns) -> list[str]:
    results = {name: [result for _, result in group] for name, group in suite.experts.items()}
    costs = {
        "shortest training": {name: [one.training_seconds for one in own] for name, own in results.items()},
        "fewest Gaussians": {name: [one.num_gaussians for one in own] for name, own in results.items()},
        "smallest": {name: [one.megabytes for one in own] for name, own in results.items()},
        "fastest to render": {name: [_seconds(one.scores.get("fps")) for one in own] for name, own in results.items()},
    }
    known = {what: _means(found) for what, found in costs.items()}
    told = [f"{what} {min(own, key=own.__getitem__)}" for what, own in known.items() if len(own) == len(results)]
    return [f"Least costs: {', '.join(told)}."] if told else []


def _seconds(fps: float | None) -> float | None:
    return None if fps is None else 1 / fps


def objects_part(suite: SuiteRuns) -> list[str]:
    """PSNR per object."""
    found = suite.entries("objects")
    if not found:
        return []
    first = next(iter(found.values()))[0]
    objects = first["objects"]
    rows = {name: [summary["psnr"]["rgb"] for summary in own] for name, own in found.items()}
    cells = [
        [name, *(mean_and_deviation([one[item] for one in runs], ".2f") for item in objects)]
        for name, runs in rows.items()
    ]
    if TEMPORAL_MEAN_ROW in first["psnr"]:
        cells.insert(0, [TEMPORAL_MEAN, *(f"{first['psnr'][TEMPORAL_MEAN_ROW][item]:.2f}" for item in objects)])
    header = ["PSNR", *(f"{item} ({100 * share:.1f} %)" for item, share in objects.items())]
    told = [
        f"{item} {highest({name: fmean(one[item] for one in runs) for name, runs in rows.items()}, '.1f')}"
        for item in objects
    ]
    lines = [f"Highest: {', '.join(told)}."]
    return [_part(suite, lines, [Table(f"{_scene(suite)}: PSNR per object", header, cells, [PROTOCOL])])]


def appearing_part(suite: SuiteRuns) -> list[str]:
    """Objects that come and go."""
    found = suite.entries("objects", "appearing")
    if not found:
        return []
    parts = []
    for item in next(iter(found.values()))[0]:
        summaries = {name: [entry[item] for entry in own] for name, own in found.items()}
        first = next(iter(summaries.values()))[0]
        rows = {TEMPORAL_MEAN: [(first, TEMPORAL_MEAN_ROW)]} if TEMPORAL_MEAN_ROW in first["rows"] else {}
        rows |= {name: [(one, "rgb") for one in own] for name, own in summaries.items()}
        apart = {name: [separation(one, "rgb") for one in own] for name, own in summaries.items()}
        edges = {name: [_edge_change(one) for one in own] for name, own in summaries.items()}
        lines = [
            f"Separation: {in_order(_means(apart), '.2f')}.",
            f"Share that comes or goes within one frame, at the frames where the object does: "
            f"{in_order(_means(edges, 100), '.0f', ' %')}.",
        ]
        parts.append(_part(suite, lines, [appearance_table(f"{_scene(suite)}: {item}", rows)]))
    return parts


def tracks_part(suite: SuiteRuns) -> list[str]:
    """Errors against known tracks."""
    found = {name: [errors_from_plain(one) for one in own] for name, own in suite.entries("motion").items()}
    errors = {name: own for name, own in found.items() if all(own)}
    if not errors:
        return []
    keys = list(next(iter(errors.values()))[0])
    step = max((step for _, step in keys if step <= TOLD_STEP), default=keys[0][1])
    told, still = [], []
    for item in dict.fromkeys(item for item, _ in keys):
        pairs = {name: [one[item, step] for one in runs] for name, runs in errors.items()}
        known = _means({name: [_recovered(one) for one in own] for name, own in pairs.items()})
        told.append(f"{item} {highest(known, 'z.0f', ' %') if known else 'none'}")
        still += [f"{name} on {item}" for name, share in known.items() if share < FOLLOWS]
    frames = f"{step} frame{'s' if step > 1 else ''}"
    lines = [
        f"Motion recovered over {frames} (1 less error over displacement, of the points with a Gaussian near them), "
        f"highest per object: {', '.join(told)}."
    ]
    if still:
        lines.append(f"Not followed, whatever the pictures show (less than {FOLLOWS} % recovered): {', '.join(still)}.")
    return [_part(suite, lines, [track_table(f"{_scene(suite)}: 3D end-point error", errors)])]


def _recovered(error: TrackError) -> float:
    """Percentage of the points' displacement; below 0 where Gaussians are farther off than if they stood still."""
    return 100 - 100 * error.error / error.motion if error.motion else math.nan


def motion_part(suite: SuiteRuns) -> list[str]:
    """Statistics of displacements, and what of them was to be expected."""
    found = suite.entries("motion")
    if not found:
        return []
    own = {name: [statistics_from_plain(entry["statistics"]) for entry in runs] for name, runs in found.items()}
    points = next(iter(found.values()))[0]["points"]
    rows = {"surface points": [statistics_from_plain(points)], **own} if points else own
    lines = expectations_told(own)
    return [_part(suite, lines, [statistics_table(f"{_scene(suite)}: motion", rows)])]


def expectations_told(statistics: Mapping[str, Sequence[MotionStatistics]]) -> list[str]:
    """Which of the `EXPECTATIONS` about experts that are there were found, and which not."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for one in EXPECTATIONS:
        means = _means({name: [getattr(seed, one.statistic) for seed in seeds] for name, seeds in statistics.items()})
        if one.higher in means and one.lower in means:
            higher, lower = means[one.higher], means[one.lower]
            form = ".0f" if one.statistic == "turning" else ".3f" if one.statistic == "speed" else ".2f"
            text = f"{one.statistic} of {one.higher} above {one.lower}'s ({higher:{form}}, {lower:{form}})"
            found[higher > lower].append(text)
    heads = {True: "As expected", False: "Other than expected, not so"}
    return [f"{heads[came]}: {'; '.join(texts)}." for came, texts in found.items() if texts]


def mixtures_part(suite: SuiteRuns) -> list[str]:
    """How far mixtures by the paper's router are from their best experts."""
    leads: dict[str, list[float]] = {}
    for _, result in suite.mixtures:
        if router_label(result) != USUAL_ROUTER:
            continue
        leads.setdefault(" + ".join(result.expert_names), []).append(mixture_facts(result)["over_best"])
    if not leads:
        return []
    lines = [f"{name}: {mean_and_deviation(values, '+.2f')} dB from the best expert." for name, values in leads.items()]
    return [_part(suite, lines, [])]


# -- sentences -------------------------------------------------------------------------------------------------------


def in_order(values: Mapping[str, float], form: str, unit: str = "") -> str:
    """``stg 0.97, ed3dgs 0.92``, highest first."""
    ranked = sorted(values, key=values.__getitem__, reverse=True)
    return ", ".join(f"{name} {values[name]:{form}}{unit}" for name in ranked) or "none"


def highest(values: Mapping[str, float], form: str, unit: str = "") -> str:
    """``stg (26.5)``."""
    best = max(values, key=values.__getitem__)
    return f"{best} ({values[best]:{form}}{unit})"


def _means(values: Mapping[str, Sequence[float | None]], factor: float = 1.0) -> dict[str, float]:
    """Means over seeds, without those a seed of which is not known."""
    known = {
        name: [factor * one for one in own if one is not None and not math.isnan(one)] for name, own in values.items()
    }
    return {name: fmean(own) for name, own in known.items() if len(own) == len(values[name])}


def _edge_change(summary: Mapping[str, Any]) -> float | None:
    """How much more of an object is shown in the first frame with it than in the last without, and back; mean over
    the times it comes or goes."""
    shares = dict(zip(summary["frames"], summary["rows"]["rgb"]["shown_per_frame"], strict=True))
    changes = []
    for (_, before, there), (after, _, _) in pairwise(summary["phases"]):
        if shares[before] is None or shares[after] is None:
            return None
        changes.append((shares[before] - shares[after]) * (1 if there else -1))
    return fmean(changes)


# -- layout ----------------------------------------------------------------------------------------------------------


def _part(suite: SuiteRuns, lines: Sequence[str], tables: Sequence[Table]) -> str:
    told = [f"On {_scene(suite)}:", "", *(f"- {line}" for line in lines), ""] if lines else []
    return "\n".join([*told, *(table.markdown() for table in tables)])


def _scene(suite: SuiteRuns) -> str:
    runs = [*suite.experts.values(), suite.mixtures]
    return next(result.scene for group in runs for _, result in group)


def seeds_told(runs: Sequence[Kept]) -> str:
    """``seeds 42, 43``."""
    seeds = [str(result.seed) for _, result in runs]
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"


def _entry(content: Mapping[str, Any], path: Sequence[str]) -> Any:
    for key in path:
        content = content.get(key) or {}
    return content
