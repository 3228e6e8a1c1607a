"""The pipeline of the distill stage, and how a teacher's views are got ready for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.utils.rich_utils import CONSOLE

from moegs_ns.distill.lessons import Between, Group, Lessons
from moegs_ns.distill.loss import Distillation
from moegs_ns.distill.pseudo_views import PseudoViews
from moegs_ns.distill.student import is_run
from moegs_ns.distill.teacher import LiveViews, Teacher, TeacherViews, student_position
from moegs_ns.distill.teacher_cache import TeacherCache, file_digest, remove_stale, teacher_cache
from moegs_ns.experts.base import ExpertModel
from moegs_ns.router.fused import FusedModel
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.record import read_run_record
from moegs_ns.scene.one_camera import one_camera
from moegs_ns.training.load_run import load_model
from moegs_ns.training.pipeline import MoegsPipeline, progress_bar
from moegs_ns.training.random_state import preserved_random_state

if TYPE_CHECKING:  # whose options this reads
    from moegs_ns.training.distillation import DistillPipelineConfig


class DistillPipeline(MoegsPipeline):
    """Adds to every training view what the teacher shows of it."""

    config: "DistillPipelineConfig"
    model: ExpertModel | FusedModel
    _lessons: Lessons | None = None
    _taught: dict[str, Any] | None = None

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The student's. Training begins here, so the teacher gets ready.

        Raises:
            ValueError, FileNotFoundError, OSError: no teacher, another one than a resumed run had, or no room for its
                views.
        """
        config, trainer = self.config, training_callback_attributes.trainer
        self._taught = {
            name: getattr(config, name)
            for name in ("student", "variant", "ground_truth_weight", "balanced", "pseudo_views", "pseudo_views_every")
        }
        self.model.supervise(Distillation(config.ground_truth_weight, config.variant, config.balanced))
        if config.variant != "gt":
            steps = 0 if trainer is None else int(trainer.config.max_num_iterations)
            resumed = None if trainer is None else trainer.config.load_checkpoint
            with preserved_random_state():
                self._prepare_lessons(steps * self.datamanager.config.cameras_per_step, resumed)
        return super().get_training_callbacks(training_callback_attributes)

    def record_facts(self) -> dict[str, Any]:
        """What ``run.json`` says of the teaching."""
        return {} if self._taught is None else {"distilled": self._taught}

    def _train_group(self, step: int) -> Group:
        group = super()._train_group(step)
        return group if self._lessons is None else self._lessons.of_step(group, step)

    def _prepare_lessons(self, views_seen: int, resumed: Path | None) -> None:
        config, run = self.config, self.config.teacher
        if run is None:
            raise ValueError("expected the run folder of a trained mixture behind --teacher, found none")
        checkpoint = find_checkpoint(run)
        facts = {"teacher": str(run), "checkpoint": checkpoint.name, "checkpoint_sha256": file_digest(checkpoint)}
        _check_same_teacher(facts, resumed)
        self._note(facts)
        mixture = load_model(run, self.device)
        if not isinstance(mixture, MixtureModel):
            raise ValueError(f"expected the run of a mixture (moegs-router) to teach, found another kind at {run}")
        cameras = self.datamanager.train_dataset.cameras
        teacher = Teacher(mixture, self.datamanager.train_dataset.metadata.get("camera_names", []))
        if not config.pseudo_views:
            self._lessons = Lessons(self._views_of("views", cameras, views_seen, teacher, checkpoint))
            return
        between = views_seen // config.pseudo_views_every
        places = PseudoViews(cameras, config.pseudo_views, self.datamanager.config.sampling_seed)
        views = self._views_of("views", cameras, views_seen - between, teacher, checkpoint)
        others = self._views_of("pseudo-views", places.cameras, between, teacher, checkpoint)
        self._lessons = Lessons(views, Between(places, others, config.pseudo_views_every))

    def _views_of(self, kind: str, cameras: Cameras, seen: int, teacher: Teacher, checkpoint: Path) -> TeacherViews:
        """What the teacher shows: kept on disk if asked for, or where more views are looked at than there are."""
        config, position = self.config, self._position(teacher)
        mode = config.teacher_views
        if mode == "auto":
            mode = "cache" if seen > len(cameras) else "live"
        self._note({f"{kind.replace('-', '_')}_from": mode})
        if mode == "live":
            return LiveViews(teacher, cameras, position, self.device)
        assert config.teacher is not None
        experts = len(teacher.expert_names)
        cache = teacher_cache(config.teacher, checkpoint, cameras, experts, config.gate_precision)
        _fill(cache, teacher, cameras, kind, config.teacher_cache_gb)
        if kind == "views":
            self._note({"quantisation": cache.facts()["quantisation"]})
        return cache.of_expert(position, self.device)

    def _position(self, teacher: Teacher) -> int | None:
        """Of the student among the teacher's experts; None for one that no gate is about.

        Raises:
            ValueError: there is no gate for it, and it is to be taught with one.
        """
        config = self.config
        of_no_gate = isinstance(self.model, FusedModel) or is_run(config.student)
        if not of_no_gate:
            return student_position(teacher.expert_names, config.student)
        if config.variant == "weighted":
            found = "a fused model" if isinstance(self.model, FusedModel) else f"the run {config.student}"
            raise ValueError(
                f"expected one of the teacher's experts ({', '.join(teacher.expert_names)}) for --variant weighted, "
                f"found {found}, for which it has no gate; give --variant unweighted"
            )
        return None

    def _note(self, facts: dict[str, Any]) -> None:
        self._taught = {**(self._taught or {}), **facts}


def _check_same_teacher(facts: dict[str, Any], resumed: Path | None) -> None:
    """Refuse to go on with a student whose teacher has learnt since.

    Raises:
        ValueError: the resumed run's record names another checkpoint.
    """
    if resumed is None:
        return
    before = read_run_record(resumed.parent.parent).get("distilled") or {}  # none where an expert is gone on with
    if before.get("checkpoint_sha256", facts["checkpoint_sha256"]) != facts["checkpoint_sha256"]:
        raise ValueError(
            f"expected the teacher {resumed.parent.parent} began with ({before['teacher']}, {before['checkpoint']}), "
            f"found other content in {facts['checkpoint']} of {facts['teacher']}; train the student anew"
        )


def _fill(cache: TeacherCache, teacher: Teacher, cameras: Cameras, kind: str, limit_gb: float) -> None:
    for folder in remove_stale(cache):
        CONSOLE.print(f"The teacher was trained on since it filled {folder}: deleted", soft_wrap=True)
    missing = cache.missing()
    if missing:
        cache.check_space(limit_gb)
        there = cache.shape.views - len(missing)
        CONSOLE.print(f"Rendering {len(missing)} of the teacher's {kind} ({there} are there) into {cache.folder}")
    with progress_bar(f"The teacher's {kind}", len(missing)) as advance:

        def watch(indices: list[int]) -> Iterator[int]:
            for index in indices:
                yield index
                advance()

        cache.fill(
            lambda index: teacher.view(one_camera(cameras, index)),
            watch,
            lambda: CONSOLE.print("Waiting for another process that renders the same teacher's views"),
        )
