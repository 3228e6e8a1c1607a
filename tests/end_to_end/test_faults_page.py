"""What `make faults` keeps, and the section of docs/performance.md written of it."""

import importlib
import json
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.faults.kill_and_resume import Job, kill_and_resume


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return {name: importlib.import_module(name) for name in ("faults", "faults_section")}


#: Appends a line per tenth of a second, and goes on where it stopped unless it is told to begin anew.
COUNTER = """
import pathlib, sys, time
file, goes_on = pathlib.Path(sys.argv[1]), sys.argv[2] == "goes on"
for number in range(len(file.read_text()) if goes_on and file.exists() else 0, 10):
    time.sleep(0.1)
    with file.open("a") as stream:
        stream.write("x")
"""


def counting(how: str) -> Job:
    return Job(
        "count",
        lambda folder: [sys.executable, "-c", COUNTER, str(folder / "count"), how],
        lambda folder: (folder / "count").read_text(),
    )


@pytest.mark.parametrize(("how", "same"), [("goes on", True), ("begins anew", False)])
def test_a_command_that_does_not_go_on_is_found(tmp_path: Path, how: str, same: bool) -> None:
    told = kill_and_resume(counting(how), 3, tmp_path, random.Random(1))
    assert told.kills == len(told.hit) == 3
    assert told.starts >= 4
    assert told.same is same


def test_what_happened_becomes_a_section(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = counting("goes on")
    jobs = (Job("export", count.command, count.outcome),)
    monkeypatch.setattr(scripts["faults"], "JOBS", jobs)
    arguments = scripts["faults"].Arguments(kills=2, folder=tmp_path / "work", output=tmp_path / "faults.json")
    assert scripts["faults"].main(arguments) == 0
    report = json.loads(arguments.output.read_text("utf8"))
    section = scripts["faults_section"].faults_section(report)
    assert "killed commands 2 times by SIGKILL" in section
    assert "| export | 2 | the command 2 |" in section and section.rstrip().endswith("| the same |")
