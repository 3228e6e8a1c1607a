"""docs/data_check.md: what `moegs data check` said of good and broken scenes."""

from pathlib import Path
from typing import Any

from machine import machine_sentence

_HEAD = """# What moegs data check says of good and broken scenes

Written by [benchmarks/data_check.py](../benchmarks/data_check.py) from
[benchmarks/results/data_check.json](../benchmarks/results/data_check.json); do not edit. Limits stand in
`moegs_ns/checking`, each beside the check it belongs to; a limit has to lie clear of what good scenes show and of what
broken ones do.
"""
# Check, number, what it is, factor to show it by, and the broken scenes it has to stand out in.
_MARGINS = (
    ("epipolar", "median_share_of_diagonal", "epipolar error of a pair (median), % of the diagonal", 100, ()),
    (
        "poses",
        "worst_share_of_diagonal",
        "error of the worst view beside the others, % of the diagonal",
        100,
        ("pose turned by 2 degrees", "pose rolled by 2 degrees", "pose tilted by 2 degrees"),
    ),
    (
        "order",
        "misfit_as_given",
        "share of matches off their lines, %",
        100,
        ("two video files swapped", "rows of poses reversed"),
    ),
    ("synchrony", "least_correlation", "least correlation of motion", 1, ()),
    ("synchrony", "least_margin", "by how much lower one frame beside (least camera)", 1, ()),
    ("colours", "largest", "largest gain of a view", 1, ()),
    (
        "sharpness",
        "largest_below_median",
        "softest view below the median, log",
        1,
        ("video enlarged from half the size",),
    ),
    ("repeated frames", "smallest_share_of_usual_step", "smallest step between frames, share of the usual", 1, ()),
    ("seed coverage", "mean", "share of cells with seeds, %", 100, ()),
    ("seed places", "median_log_depth_difference", "depth of seeds beside triangulated points, log", 1, ()),
    ("bounds", "share_before_near", "content before near, %", 100, ()),
)
_LIMITS = ("limit_share_of_diagonal", "limit", "limit_below_median", "limit_share_of_usual_step", "limit_mean")
_LIMITS += ("limit_median_log_depth_difference",)


def write_page(path: Path, kept: dict[str, Any]) -> None:
    """Write the page of everything kept."""
    scenes = kept["scenes"]
    lines = [
        _HEAD,
        "## Good scenes",
        "",
        "| scene | verdict | seconds | of processors | not fine |",
        "|---|---|---|---|---|",
    ]
    for name, entry in scenes.items():
        good = entry["good"]
        flagged = ", ".join(
            check for check, results in good["checks"].items() if any(one["verdict"] != "fine" for one in results)
        )
        clock = f"{good['seconds']:.0f} | {good['processor_seconds']:.0f}"
        lines.append(f"| {name} | {good['verdict']} | {clock} | {flagged or '-'} |")
    lines += ["", "## Broken copies", ""]
    lines.append("*Found* means: flagged by the check it should be, for the right reason, with the cameras concerned.")
    for name, entry in scenes.items():
        if entry["broken"]:
            lines += ["", f"### {name}", "", "| fault | cameras | found | verdict | said |", "|---|---|---|---|---|"]
            lines += [_row(fault, one) for fault, one in entry["broken"].items()]
    lines += ["", "## Margins", "", "Of broken scenes, the numbers of those in which they have to stand out.", ""]
    header = ["check", "number", "limit", *scenes, "broken"]
    lines += [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    lines += [_margin(scenes, *row) for row in _MARGINS]
    seconds = (
        "Seconds are wall time beside other work; those of all processors together, divided by its cores, are about "
        "what an idle machine takes."
    )
    lines += ["", f"{seconds} {machine_sentence(kept['measurement'])}", ""]
    path.write_text("\n".join(lines), "utf8")


def _row(fault: str, one: dict[str, Any]) -> str:
    said = [
        f"*{check}*: {result['sentence'].replace('|', '/')}"
        for check, results in one["checks"].items()
        for result in results
        if result["verdict"] != "fine"
    ]
    cameras = one["cameras"]
    named = ", ".join(cameras) if len(cameras) < 4 else f"all {len(cameras)}"
    return (
        f"| {fault} | {named or '-'} | {'yes' if one['found'] else '**no**'} | {one['verdict']} | {'<br>'.join(said)} |"
    )


def _margin(scenes: dict[str, Any], check: str, key: str, what: str, factor: float, faults: tuple[str, ...]) -> str:
    values = [_number(entry["good"], check, key) for entry in scenes.values()]
    broken = [
        value
        for entry in scenes.values()
        for fault in faults
        if fault in entry["broken"] and (value := _number(entry["broken"][fault], check, key)) is not None
    ]
    limits = [
        limit
        for entry in scenes.values()
        for name in _LIMITS
        if (limit := _number(entry["good"], check, name)) is not None
    ]
    limit = " / ".join(dict.fromkeys(_shown(one, factor) for one in limits)) or "-"
    spread = f"{_shown(min(broken), factor)} to {_shown(max(broken), factor)}" if broken else "-"
    return f"| {check} | {what} | {limit} | {' | '.join(_shown(value, factor) for value in values)} | {spread} |"


def _number(summary: dict[str, Any], check: str, key: str) -> float | None:
    found = [one["numbers"].get(key) for one in summary["checks"].get(check, [])]
    return found[0] if found else None


def _shown(value: float | None, factor: float) -> str:
    return "-" if value is None else f"{factor * value:.3g}"
