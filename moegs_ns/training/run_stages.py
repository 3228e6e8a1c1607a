"""Run planned stages as processes of their own: ``ns-train``, then ``ns-eval`` on the held-out cameras.

Separate processes keep one run's memory and random state from the next, and let independent experts train on several
devices at once.
"""

import json
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from moegs_ns.training.stages import Stage

_MODULES = {"ns-train": "nerfstudio.scripts.train", "ns-eval": "nerfstudio.scripts.eval"}
EVALUATION_NAME = "eval_test.json"


class StageFailedError(RuntimeError):
    """A stage's process ended with an error; the message says where its output is."""


def run_command(command: Sequence[str], log: Path, device: str | None = None) -> None:
    """Run an ``ns-*`` command with this interpreter, appending what it prints to ``log``.

    Args:
        command: begins with ``ns-train`` or ``ns-eval``.
        log: file for the process's output; its folder is created.
        device: CUDA device number the process sees, or None for all.

    Raises:
        StageFailedError: the process failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ) if device is None else {**os.environ, "CUDA_VISIBLE_DEVICES": device}
    with log.open("ab") as output:
        done = subprocess.run(
            [sys.executable, "-m", _MODULES[command[0]], *command[1:]],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            check=False,
        )
    if done.returncode != 0:
        tail = log.read_text("utf8", errors="replace").strip().splitlines()[-1:]
        raise StageFailedError(f"{command[0]} failed (exit status {done.returncode}): {''.join(tail)}\nsee {log}")


def train_stage(stage: Stage, device: str | None = None) -> bool:
    """Train a stage unless it is finished, from its last checkpoint where there is one. True if anything was done.

    Raises:
        StageFailedError: training failed.
    """
    state = stage.state()
    if state == "finished":
        return False
    run_command(stage.command(resume=state == "interrupted"), stage.run / "train.log", device)
    return True


def evaluate_stage(stage: Stage, device: str | None = None) -> dict[str, Any]:
    """Score a finished stage's last checkpoint on the test cameras, once; the result is kept in the run folder.

    Returns:
        What ``ns-eval`` wrote.
    """
    stored = stage.run / EVALUATION_NAME
    if stored.is_file():
        evaluation = json.loads(stored.read_text("utf8"))
        if evaluation["results"]["protocol"]["step"] == stage.steps - 1:
            return evaluation
    fresh = stored.with_name(f".{EVALUATION_NAME}.{os.getpid()}.tmp.json")
    command = ["ns-eval", "--load-config", str(stage.config), "--output-path", str(fresh)]
    try:
        run_command(command, stage.run / "eval.log", device)
        evaluation = json.loads(fresh.read_text("utf8"))
        fresh.replace(stored)
    finally:
        fresh.unlink(missing_ok=True)
    return evaluation


def run_stages(
    stages: Sequence[Stage], devices: Sequence[str | None] = (None,), notify: Callable[[Stage, str], None] | None = None
) -> None:
    """Train all stages, independent ones side by side when there are several devices.

    Args:
        stages: in an order in which every stage comes behind those it needs.
        devices: CUDA device numbers to hand out; ``(None,)`` trains one after the other.
        notify: called with a stage and ``"start"``, ``"done"`` or ``"skipped"``.

    Raises:
        StageFailedError: a stage failed; stages already running are waited for, later ones not begun.
    """
    free: queue.Queue[str | None] = queue.Queue()
    for device in devices:
        free.put(device)

    def work(stage: Stage) -> None:
        device = free.get()
        try:
            if notify:
                notify(stage, "start")
            trained = train_stage(stage, device)
            if notify:
                notify(stage, "done" if trained else "skipped")
        finally:
            free.put(device)

    waiting = list(stages)
    finished: set[Path] = set()
    while waiting:
        ready = [stage for stage in waiting if all(run in finished for run in stage.needs)]
        if not ready:
            needs = sorted({str(run) for stage in waiting for run in stage.needs} - {str(run) for run in finished})
            raise ValueError(f"stages wait for runs nobody trains: {', '.join(needs)}")
        with ThreadPoolExecutor(len(devices)) as pool:
            for future in [pool.submit(work, stage) for stage in ready]:
                future.result()
        finished.update(stage.run for stage in ready)
        waiting = [stage for stage in waiting if stage.run not in finished]
