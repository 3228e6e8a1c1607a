"""Kill the commands at random moments, call them again until they are done, and compare with what was never killed.

`make faults` does it (benchmarks/faults.py). On the CPU the tensors of resumed trainings equal those of undisturbed
ones, and exported files are the same byte by byte; prepared scenes are compared by what `moegs data check` says of
them, because structure from motion draws lots.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "training" / "tiny.toml"
SCENE = ROOT / "examples" / "mixed"
_MOST_STARTS = 200  # of one job: a command that never gets further would go on for ever
_BETWEEN = "between"  # stages, or evaluating what they made
_PAUSE = 0.05  # seconds between two looks at which stage is at work


@dataclass(frozen=True)
class Job:
    """A command that can be killed.

    Attributes:
        name: of the job.
        command: what is typed behind ``moegs``, given the folder to work in.
        outcome: what must be the same, given that folder.
        stages: each has to be hit: words by which the process of a stage is known, or nothing for the command itself.
    """

    name: str
    command: Callable[[Path], list[str]]
    outcome: Callable[[Path], Any]
    stages: tuple[str, ...] = ("",)


@dataclass
class Told:
    """What happened to a job.

    Attributes:
        kills: how many there were.
        starts: of the command.
        hit: stage by kill.
        seconds: the undisturbed command took.
        same: every outcome was that of the undisturbed command.
    """

    kills: int = 0
    starts: int = 0
    hit: list[str] = field(default_factory=list)
    seconds: float = 0.0
    same: bool = True


# -- what must be the same ---------------------------------------------------------------------------------------------


def tensors_of_runs(folder: Path) -> dict[str, str]:
    """A digest per run of every tensor in its newest checkpoint: of the model, the optimizers, the random state."""
    import torch

    from moegs_ns import compat
    from moegs_ns.runs.checkpoint_files import find_checkpoint

    compat.apply()
    digests = {}
    for record in sorted((folder / "outputs").glob("*/*/*/run.json")):
        run = record.parent
        digest = hashlib.sha256()
        state = torch.load(find_checkpoint(run), map_location="cpu", weights_only=True)
        for name, tensor in sorted(_tensors(state)):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        digests[f"{run.parent.name}/{run.name}"] = digest.hexdigest()
    return digests


def _tensors(value: Any, name: str = "") -> list[tuple[str, Any]]:
    import torch

    if torch.is_tensor(value):
        return [(name, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return [found for key, item in items for found in _tensors(item, f"{name}/{key}")]


def verdicts(folder: Path) -> dict[str, str]:
    """What `moegs data check` says of a prepared scene, check by check."""
    report = folder / "check.json"
    subprocess.run(moegs("data", "check", folder / "made", "--json", report), check=False, stdout=subprocess.DEVNULL)
    return {result["check"]: result["verdict"] for result in json.loads(report.read_text("utf8"))["results"]}


def files(folder: Path) -> dict[str, str]:
    """A digest per exported file."""
    made = folder / "exported"
    found = sorted(path for path in made.rglob("*") if path.is_file())
    return {str(path.relative_to(made)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


# -- jobs --------------------------------------------------------------------------------------------------------------


def moegs(*words: object) -> list[str]:
    """A command line of this checkout."""
    return [sys.executable, "-c", "from moegs_ns.cli.main import main; main()", *map(str, words)]


def training(folder: Path) -> list[str]:
    """Two experts, the router on them, a student."""
    own = ("--experts", "stg", "4dgaussians", "--distill", "stg", "--preset", TINY, "--devices", "cpu")
    return moegs("train", SCENE, *own, "--output-dir", folder / "outputs")


def preparation(folder: Path) -> list[str]:
    """Known cameras, seeds from the pictures."""
    poses = ("--poses", SCENE / "poses_bounds.npy")
    return moegs("data", "prepare", SCENE, *poses, "--output-dir", folder / "made", "--seed-frames", "4")


def export(folder: Path) -> list[str]:
    """Every frame of an expert that the first job trained."""
    run = next((folder.parents[1] / "train" / "undisturbed" / "outputs").glob("*/moegs-stg/*"))
    return moegs("export", run, "--format", "ply", "--output", folder / "exported")


JOBS = (
    Job(
        "train",
        training,
        tensors_of_runs,
        ("ns-train moegs-stg", "ns-train moegs-4dgaussians", "ns-train moegs-router", "ns-train moegs-distill"),
    ),
    Job("prepare", preparation, verdicts),
    Job("export", export, files),
)


# -- killing -----------------------------------------------------------------------------------------------------------


def kill_and_resume(job: Job, kills: int, folder: Path, rng: random.Random) -> Told:
    """Do a job undisturbed, and with so many kills, as many in each of its stages; begun anew when it ends before.

    Args:
        job: to do.
        kills: how many there are to be.
        folder: where the jobs work; later ones find there what earlier ones made.
        rng: of the moments.

    Raises:
        RuntimeError: the command failed other than by a kill, or never ended.
    """
    place = folder / job.name
    whole, killed = place / "undisturbed", place / "killed"
    whole.mkdir(parents=True)
    lengths = run_through(job, whole, place / "undisturbed.log")
    told = Told(seconds=sum(lengths.values()))
    # In order, since a command goes through its stages in order.
    wanted = sorted((job.stages * kills)[:kills], key=job.stages.index)
    while Counter(wanted) - Counter(told.hit):
        shutil.rmtree(killed, ignore_errors=True)
        killed.mkdir()
        _run_with_kills(job, killed, wanted, lengths, told, rng, place / "killed.log")
        told.same = told.same and job.outcome(killed) == job.outcome(whole)
    return told


def run_through(job: Job, folder: Path, log: Path) -> dict[str, float]:
    """Run a job's command to its end; the seconds it spent in each stage, and ``between`` them.

    Raises:
        RuntimeError: it failed.
    """
    lengths = dict.fromkeys((*job.stages, _BETWEEN), 0.0)
    with log.open("ab") as output:
        process = subprocess.Popen(job.command(folder), stdout=output, stderr=output, cwd=ROOT)
        last = time.monotonic()
        while process.poll() is None:
            time.sleep(_PAUSE)
            now = time.monotonic()
            lengths[_stage_of(process, job.stages)] += now - last
            last = now
    if process.returncode:
        raise RuntimeError(f"expected exit status 0 of the undisturbed command, found {process.returncode}; see {log}")
    return lengths


def _run_with_kills(
    job: Job,
    folder: Path,
    wanted: list[str],
    lengths: dict[str, float],
    told: Told,
    rng: random.Random,
    log: Path,
) -> None:
    """Start a command again and again, killed in each of the wanted stages, until it ends by itself.

    Every second kill takes the command alone and leaves its children to notice, the others take all.
    """
    command = job.command(folder)
    for _ in range(_MOST_STARTS):
        told.starts += 1
        remaining = Counter(wanted) - Counter(told.hit)
        target = next((stage for stage in wanted if remaining[stage] > 0), None)
        with log.open("ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, start_new_session=True)
        if target is not None and _wait_for_stage(process, target):
            try:
                process.wait(rng.uniform(0.0, lengths[target]))
            except subprocess.TimeoutExpired:
                told.hit.append(_stage_of(process, job.stages))
                told.kills += 1
                _kill(process, everything=told.kills % 2 == 0)
                continue
        if status := process.wait():
            raise RuntimeError(f"expected the resumed command to succeed, found exit status {status}; see {log}")
        return
    raise RuntimeError(f"expected the command to end some time, found it unfinished; see {log}")


def _wait_for_stage(process: "subprocess.Popen[bytes]", stage: str) -> bool:
    """Whether the stage was begun; False when the command ended without."""
    while process.poll() is None:
        if any(stage in line for line in _command_lines(process)):
            return True
        time.sleep(_PAUSE)
    return False


def _stage_of(process: "subprocess.Popen[bytes]", stages: tuple[str, ...]) -> str:
    lines = _command_lines(process)
    return next((stage for stage in stages if any(stage in line for line in lines)), _BETWEEN)


def _command_lines(process: "subprocess.Popen[bytes]") -> list[str]:
    """Of the command and its children, words separated by spaces."""
    lines = []
    for number in (process.pid, *_descendants(process.pid)):
        with contextlib.suppress(OSError):
            lines.append((Path("/proc") / str(number) / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return lines


def _kill(process: "subprocess.Popen[bytes]", everything: bool) -> None:
    victims = [process.pid, *(_descendants(process.pid) if everything else [])]
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    process.wait()


def _descendants(parent: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found, open_ = [], [parent]
    while open_:
        own = children.get(open_.pop(), [])
        found += own
        open_ += own
    return found
