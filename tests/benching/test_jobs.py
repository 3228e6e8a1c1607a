"""What is made of a mixture: done once, gone on with, made anew or refused, with the commands replaced."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from moegs_ns.benching.jobs import CommandJob, PlannedJob, bring_job_to_end, name_of, suite_jobs
from moegs_ns.benching.suite import Fusion, Pruning, Suite, SuiteScene
from moegs_ns.reporting.evaluation_files import EVALUATION_NAME
from moegs_ns.training.processes import StageFailedError
from moegs_ns.training.run_jobs import run_jobs
from moegs_ns.training.stages import Stage
from tests.training.fake_processes import FakeProcesses, leave_run, value_of

TINY = str(Path(__file__).parents[1] / "training" / "tiny.toml")


class FakeCommands(FakeProcesses):
    """Also stands in for `moegs`.

    Attributes:
        cut: commands (``prune``) that end as if killed after they have begun to write, once.
    """

    cut: list[str]

    def __init__(self, cut: Sequence[str] = (), failing: tuple[str, ...] = ()) -> None:
        super().__init__(failing=failing)
        self.cut = list(cut)

    def run(self, command: Sequence[str], log: Path, device: str | None = None, append: bool = False) -> None:
        if command[0] != "moegs":
            super().run(command, log, device, append)
            return
        self.calls.append(tuple(command))
        made = self._made(command)
        if command[1] == "prune" and made.exists():
            raise StageFailedError(f"expected no run at {made} yet, found one")
        if command[1] == "report":
            made.write_text("{}")
        else:
            leave_run(made, ["moegs", "moegs-router"], 10 if command[1] in self.cut else 40)
        if command[1] == "fuse":
            (made / EVALUATION_NAME).write_text("{}")
        if command[1] in self.cut:
            self.cut.remove(command[1])
            raise StageFailedError(f"moegs {command[1]} failed; see {log}")

    def _made(self, command: Sequence[str]) -> Path:
        if command[1] == "prune":
            return Path(value_of(command, "--output"))
        if command[1] == "report":
            return Path(command[3]) / "geometry.json"
        source = Path(command[2])
        tuned = f"-{value_of(command, '--finetune')}" if "--finetune" in command else ""
        return source.parents[1] / "moegs-fused" / (source.name + tuned)

    def commands(self) -> list[str]:
        """Names of the `moegs` commands run."""
        return [command[1] for command in self.calls if command[0] == "moegs"]


@pytest.fixture
def jobs(tmp_path: Path) -> list[PlannedJob]:
    fusion = Fusion("black", ("all",), 20)
    scenes = (SuiteScene("examples/mixed"),)
    sets = (("stg", "4dgaussians"),)
    suite = Suite("try", "", scenes, sets, (1,), TINY, pruning=Pruning((0.5,)), fusion=fusion, geometry=True)
    return suite_jobs(suite, tmp_path)


def carry_out(jobs: Sequence[PlannedJob], commands: FakeCommands, keep_going: bool = False) -> list[tuple[str, str]]:
    """What happened to which job."""
    events: list[tuple[str, str]] = []
    run_jobs(
        [one.job for one in jobs],
        bring_job_to_end,
        notify=lambda job, event: events.append((name_of(job), event)),
        processes=commands,
        keep_going=keep_going,
    )
    return events


def test_everything_is_done_once(jobs: list[PlannedJob]) -> None:
    commands = FakeCommands()
    carry_out(jobs, commands)
    assert commands.commands() == ["prune", "fuse", "fuse", *["report"] * 3]
    assert all(one.job.state() == "finished" for one in jobs)
    again = FakeCommands()
    assert {event for _, event in carry_out(jobs, again)} == {"skipped"}
    assert again.calls == []


def test_a_pruned_run_is_scored_as_it_is(jobs: list[PlannedJob]) -> None:
    commands = FakeCommands()
    carry_out(jobs, commands)
    (pruned,) = (one.job for one in jobs if one.row is not None and one.row.variant == "50% pruned")
    scored = [value_of(command, "--load-config") for command in commands.calls if command[0] == "ns-eval"]
    assert str(pruned.run / "config.yml") in scored


@pytest.mark.parametrize("cut", ["prune", "fuse"])
def test_what_was_cut_off_is_gone_on_with(jobs: list[PlannedJob], cut: str) -> None:
    with pytest.raises(StageFailedError, match=f"moegs {cut} failed"):
        carry_out(jobs, FakeCommands([cut]))
    states = [one.job.state() for one in jobs if isinstance(one.job, CommandJob) and one.job.words[1] == cut]
    assert states[0] == "interrupted"
    again = FakeCommands()
    events = carry_out(jobs, again)
    assert "resume" in {event for _, event in events}
    assert all(one.job.state() == "finished" for one in jobs)


def test_a_run_of_the_name_that_was_there_before_is_left_alone(jobs: list[PlannedJob]) -> None:
    (pruned,) = (one.job for one in jobs if one.row is not None and one.row.variant == "50% pruned")
    pruned.run.mkdir(parents=True)
    (pruned.run / "mine.txt").write_text("mine")
    commands = FakeCommands()
    with pytest.raises(ValueError, match="found a run that was there before; delete that folder"):
        carry_out(jobs, commands)
    assert commands.calls == [] and (pruned.run / "mine.txt").is_file()


def test_runs_made_of_another_checkpoint_are_refused_before_anything_is_begun(jobs: list[PlannedJob]) -> None:
    carry_out(jobs, FakeCommands())
    mixture = next(one.job for one in jobs if isinstance(one.job, Stage) and one.job.method == "moegs-router")
    leave_run(mixture.run, mixture.command(), mixture.steps + 5)
    commands = FakeCommands()
    with pytest.raises(ValueError, match="expected .* to be made by `moegs prune .*` of the newest checkpoint"):
        carry_out(jobs, commands)
    assert commands.calls == []


def test_measurements_of_another_checkpoint_are_made_anew(jobs: list[PlannedJob]) -> None:
    carry_out(jobs, FakeCommands())
    measured = next(one.job for one in jobs if one.row is None)
    assert isinstance(measured, CommandJob)
    note = json.loads((measured.folder / "done.json").read_text())
    (measured.folder / "done.json").write_text(json.dumps({**note, "checkpoint": 1}))
    assert measured.state() == "interrupted"
    commands = FakeCommands()
    carry_out(jobs, commands)
    assert commands.commands() == ["report"]


def test_after_a_failure_only_what_needs_it_is_left_out(jobs: list[PlannedJob]) -> None:
    stop, go_on = FakeCommands(failing=("moegs-stg",)), FakeCommands(failing=("moegs-stg",))
    with pytest.raises(StageFailedError, match="moegs-stg"):
        carry_out(jobs, stop)
    assert stop.trained() == ["moegs-stg"]
    with pytest.raises(StageFailedError, match="moegs-stg"):
        carry_out(jobs, go_on, keep_going=True)
    assert go_on.trained() == ["moegs-stg", "moegs-4dgaussians"]
    assert go_on.commands() == []
