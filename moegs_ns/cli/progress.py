"""One line per stage on the terminal: how far, how well, how long."""

import threading
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from moegs_ns.training.run_jobs import Event
from moegs_ns.training.run_stages import live_steps, stored_evaluation
from moegs_ns.training.stages import Stage

_SECONDS_BETWEEN_LINES = 60.0
_STATES: dict[Event, str] = {
    "train": "training",
    "resume": "resuming",
    "evaluate": "evaluating",
    "trained": "done",
    "skipped": "finished before",
    "failed": "failed",
}


class StageProgress:
    """Bars on a terminal; where the output is a file, a line per event and one a minute."""

    def __init__(self, stages: Sequence[Stage], console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
        )
        self._console = console
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[Stage, TaskID] = {
            stage: self._bars.add_task(stage.method, total=stage.steps, start=False, state="waiting")
            for stage in stages
        }
        self._at_work: dict[Stage, float] = {}
        self._said = time.monotonic()
        self._guard = threading.Lock()

    def __enter__(self) -> "StageProgress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def notify(self, stage: Stage, event: Event) -> None:
        """Called by stages, from several threads."""
        with self._guard:
            task = self._tasks[stage]
            if event in ("train", "resume"):
                self._bars.start_task(task)
                self._at_work[stage] = time.monotonic()
            state = _STATES[event]
            if event in ("trained", "skipped"):
                evaluation = stored_evaluation(stage)
                score = "" if evaluation is None else f", test PSNR {evaluation['results']['psnr']:.2f} dB"
                self._bars.update(task, completed=stage.steps)
                state += score
            if event in ("trained", "skipped", "failed"):
                self._bars.stop_task(task)
                elapsed = self._seconds(stage)
                self._at_work.pop(stage, None)
            else:
                elapsed = ""
            self._bars.update(task, state=state)
            if not self._console.is_terminal:
                self._say(f"{stage.method}: {state}{elapsed}")

    def tick(self) -> None:
        """Bring the steps of stages at work up to date."""
        with self._guard:
            steps = {stage: live_steps(stage) for stage in self._at_work}
            for stage, done in steps.items():
                self._bars.update(self._tasks[stage], completed=min(done, stage.steps))
            if not self._console.is_terminal and time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
                for stage, done in steps.items():
                    self._say(f"{stage.method}: {done} of {stage.steps} steps{self._seconds(stage)}")

    def _seconds(self, stage: Stage) -> str:
        return f", {time.monotonic() - self._at_work[stage]:.0f} s" if stage in self._at_work else ""

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        self._console.print(line, soft_wrap=True, highlight=False)
