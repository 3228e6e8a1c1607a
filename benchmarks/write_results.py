"""Write docs/results.md from what benchmarks/run_suite.py kept; nothing in that page is typed by hand.

python benchmarks/write_results.py
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from machine import machine_sentence
from rich.console import Console
from suites import RESULTS, ROOT, StoredResult, read_results

from moegs_ns.reporting.rows import MIXTURE
from moegs_ns.reporting.tables import Table, build_tables, mean_and_deviation

PAGE = ROOT / "docs" / "results.md"
TEMPORAL_MEAN = "temporal mean"
_HEAD = """# Results

Written by [benchmarks/write_results.py](../benchmarks/write_results.py) from the JSON files in
[benchmarks/results](../benchmarks/results), which `python benchmarks/run_suite.py SUITE` makes; do not edit. The test
camera is rendered by `ns-eval` once per run, after training. *Temporal mean* is the average over time of the test
camera's own frames: the score no model without motion can beat.
"""


@dataclass
class Arguments:
    """Write docs/results.md."""

    results: Path = RESULTS
    """Folder with one folder of JSON files per suite."""
    output: Path = PAGE
    """Page to write."""


def with_temporal_mean(table: Table, psnr: float, results: Sequence[StoredResult]) -> Table:
    """The table with the temporal mean as its first row, and how far above it the runs are."""
    row = [TEMPORAL_MEAN, *(f"{psnr:.2f}" if name == "PSNR" else "-" for name in table.header[1:])]
    leads: dict[str, list[float]] = {}
    for result in results:
        label = MIXTURE if result.expert_names else result.expert
        leads.setdefault(label, []).append(result.scores["psnr"] - psnr)
    said = ", ".join(f"{label} {mean_and_deviation(values, '+.2f')} dB" for label, values in leads.items())
    return dataclasses.replace(
        table,
        rows=[row, *table.rows],
        notes=[f"Against the temporal mean: {said}.", *table.notes],
        emphasised=tuple(number + 1 for number in table.emphasised),
    )


def suite_section(kept: Sequence[tuple[dict[str, Any], StoredResult]]) -> str:
    """One suite: what it is, its tables, its commands and its machines."""
    files = [one for one, _ in kept]
    # A run that a kept mixture mixes has its row in the mixture's table.
    mixed = {sibling.folder for _, result in kept for sibling in result.experts() if not isinstance(sibling, str)}
    shown = [result for _, result in kept if result.folder not in mixed]
    means = {round(one["temporal_mean"]["psnr"], 6) for one in files if one["temporal_mean"]}
    tables = build_tables(shown)
    if len(means) == 1:
        everything = [result for _, result in kept]
        tables = [with_temporal_mean(table, next(iter(means)), everything) for table in tables]
    commands = "\n".join(f"{one['command']}  # seed {one['record']['seed']}" for one in files)
    machines = dict.fromkeys(
        machine_sentence({**one["measurement"], "source": one["record"]["source"]}) for one in files
    )
    suite = files[0]["suite"]
    return "\n".join(
        [
            f"## {suite['name']}",
            "",
            suite["description"],
            "",
            *(table.markdown() for table in tables),
            f"Again: `python benchmarks/run_suite.py {suite['name']}`, which runs",
            "",
            "```bash",
            commands,
            "```",
            "",
            *(f"- {machine}" for machine in machines),
            "",
        ]
    )


def page(results: Path) -> str:
    """The whole page."""
    sections = [
        suite_section(kept)
        for folder in sorted(results.iterdir())
        if folder.is_dir() and (kept := read_results(folder))
    ]
    return "\n".join([_HEAD, *(sections or ["No suite has been run yet.\n"])])


def main(arguments: Arguments) -> None:
    text = page(arguments.results)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text, "utf8")
    Console().print(f"wrote {arguments.output}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
