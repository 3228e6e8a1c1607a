"""Pruning curves as a section of docs/results.md."""

import itertools
from collections.abc import Sequence
from typing import Any

from machine import machine_sentence

from moegs_ns.reporting.tables import Table

#: What pruning may cost before it is said to cost something, in dB.
COST = 0.05


def ratio_that_costs(points: Sequence[tuple[float, float]], cost: float = COST) -> float | None:
    """The share of Gaussians whose removal costs ``cost`` dB, on straight lines between points.

    Args:
        points: (ratio, change of PSNR in dB); nothing removed changes nothing.
        cost: positive.

    Returns:
        The first such ratio; None where no point costs as much.
    """
    line = [(0.0, 0.0), *sorted(points)]
    for (ratio, change), (next_ratio, next_change) in itertools.pairwise(line):
        if next_change <= -cost:
            return ratio + (next_ratio - ratio) * (change + cost) / (change - next_change)
    return None


def curve(content: dict[str, Any], criterion: str, steps: int) -> dict[float, dict[str, Any]]:
    """The points of one criterion after so many further steps, by ratio."""
    return {
        one["ratio"]: one
        for one in content["points"]
        if (one["criterion"], one["finetune_steps"]) == (criterion, steps)
    }


def pruning_table(content: dict[str, Any], steps: int) -> Table:
    """Change of PSNR by criterion and ratio after ``steps`` further steps of the router."""
    points = [one for one in content["points"] if one["finetune_steps"] == steps]
    criteria = list(dict.fromkeys(one["criterion"] for one in points))
    ratios = sorted({one["ratio"] for one in points})
    baseline, facts = content["baseline"], content["pruning"]
    header = ["criterion", *(f"{ratio:.0%}" for ratio in ratios), f"costs {COST} dB", "winning, pruned"]
    rows = []
    for criterion in criteria:
        own = curve(content, criterion, steps)
        changes = {ratio: one["scores"]["psnr"] - baseline["psnr"] for ratio, one in own.items()}
        costs = ratio_that_costs(list(changes.items()))
        said = f"{costs:.0%}" if costs is not None else f"over {max(changes):.0%}"
        middle = own[min(own, key=lambda ratio: abs(ratio - 0.6))]
        cells = [f"{changes[ratio]:+.2f}" if ratio in changes else "n/a" for ratio in ratios]
        rows.append([criterion, *cells, said, f"{middle['winning']['by_responsibility']:.0%}"])
    trained = f"{steps} further steps of the router" if steps else "no further training"
    return Table(
        f"{facts['scene']}: {' + '.join(facts['experts'])}, change of PSNR in dB, {trained}",
        header,
        rows,
        _notes(content, points, ratios),
    )


def _notes(content: dict[str, Any], points: list[dict[str, Any]], ratios: list[float]) -> list[str]:
    baseline, facts = content["baseline"], content["pruning"]
    costs = []
    for ratio in ratios:
        one = next(point["scores"] for point in points if point["ratio"] == ratio)
        costs.append(f"{ratio:.0%}: {one['gaussians']:,}, {one['megabytes']:.1f} MB, {one['fps']:.1f} FPS")
    every = "every training image" if facts["view_stride"] == 1 else f"one training image in {facts['view_stride']}"
    return [
        f"Unpruned: {baseline['psnr']:.2f} dB, {baseline['gaussians']:,} Gaussians, {baseline['megabytes']:.1f} MB, "
        f"{baseline['fps']:.1f} FPS; {baseline['images']} images of the {facts['split']} split, seed {facts['seed']}.",
        f"Left at {'; '.join(costs)} (as rendered with the first criterion).",
        f"Scored on {every} at the temperature of evaluation ({facts['eval_temperature']:g}); the ratio that costs "
        f"{COST} dB lies on straight lines between the points.",
        "Winning, pruned: share of the pruned Gaussians (at the ratio nearest to 60 %) with a responsibility of one "
        "half or more.",
    ]


def pruning_section(content: dict[str, Any]) -> str:
    """One mixture: its tables, the command and the machine."""
    facts = content["pruning"]
    steps = sorted({one["finetune_steps"] for one in content["points"]})
    return "\n".join(
        [
            f"### {facts['suite']}, {' + '.join(facts['experts'])}",
            "",
            *(pruning_table(content, number).markdown() for number in steps),
            f"Again: `{content['measurement']['command']}`",
            "",
            f"- {machine_sentence(content['measurement'])}",
            "",
        ]
    )
