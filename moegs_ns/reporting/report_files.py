"""A report as one JSON file: everything its tables and charts are made of, and what they say.

``runs`` holds records and scores, from which every table is built again when the runs are gone; ``tables`` the numbers
for those who read the file with other tools. ``report_schema.json``, beside this module, describes both.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from moegs_ns.files import write_json
from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.numbers import deviation, mean
from moegs_ns.reporting.stored_results import StoredResult
from moegs_ns.reporting.tables import Line, Table
from moegs_ns.runs.record import describe_source, describe_versions, plain

KIND = "moegs report"
SCHEMA_VERSION = 1
SCHEMA_FILE = Path(__file__).with_name("report_schema.json")

_RECORD_KEYS = ("method", "expert", "seed", "device", "source", "versions", "model", "num_parameters", "distilled")
_PROGRESS_KEYS = ("steps_done", "training_seconds", "processor_seconds")
_SCENE_KEYS = ("scene", "layout", "num_frames", "first_frame", "fps", "cameras", "images", "resolution", "seed_points")
_IDENTIFYING_PARTS = 3
#: Ends of names of scores that charts show image by image.
_CHARTED = ("psnr", "psnr_dynamic", "flicker")


@dataclass(frozen=True)
class Reported:
    """A run of a report.

    Attributes:
        result: its record and scores.
        objects: scores per object, None where they were not asked for or the scene has no masks.
    """

    result: RunResult
    objects: dict[str, Any] | None = None


def report_content(runs: Sequence[Reported], tables: Sequence[Table]) -> dict[str, Any]:
    """The report as plain data.

    Args:
        runs: in the order they were named.
        tables: what is shown of them.
    """
    everyone = {run.result.folder.absolute(): run for run in runs}
    listed = len(everyone)
    experts = {place: run.result.experts() for place, run in everyone.items() if run.result.expert_names}
    for expert in chain.from_iterable(experts.values()):
        if not isinstance(expert, str):
            everyone.setdefault(expert.folder.absolute(), Reported(expert))
    names = _short_names([*everyone])
    numbers = {place: number for number, place in enumerate(everyone)}
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "made_by": {"source": describe_source(), "versions": describe_versions()},
        "checkpoint_rule": "the newest checkpoint of each run; scores of another step are refused",
        "runs": [
            {
                "folder": names[place],
                "listed": numbers[place] < listed,
                "experts": [_expert_content(expert, numbers) for expert in experts.get(place, [])],
                **_run_content(run),
            }
            for place, run in everyone.items()
        ],
        "tables": [_table_content(table) for table in tables],
    }


def _short_names(folders: Sequence[Path]) -> dict[Path, str]:
    """``<scene>/<method>/<name>``, what identifies a run below its output folder; more where that is not enough."""
    names = {folder: _short(folder) for folder in folders}
    parts = _IDENTIFYING_PARTS
    while len({*names.values()}) < len(names):
        parts += 1
        names = {folder: _short(folder, parts) for folder in folders}
    return names


def _expert_content(expert: RunResult | str, places: Mapping[Path, int]) -> dict[str, Any]:
    return {"missing": expert} if isinstance(expert, str) else {"run": places[expert.folder.absolute()]}


def _run_content(run: Reported) -> dict[str, Any]:
    record = run.result.record
    content: dict[str, Any] = {
        "record": {
            **{key: record[key] for key in _RECORD_KEYS if key in record},
            "scene": {key: record["scene"][key] for key in _SCENE_KEYS if key in record["scene"]},
            "progress": {key: record["progress"][key] for key in _PROGRESS_KEYS if key in record["progress"]},
        },
        "scores": {key: value for key, value in run.result.scores.items() if key != "per_image"},
        "per_image": _charted(run.result.scores.get("per_image", [])),
        "objects": run.objects,
    }
    return _without_folders(plain(content))


def _charted(rows: Any) -> list[dict[str, Any]]:
    """Of every image its camera, frame and what charts show of it."""
    return [
        {
            name: value
            for name, value in row.items()
            if name in ("camera", "frame") or name.rpartition("/")[2] in _CHARTED
        }
        for row in rows
    ]


def _short(folder: Path, parts: int = _IDENTIFYING_PARTS) -> str:
    return "/".join(folder.parts[-parts:])


def _without_folders(content: Any) -> Any:
    """The same data, run folders of this machine cut down to what identifies them."""
    record = content["record"]
    config = record["expert"].get("config", {})
    shortened = {
        key: [_short(Path(one)) for one in config[key]] if isinstance(config[key], list) else _short(Path(config[key]))
        for key in ("experts", "source", "teacher")
        if config.get(key)
    }
    origins = {
        name: {**origin, "run": _short(Path(origin["run"]))} if origin.get("run") else origin
        for name, origin in (record.get("model") or {}).get("expert_origins", {}).items()
    }
    record["expert"] = {**record["expert"], "config": {**config, **shortened}}
    if origins:
        record["model"] = {**record["model"], "expert_origins": origins}
    described = content["scores"].get("protocol", {}).get("model", {})
    if "expert_origins" in described and origins:
        content["scores"]["protocol"]["model"] = {**described, "expert_origins": origins}
    return content


def _table_content(table: Table) -> dict[str, Any]:
    content: dict[str, Any] = {
        "title": table.title,
        "header": table.header,
        "rows": table.rows,
        "emphasised": list(table.emphasised),
        "notes": table.notes,
        "numbers": [_line_content(line) for line in table.lines],
    }
    if table.runs:
        content["protocol"] = _shared_protocol(table.runs)
    return plain(content)


def _line_content(line: Line) -> dict[str, Any]:
    return {
        "label": line.label,
        "seeds": line.seeds,
        "published": None if line.published is None else {"psnr": line.published.psnr, "source": line.published.source},
        "values": {
            name: {"mean": mean(values), "sd": deviation(values), "per_seed": list(values)}
            for name, values in line.values.items()
        },
    }


def _shared_protocol(runs: Sequence[RunResult]) -> dict[str, Any]:
    """What the runs of a table have in common, and by which commits they were trained and evaluated."""
    first = runs[0].protocol
    keys = ("split", "cameras", "frames", "images", "resolution", "metrics", "averaging", "checkpoint_rule")
    commits = {
        "trained_by": [run.record.get("source") for run in runs],
        "evaluated_by": [run.protocol.get("source") for run in runs],
    }
    return {
        **{key: first[key] for key in keys if key in first},
        **{name: [one for i, one in enumerate(states) if one not in states[:i]] for name, states in commits.items()},
    }


def write_report(file: Path, content: Mapping[str, Any]) -> Path:
    """Write a report; readers see the old or the new file, never half of one."""
    write_json(file, content)
    return file


def is_report(path: Path) -> bool:
    """Whether a report is asked for rather than a run: a JSON file that is no run record."""
    return path.suffix == ".json" and path.name != "run.json" and not path.is_dir()


def read_report(file: Path) -> list[Reported]:
    """The runs a report was made of, in the order they were named.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no report, or of another version.
    """
    if not file.is_file():
        raise FileNotFoundError(f"expected a report at {file}, found none; make it: moegs report RUN ... --json {file}")
    try:
        content = json.loads(file.read_text("utf8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"expected JSON in the report {file}, found something else ({error})") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError(f"expected a report that `moegs report --json` wrote in {file}, found other data")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"expected a report of schema version {SCHEMA_VERSION} in {file}, found {content.get('schema_version')}; "
            "use the moegs_ns version that wrote it"
        )
    try:
        return _runs(content["runs"])
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"expected the runs of a report in {file}, found a part missing ({error!r})") from error


def _runs(runs: Sequence[Mapping[str, Any]]) -> list[Reported]:
    alone = [
        StoredResult(Path(one["folder"]), one["record"], {**one["scores"], "per_image": one["per_image"]})
        for one in runs
    ]
    reported = []
    for one, result in zip(runs, alone, strict=True):
        experts = tuple(alone[expert["run"]] if "run" in expert else expert["missing"] for expert in one["experts"])
        if one["listed"]:
            reported.append(Reported(replace(result, stored_experts=experts), one["objects"]))
    return reported
