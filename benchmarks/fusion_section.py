"""Mixtures beside their fused models, as a section of docs/results.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import machine_sentence
from suites import StoredResult

from moegs_ns.reporting.tables import Table, mean_and_deviation

_UNKNOWN, _NONE = "n/a", "-"
_HEADER = ["", "PSNR", "over mixture", "SSIM", "FPS", "N", "MB", "train s"]
_HEAD = """## Fused mixtures

All experts' Gaussians as one set, opacities scaled by responsibilities (MoE-GS App. D): `moegs fuse`. The paper fuses
without training; fine-tuning changes the shares of opacity only, or also positions, shapes, opacities and colours.
"""


def fusion_table(contents: Sequence[dict[str, Any]]) -> Table:
    """One table of the mixtures of one set of experts, mean over their seeds."""
    first = contents[0]["rows"]["mixture"]
    seeds = sorted(one["rows"]["mixture"]["record"]["seed"] for one in contents)
    with_geometry = all(row["geometry"] for one in contents for row in one["rows"].values())
    labels = [label for label in contents[0]["rows"] if all(label in one["rows"] for one in contents)]
    said = f"mean ± sd of seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    title = f"{first['record']['scene']['scene']}: {' + '.join(first['record']['model']['experts'])}, {said}"
    header = [*_HEADER, *(["MDC", "MDC %"] if with_geometry else [])]
    rows = [[label, *_cells([one["rows"] for one in contents], label, with_geometry)] for label in labels]
    return Table(title, header, rows, _notes(contents, with_geometry), (labels.index("mixture"),))


def fusion_section(contents: Sequence[dict[str, Any]]) -> str:
    """All suites' fused mixtures: tables, commands, machines."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for one in contents:
        experts = one["rows"]["mixture"]["record"]["model"]["experts"]
        groups.setdefault((one["suite"]["name"], *experts), []).append(one)
    machines = dict.fromkeys(
        machine_sentence({**one["measurement"], "source": one["rows"]["fused"]["record"]["source"]}) for one in contents
    )
    again = " and ".join(dict.fromkeys(f"`{one['measurement']['command']}`" for one in contents))
    parts = [_HEAD, *(fusion_table(group).markdown() for group in groups.values())]
    return "\n".join([*parts, f"Again: {again}.", "", *(f"- {machine}" for machine in machines), ""])


def _cells(of_seeds: Sequence[dict[str, Any]], label: str, with_geometry: bool) -> list[str]:
    rows = [one[label] for one in of_seeds]
    results = [StoredResult(Path(row["run"]), row["record"], row["scores"]) for row in rows]
    leads = [one[label]["scores"]["psnr"] - one["mixture"]["scores"]["psnr"] for one in of_seeds]
    columns = [
        _said([result.scores["psnr"] for result in results], ".2f"),
        _NONE if label == "mixture" else _said(leads, "+.2f"),
        _said([result.scores["ssim"] for result in results], ".4f"),
        _said([result.scores["fps"] for result in results], ".1f"),
        _said([result.num_gaussians for result in results], ",.0f"),
        _said([result.megabytes for result in results], ".1f"),
        _said([result.training_seconds for result in results], ",.0f"),
    ]
    if with_geometry:
        columns.append(_said([row["geometry"]["error"] for row in rows], ".4f"))
        relative = [row["geometry"]["relative"] for row in rows]
        columns.append(_said([None if value is None else 100 * value for value in relative], ".2f"))
    return columns


def _said(values: Sequence[float | None], form: str) -> str:
    known = [float(value) for value in values if value is not None]
    return mean_and_deviation(known, form) if len(known) == len(values) else _UNKNOWN


def _notes(contents: Sequence[dict[str, Any]], with_geometry: bool) -> list[str]:
    facts = [one["rows"]["fused"]["record"]["model"]["fused"] for one in contents]
    unseen = mean_and_deviation([100 * one["unseen_share"] for one in facts], ".1f")
    means = {
        name: mean_and_deviation([one["mean_responsibility"][name] for one in facts], ".2f")
        for name in facts[0]["mean_responsibility"]
    }
    steps = sorted({one["finetune_steps"] for one in contents})
    notes = [
        f"Responsibilities from {facts[0]['views']:,} training images (every frame stride {facts[0]['frame_stride']}, "
        f"camera stride {facts[0]['camera_stride']}), gates at temperature {facts[0]['temperature']:g}; {unseen} % of "
        "the Gaussians were seen in none of them and got their expert's mean. Mean responsibility: "
        f"{', '.join(f'{name} {mean}' for name, mean in means.items())}.",
        f"Fine-tuned for {' or '.join(f'{number:,}' for number in steps)} steps. Train s: of the mixture its router's "
        "training; of a fused model the lifting, and its fine-tuning.",
    ]
    if with_geometry:
        notes.append("MDC: mean reprojection error of depth over pairs of cameras, world units and % of depth.")
        experts = [one["rows"]["mixture"].get("geometry_of_experts", {}) for one in contents]
        if all(experts):
            errors = {name: [found[name]["error"] for found in experts] for name in experts[0]}
            said = ", ".join(f"{name} {mean_and_deviation(values, '.4f')}" for name, values in errors.items())
            notes.append(f"MDC of the mixture's experts: {said}.")
    return notes
