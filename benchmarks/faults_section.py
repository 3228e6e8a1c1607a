"""The section of docs/performance.md on what benchmarks/faults.py kept."""

from typing import Any

from machine import machine_sentence

_COMPARED = {
    "train": "two experts, the router on them and a student, by `moegs train`: every tensor of every last checkpoint",
    "prepare": "`moegs data prepare`: what `moegs data check` says of the scene, check by check",
    "export": "`moegs export --format ply`: every byte of every file",
}


def faults_section(report: dict[str, Any]) -> str:
    """Markdown of the stored kills."""
    about, jobs = report["measurement"], report["jobs"]
    kills = sum(one["kills"] for one in jobs.values())
    lines = [
        "## Kills",
        "",
        f"`make faults` killed commands {kills} times by SIGKILL, at moments drawn from the time the undisturbed one "
        "takes, half of the times with all their children, and called them again until they were done. Then they were "
        f"compared with undisturbed ones. `{about['command']}`, seed {about['seed']}; {machine_sentence(about)}.",
        "",
        "| | kills | starts | undisturbed, s | compared | outcome |",
        "| --- | ---: | ---: | ---: | --- | --- |",
        *(
            f"| {name} | {one['kills']} | {one['starts']} | {one['seconds']:,.0f} | {_COMPARED[name]} | "
            f"{'the same' if one['same'] else '**different**'} |"
            for name, one in jobs.items()
        ),
    ]
    return "\n".join([*lines, ""])
