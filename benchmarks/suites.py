"""What is kept of the runs a table of docs/results.md is made of.

Which runs these are, suites say (`moegs_ns.benching`). What is kept of a run is one JSON file, enough to write the
tables again when the run itself is gone, and free of this machine's folders.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from moegs_ns.benching.find_data import data_dir, default_data_dir
from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.stored_results import StoredResult
from moegs_ns.training.stages import Stage

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SWEEP_RESULTS = RESULTS / "sweeps"
PRUNING_RESULTS = RESULTS / "pruning"
FUSION_RESULTS = RESULTS / "fusion"
DISTILLATION_RESULTS = RESULTS / "distillation"
#: Folders of results that are not of suites.
_NO_SUITES = {folder.name for folder in (SWEEP_RESULTS, PRUNING_RESULTS, FUSION_RESULTS, DISTILLATION_RESULTS)}
SCHEMA_VERSION = 1
_RECORD_KEYS = ("method", "expert", "seed", "device", "source", "versions", "model", "num_parameters")
_PROGRESS_KEYS = ("steps_done", "training_seconds", "processor_seconds")
_SCENE_KEYS = ("scene", "layout", "num_frames", "cameras", "images", "resolution", "seed_points")


def portable(value: Any) -> Any:
    """The same data with this machine's folders written as a reader would name them."""
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    if isinstance(value, str):
        shown_data = "../shared/data" if data_dir() == default_data_dir() else "$MOEGS_DATA_DIR"
        for folder, name in (
            (f"{ROOT}/", ""),
            (str(ROOT), "."),
            (str(data_dir()), shown_data),
            (str(Path.home()), "~"),
        ):
            value = value.replace(folder, name)
    return value


def shown_with_state(stage: Stage) -> str:
    """A planned command line as one would type it, and how far its run is."""
    return f"{portable(stage.shown())}  # {stage.state()}"


def keep(result: RunResult, stage: Stage, extra: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an evaluated run, as plain data.

    Args:
        result: the run.
        stage: what it was planned as, for its command line.
        extra: further entries, such as the temporal mean.
    """
    scores = dict(result.scores)
    rows = scores.pop("per_image")
    record = {key: result.record.get(key) for key in _RECORD_KEYS}
    record["scene"] = {key: result.record["scene"].get(key) for key in _SCENE_KEYS}
    progress = result.record["progress"]
    record["progress"] = {key: progress[key] for key in _PROGRESS_KEYS if key in progress}
    kept = {
        "schema_version": SCHEMA_VERSION,
        "run": run_key(result.folder),
        "command": stage.shown(),
        "record": record,
        "scores": scores,
        "per_image": [[row["camera"], row["frame"], round(row["psnr"], 3)] for row in rows],
        **extra,
    }
    return portable(kept)


def run_key(folder: Path) -> str:
    """``<scene>/<method>/<name>``, what identifies a run below its output folder."""
    return "/".join(folder.parts[-3:])


def result_file(folder: Path, run: str) -> Path:
    """The JSON file of a run, by its key."""
    return folder / f"{run.replace('/', '_')}.json"


#: What was kept of a run: its file's content, and a result to build tables from.
Kept = tuple[dict[str, Any], StoredResult]


def write_json(file: Path, content: Any) -> None:
    """Write the file as a whole: readers see the old or the new one, never half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".tmp")
    scratch.write_text(json.dumps(content, indent=1) + "\n", "utf8")
    scratch.replace(file)


def read_versioned(folder: Path, script: str) -> list[dict[str, Any]]:
    """What a benchmark script kept in a folder of its own, ordered by name; nothing where the folder does not exist.

    Raises:
        ValueError: a file was written by another version.
    """
    found = {file.name: json.loads(file.read_text("utf8")) for file in sorted(folder.glob("*.json"))}
    other = [name for name, one in found.items() if one.get("schema_version") != SCHEMA_VERSION]
    if other:
        raise ValueError(
            f"expected results of schema version {SCHEMA_VERSION} in {folder}, found others ({', '.join(other)}); run "
            f"benchmarks/{script} again"
        )
    return [*found.values()]


def read_results(folder: Path) -> list[Kept]:
    """Everything kept of a suite, ordered by run.

    Raises:
        ValueError: a file was written by another version.
    """
    kept: list[dict[str, Any]] = [json.loads(file.read_text("utf8")) for file in sorted(folder.glob("*.json"))]
    other = [one.get("run", "unknown run") for one in kept if one.get("schema_version") != SCHEMA_VERSION]
    if other:
        raise ValueError(
            f"expected results of schema version {SCHEMA_VERSION} in {folder}, found others ({', '.join(other)}); "
            "run benchmarks/run_suite.py again"
        )
    alone = {one["run"]: StoredResult(Path(one["run"]), one["record"], one["scores"]) for one in kept}
    return [(one, replace(alone[one["run"]], stored_experts=_kept_experts(one["record"], alone))) for one in kept]


def _kept_experts(record: dict[str, Any], kept: Mapping[str, StoredResult]) -> tuple[RunResult | str, ...]:
    """What was kept of the runs a mixture's experts came from, else in words that there is nothing."""
    keys = [run_key(Path(folder)) for folder in record["expert"].get("config", {}).get("experts", [])]
    return tuple(kept.get(key, f"{key} was not kept") for key in keys)


def read_suite_results(results: Path) -> dict[str, list[Kept]]:
    """Everything kept of all suites, by their folders' names; sweeps, pruning curves, fusions and
    distillations are no suites."""
    folders = [folder for folder in sorted(results.iterdir()) if folder.is_dir() and folder.name not in _NO_SUITES]
    return {folder.name: kept for folder in folders if (kept := read_results(folder))}
