"""The jobs of a suite on a cluster: one Slurm job each, begun when those it needs have ended well, by submitit."""

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moegs_ns.benching.jobs import AnyStage, bring_job_to_end, name_of
from moegs_ns.files import write_json
from moegs_ns.training.processes import Processes

#: ``slurm``; or, to try a suite, ``local`` (each job a process of this machine) and ``debug`` (in this process).
Cluster = Literal["slurm", "local", "debug"]
_SUBMITTED_NAME = "submitted.json"
_MINUTES_PER_HOUR = 60


@dataclass(frozen=True)
class Resources:
    """What a job may use.

    Attributes:
        partition: of the cluster; None for its default.
        hours: longest time of a job, which goes on in a new one where it was cut off.
        memory_gb: memory in GB.
        cpus: processor cores.
        gpus: GPUs; 0 for none.
        options: further options of sbatch, ``name=value``, such as ``account=lab``.
    """

    partition: str | None = None
    hours: float = 24.0
    memory_gb: int = 64
    cpus: int = 8
    gpus: int = 1
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.hours < float("inf") or self.memory_gb < 1 or self.cpus < 1 or self.gpus < 0:
            raise ValueError(
                f"expected positive hours, memory and cores and no negative number of GPUs, found {self.hours:g} "
                f"hours, {self.memory_gb} GB, {self.cpus} cores, {self.gpus} GPUs"
            )
        if wrong := [option for option in self.options if "=" not in option.strip("=")]:
            raise ValueError(f"expected options of sbatch as name=value, found {', '.join(wrong)}")


class JobTask:
    """A job as a node of the cluster does it. Cut off by its time limit or pre-empted, it is queued again and goes on
    from the last checkpoint.

    Args:
        job: of a suite.
    """

    def __init__(self, job: AnyStage) -> None:
        self.job = job

    def __call__(self) -> bool:
        """Do the job, or what is left of it.

        Returns:
            Whether there was anything to train.

        Raises:
            StageFailedError: it failed; the message names its log.
        """
        processes = Processes()
        try:
            return bring_job_to_end(self.job, processes.run, None, self._say, frozenset())
        except BaseException:
            processes.stop()
            raise

    def checkpoint(self) -> Any:
        """What submitit queues again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _say(self, job: AnyStage, event: str) -> None:
        import logging

        logging.getLogger("moegs_ns").warning("%s: %s", event, name_of(job))


@dataclass(frozen=True)
class Submitted:
    """Jobs handed to a cluster.

    Attributes:
        new: submitted now, submitit's jobs by name of the run.
        queued: those that wait or run since an earlier call, ids by name of the run.
    """

    new: dict[str, Any]
    queued: dict[str, str]


def submit_jobs(
    jobs: Sequence[AnyStage],
    cluster: Cluster,
    logs: Path,
    resources: Resources,
    say: Callable[[str], None] = lambda line: None,
) -> Submitted:
    """Hand the unfinished jobs to a cluster.

    On Slurm every job names those it needs as dependencies (``afterok``) and is dropped when one of them fails. The
    other two have no dependencies: there a job is waited for before the next one begins.

    Args:
        jobs: every one behind those it needs.
        cluster: where.
        logs: folder for submitit's files and logs, which all nodes must see, like data, runs and this package.
        resources: of each job.
        say: told what was submitted.

    Raises:
        RuntimeError: submitit is not installed.
        ValueError: runs that are there do not fit the plan, or Slurm is not here; nothing was submitted.
        StageFailedError: a job of ``local`` or ``debug`` failed.
    """
    executor = _executor(cluster, logs, resources)
    for job in jobs:
        job.check_made_alike()
    logs.mkdir(parents=True, exist_ok=True)
    known = _still_queued(logs) if cluster == "slurm" else {}
    ids: dict[Path, str] = {}
    new: dict[str, Any] = {}
    queued: dict[str, str] = {}
    for job in jobs:
        name = name_of(job)
        if name in known:
            ids[job.run] = queued[name] = known[name]
            say(f"queued before as {known[name]}: {name}")
            continue
        needed = [ids[run] for run in job.needs if run in ids]
        if job.state() == "finished" and not needed and _is_scored(job):
            say(f"finished before: {name}")
            continue
        dependency = f"afterok:{':'.join(needed)}" if needed else None
        executor.update_parameters(name=_short(name))
        if cluster == "slurm":
            executor.update_parameters(slurm_dependency=dependency)
        submitted = executor.submit(JobTask(job))
        new[name] = submitted
        ids[job.run] = submitted.job_id
        if cluster == "slurm":
            _note(logs, {**known, **queued, **{one: its.job_id for one, its in new.items()}})
        say(f"submitted as {submitted.job_id}{f', after {chr(44).join(needed)}' if needed else ''}: {name}")
        if cluster != "slurm":
            wait_for({name: submitted})
    return Submitted(new, queued)


def wait_for(jobs: dict[str, Any]) -> None:
    """Wait for submitted jobs.

    Raises:
        StageFailedError: one failed, or was cancelled with one it needed.
    """
    from moegs_ns.training.processes import StageFailedError

    failed = []
    for name, job in jobs.items():
        error = job.exception()
        if error is not None:
            failed.append(f"{name}: {_reason(error)} (log {job.paths.stderr})")
    if failed:
        raise StageFailedError(f"{len(failed)} of {len(jobs)} jobs failed: {'; '.join(failed)}")


def _reason(error: BaseException) -> str:
    """The line of submitit's report on a job that says what went wrong in it, else all of it."""
    lines = [line.strip() for line in str(error).splitlines()]
    found = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return found[-1] if found else " ".join(lines)


def _executor(cluster: Cluster, logs: Path, resources: Resources) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise RuntimeError(
            "expected submitit for --cluster, which is not installed; pip install 'moegs_ns[cluster]'"
        ) from error
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=cluster)
    except RuntimeError as error:
        raise ValueError(
            f"expected the commands of Slurm (sbatch, srun) on this machine, found none ({error}); run this on a login "
            "node, or leave --cluster out"
        ) from error
    executor.update_parameters(timeout_min=round(_MINUTES_PER_HOUR * resources.hours) or 1)
    if cluster == "slurm":
        further: dict[str, Any] = dict(option.split("=", 1) for option in resources.options)
        executor.update_parameters(
            cpus_per_task=resources.cpus,
            mem_gb=resources.memory_gb,
            tasks_per_node=1,
            nodes=1,
            slurm_additional_parameters={"kill-on-invalid-dep": "yes", **further},
            **({"gpus_per_node": resources.gpus} if resources.gpus else {}),
            **({"slurm_partition": resources.partition} if resources.partition else {}),
        )
    return executor


def _is_scored(job: AnyStage) -> bool:
    """Whether a finished job has nothing left to do."""
    from moegs_ns.training.run_stages import stored_evaluation
    from moegs_ns.training.stages import Stage

    return not isinstance(job, Stage) or stored_evaluation(job) is not None


def _still_queued(logs: Path) -> dict[str, str]:
    """Jobs of an earlier call that wait or run, by name of the run."""
    file = logs / _SUBMITTED_NAME
    if not file.is_file():
        return {}
    noted: dict[str, str] = json.loads(file.read_text("utf8"))
    command = ["squeue", "--noheader", "--me", "--format=%A"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ValueError(
            f"expected squeue to say which jobs of {file} are still queued, found it failing "
            f"({answer.stderr.strip()}); try again, or delete that file if none is"
        )
    active = set(answer.stdout.split())
    return {name: number for name, number in noted.items() if number in active}


def _note(logs: Path, numbers: dict[str, str]) -> None:
    write_json(logs / _SUBMITTED_NAME, numbers)


def _short(name: str) -> str:
    """What the queue shows: scene and method."""
    scene, method = name.split("/")[:2]
    return f"{scene}-{method}"
