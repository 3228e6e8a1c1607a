"""Run planned stages: ``ns-train``, then ``ns-eval`` on the test cameras, each a process of its own.

Separate processes keep one run's memory and random state from the next, and let independent experts train on several
devices at once.
"""

import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal

from moegs_ns.reporting.evaluation_files import EVALUATION_NAME
from moegs_ns.training.processes import CPU, Processes, RunCommand, StageFailedError, last_words, read_tail
from moegs_ns.training.stages import Stage

Event = Literal["train", "resume", "evaluate", "trained", "skipped", "failed"]
Notify = Callable[[Stage, Event], None]

_SECONDS_BETWEEN_TICKS = 0.5
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

    Finished stages are skipped, interrupted ones resumed; a run folder without a checkpoint is started anew.

    Args:
        stages: the plan, every stage behind those it needs.
        devices: CUDA device numbers (or ``cpu``) to hand out; ``(None,)`` trains one stage after the other. Several
            ``cpu`` share the processor: each stage gets its part of the threads. More threads than cores gain nothing,
            and cost a little waiting for each other.
        notify: called (from other threads) with a stage and what happens to it.
        tick: called twice a second, and may raise KeyboardInterrupt to stop everything.
        processes: who runs the commands; whatever ends this function early stops them.

    Raises:
        StageFailedError: a stage failed; those at work on other devices were let finish, no others begun.
        ValueError: stages need runs nobody trains, or runs that are there do not fit the plan; nothing was begun.
    """
    processes = processes or Processes()
    _check_plan(stages)
    free = list(devices)
    waiting = list(stages)
    finished: set[Path] = set()
    retrained: set[Path] = set()
    running: dict[Future[bool], tuple[Stage, str | None]] = {}
    failure: StageFailedError | None = None
    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            while running or (waiting and failure is None):
                ready = [stage for stage in waiting if failure is None and finished.issuperset(stage.needs)]
                begun = ready[: len(free)]
                processes.threads = _threads_each([device for _, device in running.values()] + free[: len(begun)])
                for stage in begun:
                    waiting.remove(stage)
                    device = free.pop(0)
                    known = frozenset(retrained)
                    running[pool.submit(_bring_to_end, stage, processes.run, device, notify, known)] = stage, device
                done, _ = wait(running, timeout=_SECONDS_BETWEEN_TICKS, return_when=FIRST_COMPLETED)
                tick()
                for future in done:
                    stage, device = running.pop(future)
                    free.append(device)
                    try:
                        if future.result():
                            retrained.add(stage.run)
                        finished.add(stage.run)
                    except StageFailedError as error:  # those already at work go on
                        notify(stage, "failed")
                        failure = failure or error
        except BaseException:
            processes.stop()
            raise
    if failure is not None:
        raise failure


def _threads_each(devices: Sequence[str | None]) -> int | None:
    """Of those that work on the processor beside each other; None where there is one at most."""
    together = list(devices).count(CPU)
    return max(1, len(os.sched_getaffinity(0)) // together) if together > 1 else None


def _bring_to_end(
    stage: Stage, run: RunCommand, device: str | None, notify: Notify, retrained: frozenset[Path]
) -> bool:
    """Whether the stage had to be trained."""
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


def _check_plan(stages: Sequence[Stage]) -> None:
    """Before hours are spent: can every stage begin once, and do the runs that are there belong to this plan?"""
    behind: set[Path] = set()
    for stage in stages:
        orphans = sorted(str(run) for run in stage.needs if run not in behind)
        if orphans:
            raise ValueError(
                f"expected every stage behind those it needs, found none for {', '.join(orphans)} before {stage.run}"
            )
        behind.add(stage.run)
        stage.check_made_alike()
