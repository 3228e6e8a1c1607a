"""Child processes for the commands of a run: their output goes to a log, their run folder is locked, and they can be
stopped all at once."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from moegs_ns.folder_lock import HELD_VARIABLE, FolderIsBusyError, FolderLock

#: ``run(command, log, device, append)``, as `Processes.run`; tests put something cheaper in its place.
RunCommand = Callable[[Sequence[str], Path, str | None, bool], None]

CPU = "cpu"
_SECONDS_FOR_THE_LOCK = 60.0
_SECONDS_TO_STOP = 20.0
_TAIL_BYTES = 20_000
_FRAME = " \t│╭╮╰╯─"  # what rich draws around messages


class StageFailedError(RuntimeError):
    """A stage's process ended with an error; the message says where its output is."""


class InterruptedStageError(RuntimeError):
    """A stage was stopped because `Processes.stop` was called."""


class Processes:
    """Runs ``ns-*`` commands as child processes that do not outlive this one.

    Args:
        launcher: program whose arguments are this process's id and the command.

    Attributes:
        threads: how many a process started from now on may compute with, unless the environment says so; None for as
            many as it likes.
    """

    threads: int | None = None

    def __init__(self, launcher: Sequence[str] = (sys.executable, "-P", "-m", "moegs_ns.training.child")) -> None:
        # -P: metadata of a half-installed checkout in the working folder must not hide what is installed.
        self._launcher = tuple(launcher)
        self._running: set[subprocess.Popen] = set()
        self._guard = threading.Lock()
        self._stopping = False

    def run(self, command: Sequence[str], log: Path, device: str | None = None, append: bool = False) -> None:
        """Run a command of nerfstudio with this interpreter and wait for it.

        Args:
            command: begins with ``ns-train`` or ``ns-eval``.
            log: file for what it prints, in the run folder, which is created and stays locked until the process ends.
            device: CUDA device number the process sees, ``cpu`` for none, or None for all.
            append: keep what the log holds.

        Raises:
            StageFailedError: the process failed, or another one is at work in the run folder.
            InterruptedStageError: `stop` was called.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with FolderLock(log.parent) as lock:
            try:
                # A child whose parent was killed needs a moment to end, so the lock is waited for.
                lock.acquire(_SECONDS_FOR_THE_LOCK)
            except FolderIsBusyError as error:
                raise StageFailedError(str(error)) from error
            status = self._run_locked(command, log, _environment(device, self.threads), append, lock)
        if self._stopping:
            raise InterruptedStageError(f"{command[0]} was stopped")
        if status != 0:
            raise StageFailedError(f"{command[0]} failed (exit status {status}): {last_words(log)}; see {log}")

    def _run_locked(
        self, command: Sequence[str], log: Path, environment: dict[str, str], append: bool, lock: FolderLock
    ) -> int:
        """Exit status of the command."""
        with log.open("ab" if append else "wb") as output:
            with self._guard:
                if self._stopping:
                    raise InterruptedStageError(f"{command[0]} was not started")
                process = subprocess.Popen(
                    [*self._launcher, str(os.getpid()), *command],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env={**environment, HELD_VARIABLE: str(log.parent.resolve())},
                    # A Ctrl-C in the terminal is for this process, which then stops its children in order.
                    start_new_session=True,
                    # The child holds the lock too: it stays locked should this process be killed.
                    pass_fds=lock.descriptors(),
                )
                self._running.add(process)
            try:
                return process.wait()
            finally:
                self._running.discard(process)

    def stop(self) -> None:
        """End all processes and start no more; those that do not end when asked are killed."""
        with self._guard:
            self._stopping = True
            running = list(self._running)
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _SECONDS_TO_STOP
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def read_tail(file: Path) -> str:
    """The end of a text file, empty when there is no file."""
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        return stream.read().decode("utf8", errors="replace")


def last_words(log: Path) -> str:
    """The line of a log that says why its process failed: the last exception, else the last line with words."""
    lines = [line.strip(_FRAME) for line in read_tail(log).splitlines()]
    spoken = [line for line in lines if re.search(r"\w", line)]
    errors = [line for line in spoken if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (errors or spoken or ["it printed nothing"])[-1]


def _environment(device: str | None, threads: int | None) -> dict[str, str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # progress is read from the log
    # Threads that wait sleep instead of spinning: beside other work a step takes a fraction of the time.
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    environment.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages for large tensors: whole images of several experts
    if threads is not None:
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = "" if device == CPU else device
    return environment
