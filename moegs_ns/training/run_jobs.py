"""Jobs that need one another, handed out to the devices of one machine."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from moegs_ns.training.processes import CPU, Processes, RunCommand, StageFailedError

Event = Literal["train", "resume", "evaluate", "trained", "skipped", "failed"]

_SECONDS_BETWEEN_TICKS = 0.5


class Job(Protocol):
    """Something to do once others are done."""

    @property
    def run(self) -> Path:
        """The run folder it makes, or what else identifies it."""

    @property
    def needs(self) -> tuple[Path, ...]:
        """`run` of those that must be done before."""

    def check_made_alike(self) -> list[str]:
        """Refuse what is there and was made otherwise; returns warnings."""


AnyJob = TypeVar("AnyJob", bound=Job)
#: ``work(job, run, device, notify, retrained)``: do it, or what is left of it; whether there was anything to train.
Work = Callable[[AnyJob, RunCommand, str | None, Callable[[AnyJob, Event], None], frozenset[Path]], bool]


def run_jobs(
    jobs: Sequence[AnyJob],
    work: Work,
    devices: Sequence[str | None] = (None,),
    notify: Callable[[AnyJob, Event], None] = lambda job, event: None,
    tick: Callable[[], None] = lambda: None,
    processes: Processes | None = None,
    keep_going: bool = False,
) -> None:
    """Do all jobs, independent ones side by side when there are several devices.

    Args:
        jobs: every one behind those it needs.
        work: what doing one means; called from other threads.
        devices: CUDA device numbers (or ``cpu``) to hand out; ``(None,)`` does one job after the other. Several ``cpu``
            share the processor: each job gets its part of the threads. More threads than cores gain nothing, and cost a
            little waiting for each other.
        notify: called (from other threads) with a job and what happens to it.
        tick: called twice a second, and may raise KeyboardInterrupt to stop everything.
        processes: who runs the commands; whatever ends this function early stops them.
        keep_going: after a failure, still begin jobs that do not need the failed one.

    Raises:
        StageFailedError: a job failed, the first of several; those at work on other devices were let finish, no others
            begun unless ``keep_going``.
        ValueError: jobs need what nobody makes, or runs that are there do not fit the plan; nothing was begun.
    """
    processes = processes or Processes()
    _check_plan(jobs)
    free = list(devices)
    waiting = list(jobs)
    finished: set[Path] = set()
    retrained: set[Path] = set()
    running: dict[Future[bool], tuple[AnyJob, str | None]] = {}
    failure: StageFailedError | None = None
    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            while True:
                may_begin = failure is None or keep_going
                ready = [job for job in waiting if may_begin and finished.issuperset(job.needs)]
                begun = ready[: len(free)]
                if not running and not begun:
                    break
                processes.threads = _threads_each([device for _, device in running.values()] + free[: len(begun)])
                for job in begun:
                    waiting.remove(job)
                    device = free.pop(0)
                    known = frozenset(retrained)
                    running[pool.submit(work, job, processes.run, device, notify, known)] = job, device
                done, _ = wait(running, timeout=_SECONDS_BETWEEN_TICKS, return_when=FIRST_COMPLETED)
                tick()
                for future in done:
                    job, device = running.pop(future)
                    free.append(device)
                    try:
                        if future.result():
                            retrained.add(job.run)
                        finished.add(job.run)
                    except StageFailedError as error:  # those already at work go on
                        notify(job, "failed")
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


def _check_plan(jobs: Sequence[Job]) -> None:
    """Before hours are spent: can every job begin once, and do the runs that are there belong to this plan?"""
    behind: set[Path] = set()
    for job in jobs:
        orphans = sorted(str(run) for run in job.needs if run not in behind)
        if orphans:
            raise ValueError(
                f"expected every stage behind those it needs, found none for {', '.join(orphans)} before {job.run}"
            )
        behind.add(job.run)
        job.check_made_alike()
