"""The section of docs/performance.md on benchmarks/projection_share.py's measurements."""

from textwrap import wrap
from typing import Any

from machine import machine_sentence

#: Share of a step from which on it pays to remember projections.
WORTH = 0.15
_PAGE_WIDTH = 118


def projection_section(report: dict[str, Any]) -> str:
    """Markdown of the stored measurements."""
    workload, rows = report["workload"], report["rows"]
    shares = [(row["projection"] + row["binning"]) / row["step"] for row in rows]
    size = f"{workload['width']}x{workload['height']}"
    return "\n".join(
        [
            "## What remembering projections would save",
            "",
            f"- command: `{report['measurement']['command']}`, seed {report['measurement']['seed']}",
            f"- machine: {machine_sentence(report['measurement'])}",
            "",
            *wrap(
                f"A router's training step over {workload['experts']} frozen experts with {workload['gaussians']:,} "
                f"Gaussians together, one image of {size}; medians of {report['rounds']} rounds. Where the Gaussians "
                "project to and which tiles list them is the same whenever a camera comes again at the same time. It "
                f"is at most {max(shares):.1%} of a step, {_verdict(max(shares))}",
                _PAGE_WIDTH,
            ),
            "",
            "| threads | step, ms | projection, ms | binning, ms | both / step |",
            "|---|---|---|---|---|",
            *(_row(row, share) for row, share in zip(rows, shares, strict=True)),
            "",
            *(f"- {_visits(one)}" for one in report["visits"]),
            *([""] if report["visits"] else []),
        ]
    )


def _row(row: dict[str, Any], share: float) -> str:
    stages = f"{row['projection']:.2f} | {row['binning']:.2f}"
    return f"| {row['threads']} | {row['step']:.1f} | {stages} | {share:.1%} |"


def _verdict(share: float) -> str:
    if share < WORTH:
        return f"less than the {WORTH:.0%} from which on it would pay: only the Gaussians of an instant are remembered."
    return f"not less than the {WORTH:.0%} from which on it pays to remember them, as the Gaussians of an instant are."


def _visits(one: dict[str, Any]) -> str:
    again = max(0.0, 1 - one["pairs"] / one["steps"])
    return (
        f"{one['scene']}, preset `{one['preset']}`: {one['steps']:,} steps over {one['pairs']:,} pairs of camera and "
        f"time, each once before any comes again: {again:.0%} of the steps see one again."
    )
