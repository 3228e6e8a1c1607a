"""Experts taught by their mixtures, as a section of docs/results.md."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from machine import machine_sentence
from student_fit import IMAGES
from suites import StoredResult

from moegs_ns.reporting.rows import seconds_by, training_clock
from moegs_ns.reporting.tables import Table, mean_and_deviation

_UNKNOWN, _NONE = "n/a", "-"
_HEADER = [
    "",
    "PSNR",
    "over retrained",
    "SSIM",
    "on training views",
    "to the teacher there",
    "FPS",
    "N",
    "MB",
    "train s",
]
_HEAD = """## Distillation

Experts trained anew beside their mixture (MoE-GS §3.4, App. G): `moegs-distill`. *Retrained* is the expert alone, same
recipe, seed and data; *unweighted* and *weighted* as in the paper's Table 13. A student is as small and fast as its
expert; test cameras are read once per run.
"""


def distillation_section(contents: Sequence[dict[str, Any]]) -> str:
    """All suites' students: a table each, commands, machines."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for one in contents:
        groups.setdefault((one["suite"]["name"], one["student"], *one["options"]), []).append(one)
    machines = dict.fromkeys(
        machine_sentence({**one["measurement"], "source": one["rows"][_taught(one)[-1]]["record"]["source"]})
        for one in contents
    )
    again = " and ".join(dict.fromkeys(f"`{one['measurement']['command']}`" for one in contents))
    evidence = evidence_table([*groups.values()])
    parts = [_HEAD, evidence.markdown(), *(student_table(group).markdown() for group in groups.values())]
    return "\n".join([*parts, f"Again: {again}.", "", *(f"- {machine}" for machine in machines), ""])


def evidence_table(groups: Sequence[Sequence[dict[str, Any]]]) -> Table:
    """What teaching changed, student by student: differences to the expert alone, paired by seed.

    Args:
        groups: per student the contents of its seeds.
    """
    rows = []
    for contents in groups:
        of_seeds = [one["rows"] for one in contents]
        named = f"{contents[0]['suite']['name']}: {contents[0]['student']}"
        for label in _taught(contents[0]):
            rows.append([named, " ".join([label, *contents[0]["options"]]), *_changes(of_seeds, label)])
            named = ""
    header = [
        "",
        "",
        "test PSNR",
        "test SSIM",
        "PSNR on training views",
        "to the teacher there",
        "alone: training - test",
    ]
    notes = [
        "On the test camera unless said; minus the expert alone of the same seed. *Alone: training - test*: how much "
        "better, in dB, the expert alone is on its training views than on the test camera; where that is nothing, "
        "supervision is not what it lacks."
    ]
    return Table("What teaching changed, mean ± sd over seeds", header, rows, notes)


def _changes(of_seeds: Sequence[dict[str, Any]], label: str) -> list[str]:
    def said(value: Callable[[dict[str, Any]], float], form: str) -> str:
        return _said([value(one[label]) - value(one["retrained"]) for one in of_seeds], form)

    overfit = [one["retrained"]["fit"]["video"] - one["retrained"]["scores"]["psnr"] for one in of_seeds]
    return [
        said(lambda row: row["scores"]["psnr"], "+.2f"),
        said(lambda row: row["scores"]["ssim"], "+.4f"),
        said(lambda row: row["fit"]["video"], "+.2f"),
        said(lambda row: row["fit"]["teacher"], "+.2f"),
        _said(overfit, "+.2f"),
    ]


def student_table(contents: Sequence[dict[str, Any]]) -> Table:
    """One student, mean over seeds."""
    first = contents[0]
    seeds = sorted(one["rows"]["mixture"]["record"]["seed"] for one in contents)
    said = f"mean ± sd of seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    scene = first["rows"]["mixture"]["record"]["scene"]["scene"]
    named = f", {' '.join(first['options'])}" if first["options"] else ""
    labels = [label for label in first["rows"] if all(label in one["rows"] for one in contents)]
    rows = [[label, *_cells([one["rows"] for one in contents], label)] for label in labels]
    title = f"{first['suite']['name']}: {first['student']} taught by the mixture of {scene}{named}, {said}"
    best = max(_taught(first), key=lambda label: sum(one["rows"][label]["scores"]["psnr"] for one in contents))
    return Table(title, _HEADER, rows, _notes(contents), (labels.index(best),))


def _taught(one: dict[str, Any]) -> list[str]:
    return [label for label, row in one["rows"].items() if "distilled" in row]


def _cells(of_seeds: Sequence[dict[str, Any]], label: str) -> list[str]:
    rows = [one[label] for one in of_seeds]
    results = [StoredResult(Path(row["run"]), row["record"], row["scores"]) for row in rows]
    leads = [one[label]["scores"]["psnr"] - one["retrained"]["scores"]["psnr"] for one in of_seeds]
    return [
        _said([result.scores["psnr"] for result in results], ".2f"),
        _NONE if label == "retrained" else _said(leads, "+.2f"),
        _said([result.scores["ssim"] for result in results], ".4f"),
        _said([row["fit"]["video"] for row in rows], ".2f"),
        _NONE if label == "mixture" else _said([row["fit"]["teacher"] for row in rows], ".2f"),
        _said([result.scores["fps"] for result in results], ".1f"),
        _said([result.num_gaussians for result in results], ",.0f"),
        _said([result.megabytes for result in results], ".1f"),
        _said([seconds_by(result, training_clock(result)) for result in results], ",.0f"),
    ]


def _said(values: Sequence[float | None], form: str) -> str:
    known = [float(value) for value in values if value is not None]
    return mean_and_deviation(known, form) if len(known) == len(values) else _UNKNOWN


def _notes(contents: Sequence[dict[str, Any]]) -> list[str]:
    taught = [one["rows"][label]["distilled"] for one in contents for label in _taught(one)]
    shares = sorted({one["ground_truth_weight"] for one in taught})
    notes = [f"Lambda of Eq. 11: {', '.join(f'{share:g}' for share in shares)}."]
    kept = [one["quantisation"] for one in taught if "quantisation" in one]
    if kept:
        image, gate = (max(one[f"{name}_rms"] for one in kept) for name in ("image", "gate"))
        notes.append(
            f"The teacher's views were kept as 8-bit numbers, which is {1000 * image:.2f} (pictures) and "
            f"{1000 * gate:.2f} (gates) thousandths of the range off in the root mean square."
        )
    clock = "processor time" if all(_has_processor_time(one) for one in contents) else "on the wall"
    notes += [
        f"Training views: PSNR against the video, and the teacher's pictures, of {IMAGES} images spread evenly.",
        f"Train s: seconds of training steps, {clock}; the mixture's are its router's alone. FPS: one over the median "
        "time of a render; where it varies several times over, other work ran beside it, which says nothing of "
        "the model.",
    ]
    return notes


def _has_processor_time(one: dict[str, Any]) -> bool:
    return all(row["record"]["progress"].get("processor_seconds") is not None for row in one["rows"].values())
