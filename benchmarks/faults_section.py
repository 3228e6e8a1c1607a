"""The section of docs/performance.md on what benchmarks/faults.py kept."""

from collections import Counter
from typing import Any

from machine import machine_sentence

_COMPARED = {
    "train": "two experts, the router on them and a student, by `moegs train`: every tensor of every last checkpoint",
    "prepare": "`moegs data prepare`: what `moegs data check` says of the scene, check by check",
    "export": "`moegs export --format ply`: every byte of every file",
}


def _row(name: str, one: dict[str, Any]) -> str:
    outcome = "the same" if one["same"] else "**different**"
    numbers = f"{one['kills']} | {_stages(one['hit'])} | {one['starts']} | {one['seconds']:,.0f}"
    return f"| {name} | {numbers} | {_COMPARED[name]} | {outcome} |"


def _stages(hit: list[str]) -> str:
    """Which stages the kills hit, and how often."""
    counts = Counter(stage.removeprefix("ns-train moegs-") or "the command" for stage in hit)
    return ", ".join(f"{stage} {count}" for stage, count in counts.items())


def faults_section(report: dict[str, Any]) -> str:
    """Markdown of the stored kills."""
    about, jobs = report["measurement"], report["jobs"]
    kills = sum(one["kills"] for one in jobs.values())
    lines = [
        "## Kills",
        "",
        f"`make faults` killed commands {kills} times by SIGKILL, at random moments in every stage, half of the times "
        "with all their children, and called them again until they were done. Then they were "
        f"compared with undisturbed ones. `{about['command']}`, seed {about['seed']}; {machine_sentence(about)}.",
        "",
        "| | kills | in | starts | undisturbed, s | compared | outcome |",
        "| --- | ---: | --- | ---: | ---: | --- | --- |",
        *(_row(name, one) for name, one in jobs.items()),
    ]
    return "\n".join([*lines, ""])
