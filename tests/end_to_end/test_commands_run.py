"""Every documented command is run: in a copy of the checkout, on tiny settings, in the order in which pages show them.

`command_rules` lists what is made smaller and what is not run, with reasons; `command_driver` runs the rest.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end import command_rules
from tests.end_to_end.documented_commands import DocumentedCommand, documented_commands

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = documented_commands(ROOT)
#: Folders of the copy; others hold nothing a command reads.
COPIED = (
    "benchmarks",
    "configs",
    "cuda",
    "docs",
    "examples",
    "integrations",
    "moegs_ns",
    "requirements",
    "tests",
    "tools",
)
SECONDS = 1500  # of all commands on a busy machine; five minutes on a quiet one
_TOLD = 6000  # characters of the log that a failure shows


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory, cache_dir: Path, data_dir: Path
) -> dict[tuple[str, int], dict[str, Any]]:
    """What became of each command, by page and line."""
    base = tmp_path_factory.mktemp("commands")
    folder = base / "checkout"
    unneeded = shutil.ignore_patterns("__pycache__", "outputs", "renders", "_kernels")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=unneeded)
    for file in ROOT.glob("*"):
        if file.is_file():
            shutil.copyfile(file, folder / file.name)
    if data_dir.is_dir():  # where the pages say that it lies
        (base / "shared").mkdir()
        (base / "shared" / "data").symlink_to(data_dir.resolve())
    results, log = base / "results.jsonl", base / "log.txt"
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "MOEGS_DATA_DIR": str(data_dir.resolve()),
        "XDG_CONFIG_HOME": str(base),
        "COLUMNS": "120",
    }
    with log.open("wb") as output:
        driver = subprocess.run(
            [sys.executable, "-m", "tests.end_to_end.command_driver", str(results)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    assert driver.returncode == 0, log.read_text("utf8", errors="replace")[-_TOLD:]
    found = [json.loads(line) for line in results.read_text("utf8").splitlines()]
    return {(one["page"], one["line"]): one for one in found}


def _name(command: DocumentedCommand) -> str:
    return f"{command.page}:{command.line}: {str(command)[:60]}"


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=_name)
def test_a_documented_command_runs(command: DocumentedCommand, outcomes: dict[tuple[str, int], dict[str, Any]]) -> None:
    outcome = outcomes[command.page, command.line]
    if "skipped" in outcome:
        pytest.skip(outcome["skipped"])
    assert outcome["failed"] is None, f"{command}\n{outcome['failed'][-_TOLD:]}"


@pytest.mark.slow
def test_the_driver_ran_what_the_pages_show(outcomes: dict[tuple[str, int], dict[str, Any]]) -> None:
    assert set(outcomes) == {(command.page, command.line) for command in COMMANDS}
    run = [one for one in outcomes.values() if "skipped" not in one]
    programs = {one["command"].split()[0] for one in run}
    assert {"ns-train", "ns-eval", "ns-render", "ns-viewer", "moegs", "python", "make"} <= programs


def test_every_rule_is_about_a_command() -> None:
    commands = [command.arguments() for command in COMMANDS]
    assert command_rules.stale_rules(commands) == []
    assert command_rules.stale_rules([["make", "docs"]]) != []


def test_the_longest_rule_counts() -> None:
    assert command_rules.reason_not_to_run(["make", "test-all"]) == command_rules.NOT_RUN["make test-all"]
    assert command_rules.reason_not_to_run(["make", "demo"]) is None


def test_rules_make_commands_small() -> None:
    words = ["moegs", "fuse", "RUN", "--finetune-steps", "1000"]
    assert command_rules.small(words) == ["moegs", "fuse", "RUN", "--finetune-steps", "4"]
    words = ["python", "benchmarks/raster_speed.py", "--rounds", "9"]
    assert command_rules.small(words) == [*words, *command_rules.APPENDED["python benchmarks/raster_speed.py"]]
    assert command_rules.small(["moegs", "report", "gates", "RUN"]) == ["moegs", "report", "gates", "RUN"]
