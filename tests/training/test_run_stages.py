"""Running a plan, with the commands replaced by something that leaves the same files."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from moegs_ns.reporting.evaluation_files import EVALUATION_NAME
from moegs_ns.training.processes import StageFailedError
from moegs_ns.training.run_stages import live_steps, run_stages, stored_evaluation
from moegs_ns.training.stages import Scene, Stage, plan
from tests.training.fake_processes import FakeProcesses, leave_run, value_of

TINY = str(Path(__file__).with_name("tiny.toml"))
METHODS = ["moegs-stg", "moegs-4dgaussians", "moegs-router"]


@pytest.fixture
def stages(tmp_path: Path) -> list[Stage]:
    return plan(Scene(Path("examples/mixed"), output_dir=tmp_path), ["stg", "4dgaussians"], TINY)


def test_everything_is_trained_and_evaluated_once_in_order(stages: list[Stage]) -> None:
    processes, events = FakeProcesses(), []
    run_stages(stages, notify=lambda stage, event: events.append((stage.method, event)), processes=processes)
    assert [command[0] for command in processes.calls] == ["ns-train", "ns-eval"] * 3
    assert processes.trained() == METHODS
    assert events == [(method, event) for method in METHODS for event in ("train", "evaluate", "trained")]
    for stage in stages:
        assert stored_evaluation(stage) is not None
        assert sorted(path.name for path in stage.run.iterdir() if "eval" in path.name) == ["eval.log", EVALUATION_NAME]


def test_a_second_call_does_nothing(stages: list[Stage]) -> None:
    run_stages(stages, processes=FakeProcesses())
    again, events = FakeProcesses(), []
    run_stages(stages, notify=lambda stage, event: events.append(event), processes=again)
    assert again.calls == []
    assert events == ["skipped"] * 3


def test_an_interrupted_stage_is_resumed_from_its_checkpoint(stages: list[Stage]) -> None:
    with pytest.raises(StageFailedError, match="moegs-4dgaussians ended after 30 of 60 steps: ns-train says hello"):
        run_stages(stages, processes=FakeProcesses(stop_after={"moegs-4dgaussians": 30}))
    again, events = FakeProcesses(), []
    run_stages(stages, notify=lambda stage, event: events.append((stage.method, event)), processes=again)
    assert again.trained() == METHODS[1:]
    assert value_of(again.calls[0], "--load-dir") == str(stages[1].run)
    assert "--load-dir" not in next(command for command in again.calls if command[1] == "moegs-router")
    assert events[0] == ("moegs-stg", "skipped")
    assert ("moegs-4dgaussians", "resume") in events and ("moegs-router", "train") in events


def test_logs_are_kept_on_resuming_and_begun_anew_otherwise(stages: list[Stage]) -> None:
    stage = stages[0]
    stage.run.mkdir(parents=True)
    stage.log.write_text("of a run without checkpoint\n")
    with pytest.raises(StageFailedError):
        run_stages([stage], processes=FakeProcesses(stop_after={"moegs-stg": 30}))
    run_stages([stage], processes=FakeProcesses())
    assert stage.log.read_text() == "ns-train says hello\n" * 2


def test_an_evaluation_of_an_earlier_checkpoint_is_repeated(stages: list[Stage]) -> None:
    run_stages(stages[:1], processes=FakeProcesses())
    (stages[0].run / EVALUATION_NAME).write_text('{"results": {"psnr": 1.0, "protocol": {"step": 29}}}')
    again = FakeProcesses()
    run_stages(stages[:1], processes=again)
    assert [command[0] for command in again.calls] == ["ns-eval"]
    assert stored_evaluation(stages[0]) is not None


def test_a_failure_names_the_log_and_begins_nothing_more(stages: list[Stage]) -> None:
    processes, events = FakeProcesses(failing=("moegs-stg",)), []
    with pytest.raises(StageFailedError, match=re.escape(str(stages[0].log))):
        run_stages(stages, notify=lambda stage, event: events.append((stage.method, event)), processes=processes)
    assert processes.trained() == ["moegs-stg"]
    assert events == [("moegs-stg", "train"), ("moegs-stg", "failed")]


def test_independent_experts_train_side_by_side_on_their_own_devices(tmp_path: Path) -> None:
    stages = plan(Scene(Path("examples/mixed"), output_dir=tmp_path), ["stg", "4dgaussians", "stg"], TINY)
    processes = FakeProcesses(seconds=0.3)
    run_stages(stages, devices=("0", "1"), processes=processes)
    assert processes.together == 2
    assert {device for _, device in processes.devices} == {"0", "1"}
    assert processes.trained()[-1] == "moegs-router"


@pytest.mark.parametrize(
    ("devices", "cores", "threads"),
    [(("cpu", "cpu"), 8, 4), (("cpu", "cpu", "cpu"), 1, 1), (("cpu",), 8, None), (("0", "1"), 8, None)],
)
def test_stages_beside_each_other_share_the_processor(
    stages: list[Stage], monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...], cores: int, threads: int | None
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)))
    processes = FakeProcesses(seconds=0.2)
    run_stages(stages, devices=devices, processes=processes)
    *experts, router = [share for method, share in processes.shares if method != "ns-eval"]
    assert experts == [threads] * 2
    assert router is None  # alone


def test_one_device_trains_one_after_the_other(stages: list[Stage]) -> None:
    processes = FakeProcesses(seconds=0.05)
    run_stages(stages, processes=processes)
    assert processes.together == 1
    assert processes.devices == [(method, None) for method in METHODS]


def test_a_failure_lets_others_at_work_finish(stages: list[Stage]) -> None:
    processes = FakeProcesses(failing=("moegs-stg",), seconds=0.2)
    with pytest.raises(StageFailedError, match="moegs-stg"):
        run_stages(stages, devices=("0", "1"), processes=processes)
    assert stages[1].state() == "finished"
    assert stages[2].state() == "missing"


def test_an_interrupt_stops_the_processes(stages: list[Stage]) -> None:
    processes = FakeProcesses(seconds=1.5)  # longer than a tick

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stages(stages, tick=interrupt, processes=processes)
    assert processes.stopped
    assert len(processes.trained()) == 1


def test_a_router_on_experts_that_were_trained_anew_is_refused(stages: list[Stage]) -> None:
    run_stages(stages, processes=FakeProcesses())
    for file in (stages[0].run / "nerfstudio_models").iterdir():
        file.unlink()
    with pytest.raises(
        StageFailedError, match=f"{re.escape(str(stages[2].run))} was trained on an earlier {stages[0].run}"
    ):
        run_stages(stages, processes=FakeProcesses())


@pytest.mark.parametrize("order", [(2, 0, 1), (0, 2, 1), (2,)])
def test_stages_before_those_they_need_are_refused(stages: list[Stage], order: Sequence[int]) -> None:
    processes = FakeProcesses()
    with pytest.raises(ValueError, match="every stage behind those it needs"):
        run_stages([stages[number] for number in order], processes=processes)
    assert processes.calls == []


def test_runs_of_another_plan_are_refused_before_anything_begins(stages: list[Stage]) -> None:
    leave_run(stages[1].run, ["ns-train", "moegs-4dgaussians", "--max-num-iterations", "9"], 9)
    processes = FakeProcesses()
    with pytest.raises(ValueError, match="other options"):
        run_stages(stages, processes=processes)
    assert processes.calls == []


def test_live_steps_follow_the_log_and_the_checkpoints(stages: list[Stage]) -> None:
    stage = stages[0]
    assert live_steps(stage) == 0
    stage.run.mkdir(parents=True)
    lines = [f"{step} ({step / 60:.02%})".ljust(20) + "9.2 ms" for step in range(0, 40, 10)]
    stage.log.write_text("Step (% Done)   Train Iter (time)\n" + "\n".join(lines) + "\nsee frame 50 (later)\n")
    assert live_steps(stage) == 30
    leave_run(stage.run, stage.command(), 36)
    assert live_steps(stage) == 36
    stage.log.write_text("".join(f"{number} words that fill the log\n" for number in itertools.repeat(7, 5000)))
    assert live_steps(stage) == 36
