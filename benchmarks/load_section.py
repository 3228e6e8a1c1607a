"""The section of docs/performance.md on benchmarks/load.py's measurements."""

from typing import Any

from machine import machine_sentence

_COUNTED = ("tensors", "blocks", "threads", "files")


def load_section(report: dict[str, Any]) -> str:
    """Markdown of the stored measurements: what grew, per 1,000 steps, pictures or cycles."""
    watched = {name: one for name, one in report.items() if "slopes" in one}
    budgets = [row for one in report.values() for row in one.get("rows", ())]
    lines = [
        "## Load",
        "",
        "Memory under load: `make load`, with the limits of [tests/load/limits.py](../tests/load/limits.py). Growth is "
        "per 1,000, the median of the slopes between all pairs of samples; memory is what is resident without mapped "
        "files and in use, in MiB; blocks are of Python's own memory. A training's first half is a warm-up, in which "
        "its Gaussians grow in number.",
        "",
        *(_measured(name, one) for name, one in report.items()),
        "",
        "| | from | to | memory, MiB | growth of memory | of " + " | of ".join(_COUNTED) + " |",
        "| --- | ---: | ---: | ---: | ---: |" + " ---: |" * len(_COUNTED),
        *(_row(name, one) for name, one in watched.items()),
        "",
    ]
    if "viewer" in watched:
        one = watched["viewer"]
        received = ", ".join(map(str, one["received"]))
        lines.append(
            f"- viewer: {one['visitors']} windows at once, opened and closed {one['visits']} times; pictures that "
            f"came: {received}; no thread that renders was left."
        )
    for row in budgets:
        lines.append(
            f"- `--ram-budget {row['budget'] / 1e9:g}`, {row['frames'] / 1e6:.1f} MB of frames (`--downscale "
            f"{row['downscale']}`), {row['draws']:,} drawn: at most {row['most'] / 1e6:.2f} MB in memory, "
            f"{row['wrong']} wrong."
        )
    return "\n".join([*lines, ""])


def _measured(name: str, one: dict[str, Any]) -> str:
    about = one["measurement"]
    return f"- {name}: `{about['command']}`, seed {about['seed']}, {one['seconds']:,.0f} s; {machine_sentence(about)}"


def _row(name: str, one: dict[str, Any]) -> str:
    slopes, held = one["slopes"], f"{one['first']['memory']:.1f} to {one['last']['memory']:.1f}"
    counted = " | ".join(f"{slopes[what]:+.3g}" for what in _COUNTED)
    label = f"{name}, {one['unit']}s"
    return f"| {label} | {one['from']:,} | {one['to']:,} | {held} | {slopes['memory']:+.3g} | {counted} |"
