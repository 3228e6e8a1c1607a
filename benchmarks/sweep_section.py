"""A sweep as a section of docs/results.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import machine_sentence
from suites import StoredResult

from moegs_ns.reporting.rows import BEST_EXPERT, MIXTURE, REFERENCES, Row, mixture_rows
from moegs_ns.reporting.tables import Table, mean_and_deviation

_HEADER = ["", "PSNR", "SSIM", "over best expert", "largest gate", "router train s"]
_UNKNOWN = "n/a"


def sweep_table(content: dict[str, Any]) -> Table:
    """The rows of one sweep, mean over seeds: what needs no router, the choices in order, the oracles."""
    sweep, rows = content["sweep"], content["rows"]
    results = [StoredResult(Path(row["run"]), row["record"], row["scores"]) for row in rows]
    by_label: dict[str, list[StoredResult]] = {label: [] for label in sweep["labels"]}
    for row, result in zip(rows, results, strict=True):
        by_label[row["label"]].append(result)
    # Every choice of a seed has the same experts, so any choice with all seeds can speak for them.
    number = len(sweep["seeds"])
    complete = [label for label, own in by_label.items() if len(own) == number]
    speaker = by_label[complete[0]] if complete else results[:1]
    before = [_reference(speaker, BEST_EXPERT), _reference(speaker, REFERENCES["mean_of_experts"])]
    after = [_reference(speaker, REFERENCES[key]) for key in ("smoothed_oracle", "pixel_oracle")]
    means = {label: sum(one.scores["psnr"] for one in by_label[label]) / number for label in complete}
    highest = max(means, key=lambda label: means[label]) if means else None
    best = {result.seed: _best(result) for result in speaker}  # a choice may change the experts
    choices = [_choice(label, own, number, best) for label, own in by_label.items()]
    emphasised = [len(before) + list(by_label).index(highest)] if highest else []
    said = ", ".join(map(str, sweep["seeds"]))
    seeds = f"mean ± sd of seeds {said}" if number > 1 else f"seed {said}"
    title = f"{results[0].scene}: {' + '.join(results[0].expert_names)}, {seeds}"
    return Table(title, _HEADER, [*before, *choices, *after], _notes(content, highest, results), tuple(emphasised))


def sweep_section(content: dict[str, Any]) -> str:
    """One sweep: what is compared, its table, its commands and its machine."""
    sweep = content["sweep"]
    commands = dict.fromkeys(f"{one['command']}  # seed {one['seed']}" for one in content["experts"] + content["rows"])
    machines = dict.fromkeys(
        machine_sentence({**content["measurement"], "source": row["record"]["source"]}) for row in content["rows"]
    )
    return "\n".join(
        [
            f"### {sweep['name']}",
            "",
            sweep["description"],
            "",
            sweep_table(content).markdown(),
            f"Again: `python benchmarks/run_sweep.py {sweep['name']}`, which runs",
            "",
            "```bash",
            *commands,
            "```",
            "",
            *(f"- {machine}" for machine in machines),
            "",
        ]
    )


def _rows(result: StoredResult) -> dict[str, Row]:
    return {row.label: row for row in mixture_rows(result)}


def _reference(results: Sequence[StoredResult], label: str) -> list[str]:
    rows = [_rows(result)[label] for result in results]
    details = {row.detail for row in rows} - {""}
    shown = f"{label} ({details.pop()})" if len(details) == 1 else label
    leads = [_rows(result)[label].values["psnr"] - _best(result) for result in results]
    lead = "-" if label == BEST_EXPERT else mean_and_deviation(leads, "+.2f")
    return [shown, *(_mean(rows, name, form) for name, form in (("psnr", ".2f"), ("ssim", ".4f"))), lead, "-", "-"]


def _choice(label: str, results: Sequence[StoredResult], seeds: int, best: Mapping[int | None, float]) -> list[str]:
    shown = f"{MIXTURE}: {label}"
    if len(results) < seeds:  # a mean over some of the seeds would pass for one over all
        return [shown, *[_UNKNOWN] * (len(_HEADER) - 1)]
    rows = [_rows(result)[MIXTURE] for result in results]
    return [
        shown,
        _mean(rows, "psnr", ".2f"),
        _mean(rows, "ssim", ".4f"),
        mean_and_deviation([result.scores["psnr"] - best[result.seed] for result in results], "+.2f"),
        mean_and_deviation([result.scores["largest_gate"] for result in results], ".3f"),
        _mean(rows, "seconds", ",.0f"),
    ]


def _best(result: StoredResult) -> float:
    return _rows(result)[BEST_EXPERT].values["psnr"]


def _mean(rows: Sequence[Row], name: str, form: str) -> str:
    values = [row.values[name] for row in rows if name in row.values]
    return mean_and_deviation(values, form) if len(values) == len(rows) else _UNKNOWN


def _notes(content: dict[str, Any], highest: str | None, results: Sequence[StoredResult]) -> list[str]:
    protocol, metrics = results[0].protocol, results[0].protocol["metrics"]
    every = "every frame" if protocol["frame_step"] == 1 else f"one frame in {protocol['frame_step']}"
    size = "x".join(map(str, protocol["resolution"]))
    test = results[0].record["scene"]["cameras"].get("test", [])
    untouched = f"test camera {', '.join(test)} not touched" if test else "test cameras not touched"
    best = [f"Highest: {highest}."] if highest else []
    return [
        f"Chosen on val cameras, {untouched}: scored on {', '.join(protocol['cameras'])}, which neither experts nor "
        f"routers were trained on, {every} ({protocol['images']} images of {size}); mean over images.",
        *best,
        *(f"{name.upper()}: {metrics[name]}." for name in ("psnr", "ssim")),
        "Largest gate: mean over pixels of the largest of the gates; 1 is a hard choice between the experts, one over "
        "their number none. Router train s: seconds of the router's training steps.",
    ]
