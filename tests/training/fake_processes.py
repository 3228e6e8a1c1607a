"""Stands in for ns-train and ns-eval: leaves what they leave, in no time, and can fail, stop early or wait."""

import json
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER, checkpoint_name, list_checkpoints
from moegs_ns.runs.record import SCHEMA_VERSION, write_run_record
from moegs_ns.training.processes import Processes, StageFailedError


def value_of(command: Sequence[str], flag: str) -> str:
    return command[list(command).index(flag) + 1]


def leave_run(folder: Path, command: Sequence[str], steps_done: int) -> None:
    """What a training leaves that wrote a checkpoint after ``steps_done`` steps."""
    checkpoints = folder / CHECKPOINT_FOLDER
    checkpoints.mkdir(parents=True, exist_ok=True)
    (checkpoints / checkpoint_name(steps_done - 1)).touch()
    record = {
        "method": command[1],
        "expert": {"name": "toy", "config": {}},
        "scene": {},
        "versions": {},
        "progress": {},
    }
    write_run_record(folder / "run.json", {"schema_version": SCHEMA_VERSION, "command": shlex.join(command), **record})


@dataclass
class FakeProcesses(Processes):
    """Records every command.

    Attributes:
        stop_after: method to the steps after which its training ends as if killed, once.
        failing: methods whose training fails.
        seconds: how long a training takes.
        during: called in every training.
    """

    stop_after: dict[str, int] = field(default_factory=dict)
    failing: tuple[str, ...] = ()
    seconds: float = 0.0
    during: Callable[[], None] = lambda: None
    calls: list[tuple[str, ...]] = field(default_factory=list)
    devices: list[tuple[str, str | None]] = field(default_factory=list)
    shares: list[tuple[str, int | None]] = field(default_factory=list)
    together: int = 0
    stopped: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self._count = threading.Lock()
        self._now = 0

    def run(self, command: Sequence[str], log: Path, device: str | None = None, append: bool = False) -> None:
        self.calls.append(tuple(command))
        self.shares.append((command[1] if command[0] == "ns-train" else command[0], self.threads))
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a" if append else "w") as output:
            output.write(f"{command[0]} says hello\n")
        if command[0] == "ns-eval":
            self._evaluate(command)
            return
        method = command[1]
        self.devices.append((method, device))
        with self._count:
            self._now += 1
            self.together = max(self.together, self._now)
        self.during()
        time.sleep(self.seconds)
        with self._count:
            self._now -= 1
        if method in self.failing:
            raise StageFailedError(f"ns-train failed: {method}; see {log}")
        leave_run(log.parent, command, self.stop_after.pop(method, int(value_of(command, "--max-num-iterations"))))

    def _evaluate(self, command: Sequence[str]) -> None:
        run = Path(value_of(command, "--load-config")).parent
        step = max(list_checkpoints(run / CHECKPOINT_FOLDER))
        scores = {"results": {"psnr": 27.0, "protocol": {"step": step}}}
        Path(value_of(command, "--output-path")).write_text(json.dumps(scores))

    def stop(self) -> None:
        self.stopped = True

    def trained(self) -> list[str]:
        """Methods in the order of their trainings."""
        return [command[1] for command in self.calls if command[0] == "ns-train"]
