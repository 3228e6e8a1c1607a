"""Run records: plain data in, clear errors out."""

import dataclasses
import enum
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from moegs_ns.runs.record import (
    RUN_RECORD_NAME,
    SCHEMA_VERSION,
    describe_source,
    plain,
    read_run_record,
    write_run_record,
)

RECORD = {
    "schema_version": SCHEMA_VERSION,
    "method": "moegs-toy",
    "expert": {"name": "toy", "config": {}},
    "scene": {},
    "versions": {"moegs_ns": "9.9"},
    "progress": {},
}


class Color(enum.StrEnum):
    RED = "r"


@dataclasses.dataclass
class Part:
    path: Path = Path("a/b")
    sizes: tuple[int, ...] = (1, 2)
    _target: type = dict


@dataclasses.dataclass
class Whole:
    part: Part = dataclasses.field(default_factory=Part)
    kind: type = torch.nn.Linear
    far: float = math.inf
    color: Color = Color.RED
    missing: None = None


def test_configs_become_plain_data() -> None:
    described = plain(Whole())
    assert described == {
        "part": {"path": "a/b", "sizes": [1, 2]},
        "kind": "torch.nn.modules.linear.Linear",
        "far": "inf",
        "color": "RED",
        "missing": None,
    }
    assert float(described["far"]) == math.inf


def test_numbers_of_the_libraries_become_python_numbers() -> None:
    values = plain({1: np.float64(0.5), "t": torch.tensor([1, 2]), "b": np.bool_(True), "s": {"b", "a"}})
    assert values == {"1": 0.5, "t": [1, 2], "b": True, "s": ["a", "b"]}
    assert type(values["1"]) is float
    json.dumps(values)


@pytest.mark.parametrize("name", ["", RUN_RECORD_NAME, "config.yml"])
def test_round_trip_from_any_of_its_names(tmp_path: Path, name: str) -> None:
    write_run_record(tmp_path / RUN_RECORD_NAME, RECORD)
    assert read_run_record(tmp_path / name) == RECORD
    assert [path.name for path in tmp_path.iterdir()] == [RUN_RECORD_NAME]


def test_reading_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give the folder of a run"):
        read_run_record(tmp_path)
    file = tmp_path / RUN_RECORD_NAME
    file.write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        read_run_record(tmp_path)
    file.write_text("[]")
    with pytest.raises(ValueError, match="schema_version"):
        read_run_record(tmp_path)
    file.write_text(json.dumps({**RECORD, "schema_version": 99}))
    with pytest.raises(ValueError, match=r"version 1 .* found 99.*9\.9"):
        read_run_record(tmp_path)
    file.write_text(json.dumps({key: value for key, value in RECORD.items() if key != "expert"}))
    with pytest.raises(ValueError, match=r"\['expert'\]"):
        read_run_record(tmp_path)


def test_source_is_modified_by_code_but_not_by_kept_results(tmp_path: Path) -> None:
    files = [tmp_path / "code.py", tmp_path / "benchmarks" / "results" / "a.json", tmp_path / "docs" / "results.md"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    for command in ("init -q", "add .", "-c user.name=n -c user.email=e@example.org commit -q -m first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    for file in files[1:]:
        file.write_text("2")
    found = describe_source(tmp_path)
    assert found is not None and len(found["commit"]) == 40 and found["modified"] is False
    files[0].write_text("2")
    assert describe_source(tmp_path) == {"commit": found["commit"], "modified": True}
    assert describe_source(tmp_path / "docs") is None
