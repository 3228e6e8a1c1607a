"""What one sees while stages run."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from moegs_ns.cli import progress
from moegs_ns.cli.progress import StageProgress
from moegs_ns.reporting.evaluation_files import EVALUATION_NAME
from moegs_ns.training.stages import Scene, Stage, plan
from tests.training.fake_processes import leave_run

TINY = str(Path(__file__).parents[1] / "training" / "tiny.toml")


@pytest.fixture
def stages(tmp_path: Path) -> list[Stage]:
    return plan(Scene(Path("examples/mixed"), output_dir=tmp_path), ["stg", "4dgaussians"], TINY)


def leave_finished(stage: Stage) -> None:
    leave_run(stage.run, stage.command(), stage.steps)
    scores = {"results": {"psnr": 27.125, "protocol": {"step": stage.steps - 1}}}
    (stage.run / EVALUATION_NAME).write_text(json.dumps(scores))


def test_a_file_gets_a_line_per_event_and_one_a_minute(stages: list[Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=120)
    with StageProgress(stages, console) as shown:
        leave_finished(stages[0])
        shown.notify(stages[0], "skipped")
        shown.notify(stages[1], "resume")
        leave_run(stages[1].run, stages[1].command(), 24)
        for now[0] in (130.0, 161.0, 165.0):
            shown.tick()
        now[0] = 170.0
        shown.notify(stages[1], "failed")
    assert console.file.getvalue().splitlines() == [
        "moegs-stg: finished before, test PSNR 27.12 dB",
        "moegs-4dgaussians: resuming",
        "moegs-4dgaussians: 24 of 60 steps, 61 s",
        "moegs-4dgaussians: failed, 70 s",
    ]


def test_a_terminal_gets_a_bar_per_stage(stages: list[Stage]) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    with StageProgress(stages, console) as shown:
        leave_finished(stages[0])
        shown.notify(stages[0], "skipped")
        shown.notify(stages[1], "train")
        leave_run(stages[1].run, stages[1].command(), 24)
        shown.tick()
    last = console.file.getvalue().split("moegs-stg")[-1]
    assert "60/60 finished before, test PSNR 27.12 dB" in last
    assert "24/60 training" in last
    assert "0/40" in last and "waiting" in last
