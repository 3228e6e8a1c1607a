"""The rows of a report, as numbers: what each run, and each reference picture of a mixture, scored and cost."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.routers import USUAL_ROUTER, router_label

_NUMBER = re.compile(r"_\d+$")

Clock = Literal["processor", "wall"]

QUALITY = ("psnr", "psnr_dynamic", "ssim", "lpips_alex", "lpips_vgg", "flicker")
COSTS = ("fps", "gaussians", "megabytes", "stored_megabytes", "seconds", "total_seconds")

MIXTURE = "mixture"
BEST_EXPERT = "best expert"
REFERENCES = {
    "mean_of_experts": "mean of experts",
    "smoothed_oracle": "9x9-smoothed oracle",
    "pixel_oracle": "pixel oracle",
}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        label: what it is about.
        values: numbers by column; a column that is missing could not be had.
        detail: put in brackets behind the label.
        has_costs: whether speed, size and training time mean anything for it (not for reference pictures).
        families: of what it shows, for the paper's figures of the same: an expert's family, or those of all a mixture
            has; empty for what the paper does not have.
        variant: ``distilled`` for a student.
        run: whose speed, size and training time these are, where the row does not repeat another one.
    """

    label: str
    values: dict[str, float]
    detail: str = ""
    has_costs: bool = True
    families: tuple[str, ...] = ()
    variant: str = ""
    run: RunResult | None = field(default=None, repr=False, compare=False)


def single_row(result: RunResult) -> Row:
    """The row of one expert's run; the run's name tells it from another one of that family."""
    variant = "distilled" if result.record.get("distilled") else ""
    return Row(
        f"{result.expert}, {variant}" if variant else result.expert,
        {**_quality(result.scores), **_costs(result)},
        detail=_name_without_seed(result),
        families=(result.expert,),
        variant=variant,
        run=result,
    )


def expert_rows(result: RunResult) -> list[Row]:
    """A mixture's experts as they were trained, in its order. Where it changes them and a run is not known, as they are
    inside it, which the row says."""
    rows = []
    for name, family, run in zip(result.expert_names, _families(result), result.experts(), strict=True):
        count = result.record.get("model", {}).get("num_gaussians_per_expert", {}).get(name)
        known = None if isinstance(run, str) else run
        costs = _known(gaussians=count) if known is None else _costs(known)
        if result.experts_changed and known is not None:
            rows.append(Row(name, {**_quality(known.scores), **costs}, families=(family,), run=known))
        else:
            detail = "inside the mixture" if result.experts_changed else ""
            quality = _quality(result.scores, f"expert_{name}/")
            rows.append(Row(name, {**quality, **costs}, detail, families=() if detail else (family,), run=known))
    return rows


def best_expert(results: Sequence[RunResult]) -> int:
    """Position of the expert with the highest mean PSNR over all test images of mixtures of the same experts, say of
    several seeds."""
    rows = [expert_rows(result) for result in results]
    means = [fmean(of[position].values["psnr"] for of in rows) for position in range(len(rows[0]))]
    return means.index(max(means))


def mixture_rows(result: RunResult) -> list[Row]:
    """All rows of a mixture: its experts, the best of them, the reference pictures, the mixture. Reference pictures are
    made of the experts' pictures inside the mixture; where it changes them there are none."""
    experts = expert_rows(result)
    best = max(experts, key=lambda row: row.values["psnr"])
    references = [
        Row(label, _quality(result.scores, f"{key}/"), has_costs=False)
        for key, label in REFERENCES.items()
        if f"{key}/psnr" in result.scores and not result.experts_changed
    ]
    costs = {**_costs(result), **_known(total_seconds=total_seconds(result))}
    return [
        *experts,
        Row(BEST_EXPERT, best.values, detail=best.label),
        *references,
        Row(
            MIXTURE,
            {**_quality(result.scores), **costs},
            families=_families(result) if router_label(result) == USUAL_ROUTER else (),
            run=result,
        ),
    ]


def best_of_retrainings(results: Sequence[RunResult]) -> Row | None:
    """The strongest single run of any expert over mixtures of the same experts with several seeds (MoE-GS App. F): what
    training N times and keeping the best would give. None where there is but one seed.

    Args:
        results: of the mixtures.
    """
    if len(results) < 2:
        return None
    runs = [(row, result) for result in results for row in expert_rows(result)]
    row, result = max(runs, key=lambda pair: pair[0].values["psnr"])
    return Row(f"best of {len(results)} retrainings", row.values, detail=f"{row.label}, seed {result.seed}")


def mixture_facts(result: RunResult) -> dict[str, float]:
    """Numbers about a mixture as a whole; those that cannot be had are missing.

    Returns:
        ``over_best``: dB above the best expert. ``smoothed_share``, ``pixel_share``: this lead as a share of that of
        the smoothed and the pixel oracle. ``router_cost``: router training time as a share of all experts' together.
    """
    scores = result.scores
    best = max(row.values["psnr"] for row in expert_rows(result))
    facts = {"over_best": scores["psnr"] - best}
    for key, oracle in (("smoothed_share", "smoothed_oracle/psnr"), ("pixel_share", "pixel_oracle/psnr")):
        if oracle in scores and scores[oracle] > best and not result.experts_changed:
            facts[key] = facts["over_best"] / (scores[oracle] - best)
    clock = training_clock(result)
    total, own = total_seconds(result, clock), seconds_by(result, clock)
    if total is not None and own is not None and total > own:
        facts["router_cost"] = own / (total - own)
    return facts


def training_clock(result: RunResult) -> Clock:
    """By which clock the trainings of a mixture and its experts compare: processor time where all ran on a CPU and
    counted it, since other work on the machine does not change it much; else time on the wall."""
    runs = [result, *(run for run in result.experts() if not isinstance(run, str))]
    on_cpu = all(run.record.get("device", {}).get("type") == "cpu" for run in runs)
    return "processor" if on_cpu and all(run.processor_seconds is not None for run in runs) else "wall"


def seconds_by(result: RunResult, clock: Clock) -> float | None:
    """Seconds a training took by ``clock``; None if unknown."""
    return result.processor_seconds if clock == "processor" else result.training_seconds


def total_seconds(result: RunResult, clock: Clock = "wall") -> float | None:
    """Training time of the router and all experts, None if one of them is unknown."""
    total = seconds_by(result, clock)
    for run in result.experts():
        seconds = None if isinstance(run, str) else seconds_by(run, clock)
        if total is None or seconds is None:
            return None
        total += seconds
    return total


def _families(result: RunResult) -> tuple[str, ...]:
    """Families of a mixture's experts, in gate order: two of one family are called ``stg`` and ``stg_2``."""
    origins = result.record.get("model", {}).get("expert_origins", {})
    return tuple(origins.get(name, {}).get("family", _NUMBER.sub("", name)) for name in result.expert_names)


def _quality(scores: dict[str, Any], prefix: str = "") -> dict[str, float]:
    return {name: float(scores[prefix + name]) for name in QUALITY if prefix + name in scores}


def _costs(result: RunResult) -> dict[str, float]:
    return _known(
        fps=result.scores.get("fps"),
        gaussians=result.num_gaussians,
        megabytes=result.megabytes,
        stored_megabytes=result.scores.get("model_mb"),
        seconds=result.training_seconds,
    )


def _known(**values: float | None) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None}


def _name_without_seed(result: RunResult) -> str:
    """``quick-seed42`` becomes ``quick``: runs that differ in their seed only belong into one row."""
    return result.folder.name.replace(f"-seed{result.seed}", "")
