"""The section of docs/performance.md on benchmarks/step_profile.py's measurements, and what they are judged by."""

from dataclasses import dataclass
from typing import Any

from machine import machine_sentence

#: Stages by the names the stored measurements use for them.
NETWORKS, GRIDS, RASTERIZATION = "networks", "grids", "rasterization"
#: All else in a step may cost at most as much as rasterization.
REST_BOUND = 1.0
#: Networks and grids may cost at most this many times their matrix products and gathers alone.
BARE_BOUND = 1.5


@dataclass(frozen=True)
class Judgment:
    """One ratio against its bound.

    Attributes:
        ratio: measured; None where there is nothing to judge.
        bound: largest ratio allowed.
    """

    ratio: float | None
    bound: float

    @property
    def passes(self) -> bool:
        """Whether the ratio is within the bound."""
        return self.ratio is None or self.ratio <= self.bound

    def __str__(self) -> str:
        if self.ratio is None:
            return "-"
        return f"{self.ratio:.2f}" if self.passes else f"**{self.ratio:.2f}, above {self.bound:g}**"


def stage_ms(one: dict[str, Any], stage: str) -> float:
    """Milliseconds of a stage in a mean step, forward and backward."""
    return sum(one["stages"].get(stage, {}).values())


def step_ms(one: dict[str, Any]) -> float:
    """Milliseconds of a mean step: all its stages."""
    return sum(stage_ms(one, stage) for stage in one["stages"])


def rest(one: dict[str, Any]) -> Judgment:
    """Everything but networks, grids and rasterization, against rasterization."""
    rasterization = stage_ms(one, RASTERIZATION)
    others = step_ms(one) - rasterization - stage_ms(one, NETWORKS) - stage_ms(one, GRIDS)
    return Judgment(others / rasterization, REST_BOUND)


def against_bare(one: dict[str, Any], stage: str) -> Judgment:
    """Networks or grids against the fastest way to do their bare work."""
    bare = sum(
        min(network["bare_ms"].values())
        for network in one["networks"].values()
        if network["stage"] == stage and network["bare_ms"]
    )
    return Judgment(stage_ms(one, stage) / bare if bare else None, BARE_BOUND)


def profile_section(result: dict[str, Any]) -> str:
    """Markdown of the stored measurements."""
    workload, measurement = result["workload"], result["measurement"]
    width, height = workload["image_size"]
    lines = [
        "## A training step, expert by expert",
        "",
        f"- command: `{measurement['command']}`, seed {measurement['seed']}",
        f"- machine: {machine_sentence(measurement)}",
        f"- clock: {_CLOCKS[result['clock']]}",
        f"- preset `{workload['preset']}`, scene `{workload['scene']}` at {width}x{height}, {workload['gaussians']:,} "
        "Gaussians with sizes, rotations and opacities like a trained model's, half-way through the schedule",
        "",
        *_experts_table(result),
        "",
        f"A stage's time is the mean over a round of density control of each step's median over {workload['rounds']} "
        "rounds.",
        "*Elsewhere* is the trainer, the pipeline and what lies between the stages.",
    ]
    for threads, row in result["threads"].items():
        lines += ["", f"### {threads} thread{'s'[: threads != '1']}", "", *_stages_table(result, row["experts"])]
    lines += ["", "### Judged", "", *_judgments_table(result)]
    return "\n".join([*lines, ""])


_CLOCKS = {
    "wall": "time on the wall",
    "cpu": "the processor's time for the process, all threads added up (the machine had other work)",
}


def _experts_table(result: dict[str, Any]) -> list[str]:
    lines = [
        "| expert | Gaussians | images a step | seen by an image | numbers of the preset |",
        "|---|---|---|---|---|",
    ]
    first = next(iter(result["threads"].values()))["experts"]
    for name, one in first.items():
        numbers = result["workload"]["numbers"][name]
        said = ", ".join(f"{key} {_value(value)}" for key, value in numbers.items())
        lines.append(
            f"| {name} | {one['gaussians']:,} | {one['rasterizations_per_step']:g} | {one['visible_share']:.0%} | "
            f"{said} |"
        )
    return lines


def _value(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _stages_table(result: dict[str, Any], experts: dict[str, Any]) -> list[str]:
    """Stages as multiples of rasterization, whose milliseconds are given, forward + backward."""
    lines = [f"| | {' | '.join(experts)} |", f"|{'---|' * (1 + len(experts))}"]
    for stage in result["stage_names"]:
        if not any(stage in one["stages"] for one in experts.values()):
            continue
        cells = []
        for one in experts.values():
            ratio = stage_ms(one, stage) / stage_ms(one, RASTERIZATION)
            cells.append(f"{ratio:.2f}{_directions(one, stage)}" if stage in one["stages"] else "-")
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    lines.append(
        f"| **step** | {' | '.join(f'{step_ms(one) / stage_ms(one, RASTERIZATION):.2f}' for one in experts.values())} |"
    )
    for label, value in (
        ("rasterization, ms", lambda one: stage_ms(one, RASTERIZATION)),
        ("step, ms", step_ms),
        ("step nobody looked into, ms", lambda one: one["step_without_clock_ms"]),
    ):
        lines.append(f"| {label} | {' | '.join(f'{value(one):.1f}' for one in experts.values())} |")
    return ["Multiples of rasterization (forward + backward):", "", *lines]


def _directions(one: dict[str, Any], stage: str) -> str:
    shares = [one["stages"][stage].get(way, 0.0) / stage_ms(one, RASTERIZATION) for way in ("forward", "backward")]
    return f" ({shares[0]:.2f} + {shares[1]:.2f})" if min(shares) >= 0.005 else ""


def _judgments_table(result: dict[str, Any]) -> list[str]:
    lines = [
        f"*The rest*: everything but networks, grids and rasterization, against rasterization; at most {REST_BOUND:g}. "
        "*Networks*, *grids*:",
        "their evaluation against the same matrix products, or the same gathers or `grid_sample`, whichever is faster, "
        f"alone in the same run; at most {BARE_BOUND:g}.",
        "",
        "| expert | threads | the rest | networks | grids | bare ms |",
        "|---|---|---|---|---|---|",
    ]
    for threads, row in result["threads"].items():
        for name, one in row["experts"].items():
            bare = "; ".join(
                f"{network['class']}, {network['rows']:,} rows: "
                + ", ".join(f"{way} {milliseconds:.2f}" for way, milliseconds in network["bare_ms"].items())
                for network in one["networks"].values()
                if network["bare_ms"]
            )
            judged = (rest(one), against_bare(one, NETWORKS), against_bare(one, GRIDS))
            lines.append(f"| {name} | {threads} | {' | '.join(map(str, judged))} | {bare or '-'} |")
    return lines
