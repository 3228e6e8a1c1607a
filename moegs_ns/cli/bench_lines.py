"""A line on the terminal per event of a suite's jobs."""

import threading
import time
from typing import TYPE_CHECKING

from moegs_ns.benching.jobs import AnyStage, name_of
from moegs_ns.training.run_jobs import Event
from moegs_ns.training.run_stages import stored_evaluation
from moegs_ns.training.stages import Stage

if TYPE_CHECKING:
    from rich.console import Console

_WORDS: dict[Event, str] = {
    "train": "begun",
    "resume": "resumed",
    "evaluate": "evaluating",
    "trained": "done",
    "skipped": "finished before",
    "failed": "failed",
}


class JobLines:
    """Says what happens to each job, how many have ended, and how long each took.

    Args:
        total: number of jobs.
        console: where to.
    """

    def __init__(self, total: int, console: "Console") -> None:
        self._total, self._console = total, console
        self._ended = 0
        self._begun: dict[AnyStage, float] = {}
        self._guard = threading.Lock()

    def notify(self, job: AnyStage, event: Event) -> None:
        """Called from several threads."""
        with self._guard:
            if event in ("train", "resume"):
                self._begun[job] = time.monotonic()
            words = _WORDS[event]
            if event in ("trained", "skipped"):
                evaluation = stored_evaluation(job) if isinstance(job, Stage) else None
                words += "" if evaluation is None else f", test PSNR {evaluation['results']['psnr']:.2f} dB"
            if event in ("trained", "skipped", "failed"):
                self._ended += 1
                began = self._begun.pop(job, None)
                words += "" if began is None else f", {time.monotonic() - began:.0f} s"
            line = f"[{self._ended}/{self._total}] {name_of(job)}: {words}"
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)
