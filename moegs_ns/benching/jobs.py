"""Everything a suite asks for, as jobs that need one another: training runs, and runs that `moegs` makes of them."""

import json
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moegs_ns.benching.suite import Fusion, PlannedStage, Pruning, Row, Suite, usual_stage
from moegs_ns.files import write_json
from moegs_ns.reporting.evaluation_files import EVALUATION_NAME
from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER, list_checkpoints
from moegs_ns.training.processes import RunCommand, StageFailedError
from moegs_ns.training.run_jobs import Event
from moegs_ns.training.run_stages import bring_to_end, evaluate_stage
from moegs_ns.training.stages import FUSED_METHOD, Scene, Stage, State

GEOMETRY_NAME = "geometry.json"
"""What `moegs report geometry` measured, in the run folder."""
#: Told what happens to a job.
Tell = Callable[["AnyStage", Event], None]

_FOLDER = "jobs"
_DONE_NAME = "done.json"
_BEGUN_NAME = "begun.json"


@dataclass(frozen=True)
class CommandJob:
    """A `moegs` command that makes a run of another one, or measures it.

    What was done of which checkpoint is kept beside its log, since such runs do not say by themselves whether they are
    whole.

    Attributes:
        words: the command.
        source: run folder it reads.
        folder: for its log and notes.
        run: run folder it makes; for a measurement the file it writes.
        needs: run folders that must be finished before.
        scored: the run it makes, to be scored afterwards; None where the command does that itself, or there is none.
        resumes: whether the command goes on with what an interrupted one left; else that is deleted.
    """

    words: tuple[str, ...]
    source: Path
    folder: Path
    run: Path
    needs: tuple[Path, ...]
    scored: Stage | None = None
    resumes: bool = True

    @property
    def log(self) -> Path:
        """What the command prints."""
        return self.folder / "command.log"

    def shown(self) -> str:
        """The command line as one would type it."""
        return shlex.join(self.words)

    def state(self) -> State:
        """How far it is, by the newest checkpoint of its source."""
        if not self.run.exists() or not (self.folder / _BEGUN_NAME).is_file():
            return "missing"
        done = self.folder / _DONE_NAME
        return "finished" if done.is_file() and json.loads(done.read_text("utf8")) == self._note() else "interrupted"

    def check_made_alike(self) -> list[str]:
        """Refuse what is there and was not made by this job.

        Raises:
            ValueError: a run nobody knows, or one made by other options or of another checkpoint.
        """
        state = self.state()
        if state == "missing" and self.run.exists() and not self.resumes:
            raise ValueError(
                f"expected {self.run} to be made by this suite, found a run that was there before; delete that folder, "
                "or choose another --output-dir"
            )
        if state != "missing" and self._was_begun_otherwise():
            raise ValueError(
                f"expected {self.run} to be made by `{self.shown()}` of the newest checkpoint of {self.source}, found "
                "it made otherwise; delete that folder and run the same command again"
            )
        return []

    def bring_to_end(self, run: RunCommand, device: str | None, notify: Tell, retrained: frozenset[Path]) -> bool:
        """Run the command unless it is done.

        Returns:
            Whether it had to be.

        Raises:
            StageFailedError: it failed, or what is there was made of an earlier version of its source.
        """
        state = self.state()
        remade = self.source in retrained and not self._is_measurement()
        if state != "missing" and (remade or self._was_begun_otherwise()):
            raise StageFailedError(
                f"{self.run} was made of an earlier {self.source}, which had to be trained anew; delete {self.run} and "
                "run the same command again"
            )
        if state == "finished":
            notify(self, "skipped")
            return False
        notify(self, "resume" if state == "interrupted" else "train")
        if state == "interrupted" and not self.resumes:
            shutil.rmtree(self.run)  # begun.json says that this job made it
        self._write(_BEGUN_NAME)
        run(self.words, self.log, device, False)
        if self.scored is not None:
            notify(self, "evaluate")
            evaluate_stage(self.scored, run, device)
        self._write(_DONE_NAME)
        notify(self, "trained")
        return True

    def _was_begun_otherwise(self) -> bool:
        """Whether the run that is there is of other options or another checkpoint; measurements are just made anew."""
        begun = json.loads((self.folder / _BEGUN_NAME).read_text("utf8"))
        return not self._is_measurement() and begun != self._note()

    def _is_measurement(self) -> bool:
        return self.run.suffix == ".json"

    def _note(self) -> dict[str, object]:
        """What was done to what; paths as far as they identify runs below the output folder."""
        newest = max(list_checkpoints(self.source / CHECKPOINT_FOLDER), default=None)
        options = [word for word in self.words if not Path(word).is_absolute()]
        return {"command": options, "source": "/".join(self.source.parts[-3:]), "checkpoint": newest}

    def _write(self, name: str) -> None:
        write_json(self.folder / name, self._note())


AnyStage = Stage | CommandJob


@dataclass(frozen=True)
class PlannedJob:
    """A job of a suite.

    Attributes:
        job: what to do.
        scene: name of the scene.
        seed: of its plan.
        row: which row of the table its run belongs to; None for measurements of a run.
    """

    job: AnyStage
    scene: str
    seed: int
    row: Row | None = None

    @property
    def is_scored(self) -> bool:
        """Whether its run is finished and has scores."""
        return self.row is not None and self.job.state() == "finished" and (self.job.run / EVALUATION_NAME).is_file()


def suite_jobs(
    suite: Suite, output_dir: Path, folders: Sequence[Path] = (), assume_data: bool = False
) -> list[PlannedJob]:
    """The jobs of all scenes and seeds, each behind those it needs, scene by scene.

    Args:
        suite: what is asked for.
        output_dir: where runs are filed.
        folders: where data are looked for first.
        assume_data: plan scenes whose data are nowhere, too.

    Raises:
        FileNotFoundError: data that are nowhere.
        ValueError: experts or presets that do not exist or do not fit.
    """
    found: list[PlannedJob] = []
    for scene in suite.scenes:
        training_scene = suite.training_scene(scene, output_dir, folders, assume_data)
        for seed in suite.seeds:
            planned = suite.planned_stages(scene, training_scene, seed)
            found += [PlannedJob(one.stage, one.scene, one.seed, one.row) for one in planned]
            found += _made_of(suite, planned, training_scene)
    return found


def bring_job_to_end(
    job: AnyStage, run: RunCommand, device: str | None, notify: Tell, retrained: frozenset[Path]
) -> bool:
    """Do a job of a suite, or what is left of it; whether there was anything to train."""
    if isinstance(job, CommandJob):
        return job.bring_to_end(run, device, notify, retrained)
    return bring_to_end(job, run, device, notify, retrained)


def _made_of(suite: Suite, planned: Sequence[PlannedStage], scene: Scene) -> list[PlannedJob]:
    """What `moegs` makes of the last set's mixture."""
    experts, first = suite.experts[-1], planned[0]
    if len(experts) == 1 and not suite.geometry:
        return []
    source = usual_stage(planned, experts)
    jobs: list[tuple[CommandJob, Row | None]] = []
    if suite.pruning:
        for ratio in suite.pruning.ratios:
            jobs.append((_prune(source, suite.pruning, ratio, scene), Row(experts, f"{_percent(ratio)} pruned")))
    if suite.fusion:
        fused = _fuse(source, suite.fusion, scene)
        jobs.append((fused, Row(experts, "fused")))
        jobs += [
            (_fuse(source, suite.fusion, scene, what, fused), Row(experts, f"fused, {what} fine-tuned"))
            for what in suite.fusion.finetune
        ]
    if suite.geometry:  # not of pruned mixtures, whose experts would pass for the whole ones
        runs = [source.run, *(job.run for job, _ in jobs if job.words[1] == "fuse")]
        jobs += [(_measure(run, scene), None) for run in runs]
    return [PlannedJob(job, first.scene, first.seed, row) for job, row in jobs]


def _prune(source: Stage, pruning: Pruning, ratio: float, scene: Scene) -> CommandJob:
    tuned = f"-tuned-{pruning.finetune_steps}" if pruning.finetune_steps else ""
    criterion = pruning.criterion.replace("*", "-")
    target = source.run.with_name(f"{source.run.name}-{criterion}-{_percent(ratio).rstrip('%')}{tuned}")
    words: tuple[str, ...] = (
        "moegs",
        "prune",
        str(source.run),
        "--ratio",
        str(ratio),
        "--criterion",
        pruning.criterion,
    )
    words += ("--finetune-steps", str(pruning.finetune_steps), "--split", "none", "--output", str(target))
    scored = replace(source, run=target, steps=source.steps + pruning.finetune_steps)
    folder = _job_folder(scene, "prune", target)
    return CommandJob(words, source.run, folder, target, (source.run,), scored, resumes=False)


def _fuse(
    source: Stage, fusion: Fusion, scene: Scene, finetune: str | None = None, fused: CommandJob | None = None
) -> CommandJob:
    name = source.run.name + (f"-{finetune}" if finetune else "")
    target = scene.output_dir / scene.name / FUSED_METHOD / name
    words: tuple[str, ...] = ("moegs", "fuse", str(source.run), "--output-dir", str(scene.output_dir))
    if fusion.background is not None:
        words += ("--background", fusion.background)
    if finetune is not None:
        words += ("--finetune-steps", str(fusion.finetune_steps), "--finetune", finetune)
    needs = (source.run,) if fused is None else (source.run, fused.run)
    return CommandJob(words, source.run, _job_folder(scene, "fuse", target), target, needs)


def _measure(run: Path, scene: Scene) -> CommandJob:
    words = ("moegs", "report", "geometry", str(run))
    folder = _job_folder(scene, "geometry", run)
    return CommandJob(words, run, folder, run / GEOMETRY_NAME, (run,))


def _job_folder(scene: Scene, kind: str, run: Path) -> Path:
    return scene.output_dir / scene.name / _FOLDER / f"{kind}-{run.parent.name}-{run.name}"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:g}%"


def name_of(job: AnyStage) -> str:
    """``<scene>/<method>/<name>``, what identifies a run below its output folder."""
    return "/".join(job.run.parts[-4 if job.run.suffix == ".json" else -3 :])
