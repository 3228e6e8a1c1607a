"""Verdicts of `moegs data check` over good scenes and over copies of them that are broken in one way each.

    python benchmarks/data_check.py

Prints a line per scene, and writes benchmarks/results/data_check.json and docs/data_check.md. Scenes that are not there
are left out; results kept of them stay.
"""

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from broken_scenes import FAULTS, FURTHER_FAULTS, Fault, break_scene
from data_check_page import write_page
from machine import describe_measurement
from rich.console import Console
from suites import RESULTS, ROOT

from moegs_ns.benching.find_data import find_data
from moegs_ns.checking.check import Report, check_scene
from moegs_ns.checking.reading import parser_config
from moegs_ns.checking.result import Verdict

KEPT = RESULTS / "data_check.json"
PAGE = ROOT / "docs" / "data_check.md"
GOOD = {"mixed": "n3v-data", "basketball": "n3v-data", "mixed_vrig": "hypernerf-data", "windmill": "hypernerf-data"}
BROKEN = ("mixed", "basketball")
#: Of each check, the measured number its verdict hangs on, and the limit beside it.
KEY_NUMBERS = {
    "epipolar": ("worst_share_of_diagonal", "median_share_of_diagonal", "limit_share_of_diagonal"),
    "poses": ("worst_share_of_diagonal", "limit_share_of_diagonal"),
    "order": ("misfit_as_given", "misfit_of_best_order", "limit"),
    "colours": ("largest", "limit"),
    "sharpness": ("largest_below_median", "limit_below_median"),
    "repeated frames": ("smallest_share_of_usual_step", "limit_share_of_usual_step"),
    "seed coverage": ("points", "mean", "limit_mean"),
    "seed places": ("median_log_depth_difference", "limit_median_log_depth_difference"),
    "bounds": ("share_before_near", "limit"),
}


@dataclass
class Arguments:
    """Check good and broken scenes."""

    scenes: tuple[str, ...] = tuple(GOOD)
    """Which of the good scenes, and of their broken copies."""
    output: Path = KEPT
    """JSON file to write; scenes in it that are not checked now stay."""
    page: Path = PAGE
    """Page to write."""


def summary(report: Report, clock: dict[str, float]) -> dict[str, Any]:
    """Verdicts and the numbers they hang on, as plain data."""
    checks = {}
    for result in report.results:
        data = result.as_data()
        numbers = {key: data["numbers"].get(key) for key in KEY_NUMBERS.get(result.name, ())}
        if result.name == "synchrony" and not result.skipped:
            cameras = data["numbers"]["cameras"]
            numbers = {
                "least_correlation": min(one["correlation"] for one in cameras.values()),
                "least_margin": min(one["margin"] for one in cameras.values()),
                "least_gain_to_count": data["numbers"]["least_gain"],
                "offsets": {name: one["frames_late"] for name, one in cameras.items() if one["frames_late"]},
            }
        flagged = {"sentence": result.sentence, "cameras": data["cameras"]} if result.verdict > Verdict.FINE else {}
        checks.setdefault(result.name, []).append({"verdict": data["verdict"], **flagged, "numbers": numbers})
    return {"verdict": report.verdict.word, **clock, "checks": checks}


def was_found(report: Report, fault: Fault, cameras: tuple[str, ...]) -> bool:
    """Whether a check that should flagged the fault, said why, and named the cameras concerned and no others."""
    flagged = [one for one in report.results if one.verdict > Verdict.FINE]
    right = [one for one in flagged if one.name in fault.checks and fault.says in one.sentence]
    return bool(right) and all(set(one.cameras) == set(cameras) for one in right)


def check(data: Path, parser: str) -> tuple[Report, dict[str, float]]:
    """Check a scene, and how long that took: by the clock, and of all processors together, which other work on the
    machine changes little."""
    wall, processor = time.perf_counter(), time.process_time()
    report = check_scene(parser_config(data, parser, ()))
    clock = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
    return report, {name: round(value, 1) for name, value in clock.items()}


def main(arguments: Arguments) -> None:
    console = Console()
    kept = json.loads(arguments.output.read_text("utf8")) if arguments.output.is_file() else {}
    scenes = kept.get("scenes", {})
    for name in arguments.scenes:
        try:
            data = find_data("examples/mixed" if name == "mixed" else name)
        except FileNotFoundError as error:
            console.print(f"{name}: {error}", style="yellow")
            continue
        report, clock = check(data, GOOD[name])
        entry: dict[str, Any] = {"parser": GOOD[name], "good": summary(report, clock), "broken": {}}
        console.print(f"{name}: {report.verdict.word}, {clock}")
        for fault in (*FAULTS, *FURTHER_FAULTS) if name in BROKEN else ():
            with tempfile.TemporaryDirectory() as folder:
                cameras = break_scene(data, Path(folder) / name, fault)
                report, clock = check(Path(folder) / name, GOOD[name])
            found = was_found(report, fault, cameras)
            entry["broken"][fault.name] = {
                "cameras": list(cameras),
                "found": found,
                **_without(summary(report, clock), folder),
            }
            console.print(f"  {fault.name}: {report.verdict.word}, found {found}, {clock}")
        scenes[name] = entry
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        result = {"measurement": describe_measurement(), "scenes": scenes}
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", "utf8")
    write_page(arguments.page, json.loads(arguments.output.read_text("utf8")))


def _without(data: Any, folder: str) -> Any:
    """Sentences name files; where they lay for a moment is nobody's business."""
    return json.loads(json.dumps(data).replace(f"{folder}/", ""))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
