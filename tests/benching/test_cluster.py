"""Jobs on a cluster: by submitit's executors of this machine, and by Slurm's commands in imitation."""

import json
import sys
from pathlib import Path

import pytest

from moegs_ns.benching.cluster import JobTask, Resources, submit_jobs, wait_for
from moegs_ns.benching.jobs import AnyStage, CommandJob
from moegs_ns.training import child
from moegs_ns.training.processes import StageFailedError
from moegs_ns.training.stages import Scene, Stage

pytest.importorskip("submitit")

#: In place of the real commands: leaves a note where it was run, and the file it was asked for.
STAND_IN = """
import sys
from pathlib import Path
def main():
    name, target, *needs = sys.argv[1:]
    missing = [need for need in needs if not Path(need).exists()]
    if missing or name == "fail":
        sys.exit(f"RuntimeError: {name} cannot be done {missing}")
    Path(target).mkdir(parents=True)
    with open(Path(target).parent / "order.txt", "a") as file:
        file.write(name + "\\n")
"""
SBATCH = """#!/bin/sh
number=$(($(cat "$FAKE_SLURM/count" 2>/dev/null || echo 100) + 1))
echo $number > "$FAKE_SLURM/count"
for last; do :; done
cp "$last" "$FAKE_SLURM/$number.sh"
echo "Submitted batch job $number"
"""


def command(tmp_path: Path, name: str, *needs: CommandJob) -> CommandJob:
    run = tmp_path / "runs" / "mixed" / "jobs-of-test" / name
    words = ("moegs", name, str(run), *(str(need.run) for need in needs))
    return CommandJob(words, run, tmp_path / "jobs" / name, run, tuple(need.run for need in needs))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`moegs`, as a child process runs it, replaced by `STAND_IN`."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "stand_in.py").write_text(STAND_IN)
    (tmp_path / "modules" / "sitecustomize.py").write_text(
        "import sys\nimport stand_in\nsys.modules['moegs_ns.cli.main'] = stand_in\n"
    )
    root = Path(child.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'modules'}:{root}")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds what was submitted to an imitation of Slurm, whose queue is the file ``queue``."""
    folder = tmp_path / "slurm"
    (folder / "bin").mkdir(parents=True)
    (folder / "queue").touch()
    for name, text in (
        ("sbatch", SBATCH),
        ("srun", "#!/bin/sh\n"),
        ("squeue", '#!/bin/sh\ncat "$FAKE_SLURM/queue"\n'),
    ):
        file = folder / "bin" / name
        file.write_text(text)
        file.chmod(0o755)
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
    return folder


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_jobs_are_done_in_order_and_once(tmp_path: Path, cluster: str) -> None:
    first = command(tmp_path, "first")
    second = command(tmp_path, "second", first)
    jobs: list[AnyStage] = [first, second, command(tmp_path, "third", first, second)]
    said: list[str] = []
    submitted = submit_jobs(jobs, cluster, tmp_path / "logs", Resources(), said.append)  # type: ignore[arg-type]
    wait_for(submitted.new)
    assert (first.run.parent / "order.txt").read_text().split() == ["first", "second", "third"]
    assert len(submitted.new) == 3 and all(job.state() == "finished" for job in jobs)
    again: list[str] = []
    assert submit_jobs(jobs, cluster, tmp_path / "logs", Resources(), again.append).new == {}  # type: ignore[arg-type]
    assert all(line.startswith("finished before: mixed/jobs-of-test/") for line in again)


@pytest.mark.usefixtures("stand_in")
def test_a_job_that_fails_names_its_log_and_stops_what_needs_it(tmp_path: Path) -> None:
    failing = command(tmp_path, "fail")
    with pytest.raises(StageFailedError, match=r"fail: .*RuntimeError: fail cannot be done.*\(log .*logs.*err\)"):
        submit_jobs([failing, command(tmp_path, "next", failing)], "local", tmp_path / "logs", Resources())
    assert not (tmp_path / "runs").exists()


def test_slurm_jobs_wait_for_those_they_need(tmp_path: Path, slurm: Path) -> None:
    scene = Scene(Path("examples/mixed"), output_dir=tmp_path / "runs")
    experts = [
        Stage(f"moegs-{name}", tmp_path / "runs" / "mixed" / f"moegs-{name}" / "a", 5, (), scene)
        for name in ("stg", "ed3dgs")
    ]
    router = Stage(
        "moegs-router", tmp_path / "runs/mixed/moegs-router/a", 5, (), scene, needs=tuple(one.run for one in experts)
    )
    resources = Resources("gpus", 12.5, 48, 6, 2, ("account=lab", "qos=long"))
    submitted = submit_jobs([*experts, router], "slurm", tmp_path / "logs", resources)
    assert [job.job_id for job in submitted.new.values()] == ["101", "102", "103"]
    scripts = [(slurm / f"{number}.sh").read_text() for number in (101, 102, 103)]
    assert "--dependency" not in scripts[0] + scripts[1]
    assert "#SBATCH --dependency=afterok:101:102\n" in scripts[2]
    for line in (
        "partition=gpus",
        "time=750",
        "mem=48GB",
        "cpus-per-task=6",
        "gpus-per-node=2",
        "account=lab",
        "qos=long",
    ):
        assert f"#SBATCH --{line}\n" in scripts[0]
    assert "#SBATCH --kill-on-invalid-dep=yes\n" in scripts[2]
    assert "#SBATCH --job-name=mixed-moegs-router\n" in scripts[2]
    assert json.loads((tmp_path / "logs" / "submitted.json").read_text()) == {
        "mixed/moegs-stg/a": "101",
        "mixed/moegs-ed3dgs/a": "102",
        "mixed/moegs-router/a": "103",
    }


def test_what_is_still_queued_is_not_submitted_again(tmp_path: Path, slurm: Path) -> None:
    first = command(tmp_path, "first")
    jobs: list[AnyStage] = [first, command(tmp_path, "second", first)]
    submit_jobs(jobs, "slurm", tmp_path / "logs", Resources())
    (slurm / "queue").write_text("101\n77\n")
    said: list[str] = []
    again = submit_jobs(jobs, "slurm", tmp_path / "logs", Resources(), said.append)
    assert again.queued == {"mixed/jobs-of-test/first": "101"}
    assert said == [
        "queued before as 101: mixed/jobs-of-test/first",
        "submitted as 103, after 101: mixed/jobs-of-test/second",
    ]
    assert "#SBATCH --dependency=afterok:101\n" in (slurm / "103.sh").read_text()


def test_a_squeue_that_fails_submits_nothing(tmp_path: Path, slurm: Path) -> None:
    jobs: list[AnyStage] = [command(tmp_path, "first")]
    submit_jobs(jobs, "slurm", tmp_path / "logs", Resources())
    (slurm / "bin" / "squeue").write_text("#!/bin/sh\necho no controller >&2\nexit 1\n")
    with pytest.raises(ValueError, match="expected squeue to say .*no controller"):
        submit_jobs(jobs, "slurm", tmp_path / "logs", Resources())
    assert (slurm / "count").read_text() == "101\n"


def test_without_slurm_nothing_is_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"expected the commands of Slurm \(sbatch, srun\) on this machine"):
        submit_jobs([command(tmp_path, "first")], "slurm", tmp_path / "logs", Resources())


def test_without_submitit_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(RuntimeError, match=r"pip install 'moegs_ns\[cluster\]'"):
        submit_jobs([command(tmp_path, "first")], "local", tmp_path / "logs", Resources())


def test_a_job_that_was_cut_off_is_queued_as_it_is(tmp_path: Path) -> None:
    task = JobTask(command(tmp_path, "first"))
    assert task.checkpoint().function is task


@pytest.mark.parametrize("wrong", [{"hours": 0}, {"memory_gb": 0}, {"cpus": 0}, {"gpus": -1}, {"options": ("lab",)}])
def test_resources_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        Resources(**wrong)
