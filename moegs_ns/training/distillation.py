"""The distill stage: an expert trained anew beside a teacher (MoE-GS §3.4). The student is an ordinary expert run.

Which family the student is, its options, its learning rates and its schedule stand in the teacher; they are looked up
before anything is built or written, so ``config.yml`` names them like that of any expert.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.rich_utils import CONSOLE

from moegs_ns.distill.loss import PSEUDO_VIEW, STUDENT_GATE, TEACHER_IMAGE, Distillation, Variant
from moegs_ns.distill.pseudo_views import PseudoViews
from moegs_ns.distill.student import Recipe, recipe_of_student, recipe_of_teacher
from moegs_ns.distill.teacher import LiveViews, Teacher, TeacherViews, student_position
from moegs_ns.distill.teacher_cache import Precision, TeacherCache, remove_stale, teacher_cache
from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.registry import expert_family, family_of
from moegs_ns.experts.views import camera_time
from moegs_ns.router.experts import run_folder
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.router.same_scene import check_same_scene
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.paths import absolute
from moegs_ns.scene.one_camera import one_camera
from moegs_ns.training.load_run import load_model
from moegs_ns.training.optimizers import OPTIMIZERS
from moegs_ns.training.pipeline import MoegsPipeline, MoegsPipelineConfig, progress_bar
from moegs_ns.training.random_state import preserved_random_state
from moegs_ns.training.rebuild import optimizer_of_record
from moegs_ns.training.trainer_config import MoegsTrainerConfig

METHOD = "moegs-distill"
# Decided by who trains, not by the recipe.
_OWN_DATA_OPTIONS = ("data", "dataparser", "sampling_seed")


@dataclass
class StudentModelConfig(ModelConfig):
    """Stands for the student's model until the teacher is known."""

    _target: type = field(default_factory=lambda: _NoStudent)


class _NoStudent(Model):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("expected --teacher RUN --student NAME before a model is built, found none")


@dataclass
class DistillPipelineConfig(MoegsPipelineConfig):
    """Options of the distill stage."""

    _target: type = field(default_factory=lambda: DistillPipeline)
    teacher: Annotated[Path | None, tyro.conf.arg(prefix_name=False)] = None
    """Run folder of the trained mixture that teaches. Not needed to evaluate or view the student."""
    student: Annotated[str, tyro.conf.arg(prefix_name=False)] = ""
    """Name of the teacher's expert to train anew, with its recipe, from scratch: stg, 4dgaussians ..."""
    variant: Annotated[Variant, tyro.conf.arg(prefix_name=False)] = "weighted"
    """What the student is held against: `weighted` the video where the teacher's gate trusts this expert, elsewhere the
    teacher's picture (Eq. 11); `unweighted` both everywhere; `gt` the video alone, which is plain training."""
    ground_truth_weight: Annotated[float, tyro.conf.arg(prefix_name=False)] = 0.5
    """Lambda of Eq. 11 in [0,1]: share of the video's term, the rest is the teacher's."""
    balanced: Annotated[bool, tyro.conf.arg(prefix_name=False)] = True
    """Divide the weighted loss by the mean weight of a pixel: masks halve loss and gradients, and the thresholds of
    density control are made for whole ones. Not in the paper."""
    pseudo_views: Annotated[int, tyro.conf.arg(prefix_name=False)] = 0
    """Places between the training cameras, per instant, from which the teacher shows the scene too; 0 = none. Not in
    the paper."""
    pseudo_views_every: Annotated[int, tyro.conf.arg(prefix_name=False)] = 3
    """With --pseudo-views: once in so many steps these are what the student is held against."""
    teacher_views: Annotated[Literal["auto", "cache", "live"], tyro.conf.arg(prefix_name=False)] = "auto"
    """Render the teacher's views once and keep them on disk (`cache`), or in every step (`live`); `auto` keeps them
    where training sees more views than there are."""
    teacher_cache_gb: Annotated[float, tyro.conf.arg(prefix_name=False)] = 20.0
    """The most (10^9 bytes) a teacher's views may take on disk."""
    gate_precision: Annotated[Precision, tyro.conf.arg(prefix_name=False)] = "uint8"
    """How gates are kept on disk: `uint8`, at most 1/510 off, or `half`, twice as large and a tenth of that."""
    model: ModelConfig = field(default_factory=StudentModelConfig)

    def make_paths_absolute(self) -> None:
        """So that the run's ``config.yml`` works from any folder."""
        if self.teacher is not None:
            self.teacher = run_folder(absolute(self.teacher))


@dataclass
class DistillTrainerConfig(MoegsTrainerConfig):
    """Training options of a student."""

    max_num_iterations: int = 0
    """Training steps in all; 0 = as many as the teacher's expert had. The schedule stays the expert's."""
    pipeline: DistillPipelineConfig = field(default_factory=DistillPipelineConfig)

    @property
    def trained_expert(self) -> str:
        """The student's family."""
        return family_of(self.pipeline.model).name

    def prepare(self) -> None:
        """Make the student's model, optimizers and schedule those of the teacher's expert; then as for every method.

        Raises:
            ValueError, FileNotFoundError: no teacher, no such expert, data of another scene, or as for every method.
        """
        self.make_paths_absolute()
        pipeline, resumed = self.pipeline, self._resumed_run()
        if isinstance(pipeline.model, StudentModelConfig):
            if resumed is not None:
                self._take_recipe(recipe_of_student(resumed))
            else:
                self._take_recipe(recipe_of_teacher(pipeline.teacher, pipeline.student))
        super().prepare()

    def _resumed_run(self) -> Path | None:
        if self.load_checkpoint is not None:
            return self.load_checkpoint.parent.parent
        return self.load_dir

    def _take_recipe(self, recipe: Recipe) -> None:
        family = expert_family(recipe.family)
        self.pipeline.model = family.config_from_plain(recipe.config)
        self.optimizers = {
            name: optimizer_of_record(numbers, OPTIMIZERS[family.optimizer])
            for name, numbers in recipe.learning_rates.items()
        }
        self.max_num_iterations = self.max_num_iterations or recipe.steps
        datamanager = self.pipeline.datamanager
        known = {item.name for item in dataclasses.fields(datamanager)} - {"_target", *_OWN_DATA_OPTIONS}
        for name in known & set(recipe.datamanager):
            setattr(datamanager, name, recipe.datamanager[name])
        if recipe.spec is not None:
            for warning in check_same_scene([recipe.spec], self._read_scene_facts()):
                CONSOLE.print(f"[bold yellow]{warning}", soft_wrap=True)


class DistillPipeline(MoegsPipeline):
    """Adds to every training view what the teacher shows of it."""

    config: DistillPipelineConfig
    model: ExpertModel

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The student's. Training begins here, so the teacher gets ready.

        Raises:
            ValueError, FileNotFoundError, OSError: no teacher, or no room for its views.
        """
        config = self.config
        self._views: TeacherViews | None = None
        self._pseudo: tuple[PseudoViews, TeacherViews] | None = None
        self._taught: dict[str, Any] = {
            "student": config.student,
            "variant": config.variant,
            "ground_truth_weight": config.ground_truth_weight,
            "balanced": config.balanced,
            "pseudo_views": config.pseudo_views,
            "pseudo_views_every": config.pseudo_views_every,
        }
        self.model.supervise(Distillation(config.ground_truth_weight, config.variant, config.balanced))
        if config.variant != "gt":
            trainer = training_callback_attributes.trainer
            steps = 0 if trainer is None else int(trainer.config.max_num_iterations)
            with preserved_random_state():
                self._prepare_teacher(steps * self.datamanager.config.cameras_per_step)
        return super().get_training_callbacks(training_callback_attributes)

    def record_facts(self) -> dict[str, Any]:
        """What ``run.json`` says of the teaching."""
        return {"distilled": self._taught} if hasattr(self, "_taught") else {}

    def _train_group(self, step: int) -> list[tuple[Cameras, dict[str, Any]]]:
        group = super()._train_group(step)
        if self._pseudo is not None and step % self.config.pseudo_views_every == 0:
            return self._pseudo_group(*self._pseudo, camera_time(group[0][0], 0.0), len(group), step)
        if self._views is not None:
            for _, batch in group:
                batch[TEACHER_IMAGE], batch[STUDENT_GATE] = self._views.view(batch["image_idx"])
        return group

    @staticmethod
    def _pseudo_group(
        places: PseudoViews, views: TeacherViews, time: float, count: int, step: int
    ) -> list[tuple[Cameras, dict[str, Any]]]:
        return [
            (one_camera(places.cameras, index), {"image": views.view(index)[0], PSEUDO_VIEW: True})
            for index in places.choose(time, count, step)
        ]

    def _prepare_teacher(self, views_seen: int) -> None:
        """Get the teacher's views, kept on disk if asked for, or where more are looked at than there are."""
        config, run = self.config, self.config.teacher
        if run is None:
            raise ValueError("expected the run folder of a trained mixture behind --teacher, found none")
        checkpoint, mixture = find_checkpoint(run), load_model(run, self.device)
        if not isinstance(mixture, MixtureModel):
            raise ValueError(f"expected the run of a mixture (moegs-router) to teach, found another kind at {run}")
        dataset = self.datamanager.train_dataset
        teacher = Teacher(mixture, dataset.metadata.get("camera_names", []))
        position = student_position(mixture.expert_names, config.student)
        self._taught |= {"teacher": str(run), "checkpoint": checkpoint.name}
        lists = {"views": dataset.cameras}
        if config.pseudo_views:
            places = PseudoViews(dataset.cameras, config.pseudo_views, self.datamanager.config.sampling_seed)
            lists["pseudo-views"] = places.cameras
        share = 1 / config.pseudo_views_every if config.pseudo_views else 0.0
        seen = {"views": (1 - share) * views_seen, "pseudo-views": share * views_seen}
        found: dict[str, TeacherViews] = {}
        for kind, cameras in lists.items():
            mode = config.teacher_views
            if mode == "auto":
                mode = "cache" if seen[kind] > len(cameras) else "live"
            self._taught[kind.replace("-", "_") + "_from"] = mode
            if mode == "live":
                found[kind] = LiveViews(teacher, cameras, position, self.device)
            else:
                cache = teacher_cache(run, checkpoint, cameras, teacher.num_experts, config.gate_precision)
                self._fill(cache, teacher, cameras, kind)
                found[kind] = cache.of_expert(position, self.device)
                if kind == "views":
                    self._taught["quantisation"] = cache.facts()["quantisation"]
        self._views = found["views"]
        if config.pseudo_views:
            self._pseudo = places, found["pseudo-views"]

    def _fill(self, cache: TeacherCache, teacher: Teacher, cameras: Cameras, kind: str) -> None:
        for folder in remove_stale(cache):
            CONSOLE.print(f"The teacher was trained on since it filled {folder}: deleted", soft_wrap=True)
        missing = cache.missing()
        if missing:
            cache.check_space(self.config.teacher_cache_gb)
            there = cache.shape.views - len(missing)
            CONSOLE.print(f"Rendering {len(missing)} of the teacher's {kind} ({there} are there) into {cache.folder}")
        with progress_bar(f"The teacher's {kind}", len(missing)) as advance:

            def watch(indices: list[int]) -> Any:
                for index in indices:
                    yield index
                    advance()

            cache.fill(
                lambda index: teacher.view(one_camera(cameras, index)),
                watch,
                lambda: CONSOLE.print("Waiting for another process that renders the same teacher's views"),
            )
