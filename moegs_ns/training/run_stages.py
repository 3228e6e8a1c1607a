"""Run planned stages: ``ns-train``, then ``ns-eval`` on the test cameras, each a process of its own.

Separate processes keep one run's memory and random state from the next, and let independent experts train on several
devices at once.
"""

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moegs_ns.reporting.evaluation_files import EVALUATION_NAME
from moegs_ns.training.processes import Processes, RunCommand, StageFailedError, last_words, read_tail
from moegs_ns.training.run_jobs import Event, run_jobs
from moegs_ns.training.stages import Stage

Notify = Callable[[Stage, Event], None]

_STEP_IN_LOG = re.compile(r"^(?:\x1b\[\w+)*(\d+) \(\d+\.\d+%\)", re.MULTILINE)
# Plain lines instead of a table redrawn with cursor movements: the log is a file. Not worth showing to anyone.
_PLAIN_LOG = ("--logging.local-writer.max-log-size", "0")


def train_stage(stage: Stage, run: RunCommand, device: str | None = None, resume: bool = False) -> None:
    """Train a stage, from its last checkpoint if ``resume``.

    Raises:
        StageFailedError: training failed, or ended before its last step.
    """
    command = stage.command(resume)
    run([*command[:2], *_PLAIN_LOG, *command[2:]], stage.log, device, resume)
    if stage.state() != "finished":
        raise StageFailedError(
            f"ns-train {stage.method} ended after {stage.steps_done()} of {stage.steps} steps: "
            f"{last_words(stage.log)}; see {stage.log}"
        )


def evaluate_stage(stage: Stage, run: RunCommand, device: str | None = None) -> dict[str, Any]:
    """Score a finished stage on the test cameras, once per checkpoint; the result is kept in the run folder.

    Returns:
        What ``ns-eval`` wrote.

    Raises:
        StageFailedError: evaluation failed.
    """
    if (stored := stored_evaluation(stage)) is not None:
        return stored
    target = stage.run / EVALUATION_NAME
    fresh = stage.run / f".{EVALUATION_NAME}.{os.getpid()}.json"
    command = ["ns-eval", "--load-config", str(stage.config), "--output-path", str(fresh)]
    try:
        run(command, stage.run / "eval.log", device, False)
        evaluation = json.loads(fresh.read_text("utf8"))
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return evaluation


def stored_evaluation(stage: Stage) -> dict[str, Any] | None:
    """The kept result if it is of the newest checkpoint."""
    file = stage.run / EVALUATION_NAME
    if not file.is_file():
        return None
    evaluation = json.loads(file.read_text("utf8"))
    return evaluation if evaluation["results"]["protocol"]["step"] == stage.steps_done() - 1 else None


def live_steps(stage: Stage) -> int:
    """Steps a stage in training has done, as its log says; at least those of its newest checkpoint."""
    said = _STEP_IN_LOG.findall(read_tail(stage.log))
    return max(stage.steps_done(), int(said[-1]) if said else 0)


def run_stages(
    stages: Sequence[Stage],
    devices: Sequence[str | None] = (None,),
    notify: Notify = lambda stage, event: None,
    tick: Callable[[], None] = lambda: None,
    processes: Processes | None = None,
) -> None:
    """Train and evaluate all stages, independent ones side by side when there are several devices.

    Finished stages are skipped, interrupted ones resumed; a run folder without a checkpoint is started anew. Arguments
    and errors are those of `run_jobs`.
    """
    run_jobs(stages, bring_to_end, devices, notify, tick, processes)


def bring_to_end(stage: Stage, run: RunCommand, device: str | None, notify: Notify, retrained: frozenset[Path]) -> bool:
    """Train and evaluate a stage, as far as that is not done.

    Args:
        stage: what to bring to its end.
        run: who runs the commands.
        device: where.
        notify: told what happens.
        retrained: runs trained since the plan was begun; a run made of one of them is refused.

    Returns:
        Whether the stage had to be trained.

    Raises:
        StageFailedError: a process failed, or the run that is there was trained on another version of what it needs.
    """
    state = stage.state()
    stale = [str(needed) for needed in stage.needs if needed in retrained]
    if stale and state != "missing":
        raise StageFailedError(
            f"{stage.run} was trained on an earlier {' and '.join(stale)}, which had to be trained anew; delete "
            f"{stage.run} and run the same command again"
        )
    if state != "finished":
        notify(stage, "resume" if state == "interrupted" else "train")
        train_stage(stage, run, device, resume=state == "interrupted")
    if stored_evaluation(stage) is None:
        notify(stage, "evaluate")
        evaluate_stage(stage, run, device)
    notify(stage, "skipped" if state == "finished" else "trained")
    return state != "finished"
