"""The distill stage: an expert trained anew beside a teacher (MoE-GS §3.4). The student is an ordinary expert run.

Which family the student is, its options, its learning rates and its schedule stand in the teacher; they are looked up
before anything is built or written, so ``config.yml`` names them like that of any expert.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.rich_utils import CONSOLE

from moegs_ns.distill.loss import Distillation, Variant
from moegs_ns.distill.student import FUSED, Recipe, is_run, recipe_of_run, recipe_of_student, recipe_of_teacher
from moegs_ns.distill.teacher_cache import Precision
from moegs_ns.experts.registry import expert_family, family_of
from moegs_ns.router.experts import run_folder
from moegs_ns.router.fused import FusedModelConfig
from moegs_ns.router.same_scene import check_same_scene
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.paths import absolute
from moegs_ns.training.load_run import config_from_plain
from moegs_ns.training.optimizers import OPTIMIZERS, AdamConfig, RAdamConfig
from moegs_ns.training.pipeline import MoegsPipelineConfig
from moegs_ns.training.rebuild import optimizer_of_record
from moegs_ns.training.teaching import DistillPipeline
from moegs_ns.training.trainer_config import MoegsTrainerConfig

#: Of --pseudo-views-every: one step of two shows the video.
_SHORTEST_CYCLE = 2
# Decided by who trains, not by the recipe.
_OWN_DATA_OPTIONS = ("data", "dataparser", "sampling_seed", "ram_budget")


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
    """Name of the teacher's expert to train anew, with its recipe, from scratch: stg, 4dgaussians ... Or the run folder
    of an expert of any family, which is trained anew as that run was; the teacher has no gate for it, so it is taught
    with `--variant unweighted`. Not needed with --load-dir."""
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

    def check_options(self) -> None:
        """Refuse options out of range, or that exclude each other, before anything is written.

        Raises:
            ValueError: the message names the option.
        """
        Distillation(self.ground_truth_weight, self.variant, self.balanced)
        if self.pseudo_views < 0:
            raise ValueError(f"expected --pseudo-views of 0 or more, found {self.pseudo_views}")
        if self.pseudo_views and self.pseudo_views_every < _SHORTEST_CYCLE:
            raise ValueError(
                f"expected --pseudo-views-every of at least {_SHORTEST_CYCLE}, found {self.pseudo_views_every}: some "
                "steps must show the video"
            )
        if not 0 <= self.teacher_cache_gb < math.inf:
            raise ValueError(f"expected --teacher-cache-gb of 0 or more, found {self.teacher_cache_gb}")
        if self.variant == "weighted" and is_run(self.student):
            raise ValueError(
                "expected one of the teacher's experts behind --student for --variant weighted, found the run "
                f"{self.student}, for which it has no gate; give --variant unweighted"
            )

    def make_paths_absolute(self) -> None:
        """So that the run's ``config.yml`` works from any folder."""
        if self.teacher is not None:
            self.teacher = run_folder(absolute(self.teacher))
        if is_run(self.student):
            self.student = str(absolute(Path(self.student)))


@dataclass
class DistillTrainerConfig(MoegsTrainerConfig):
    """Training options of a student."""

    max_num_iterations: int = 0
    """Training steps in all; 0 = as many as the teacher's expert had. The schedule stays the expert's."""
    pipeline: DistillPipelineConfig = field(default_factory=DistillPipelineConfig)

    @property
    def trained_expert(self) -> str:
        """The student's family."""
        model = self.pipeline.model
        return FUSED if isinstance(model, FusedModelConfig) else family_of(model).name

    def prepare(self) -> None:
        """Make the student's model, optimizers and schedule those of the teacher's expert; then as for every method.

        Raises:
            ValueError, FileNotFoundError: no teacher, no such expert, data of another scene, or as for every method.
        """
        self.make_paths_absolute()
        self.pipeline.check_options()
        pipeline, resumed = self.pipeline, self._resumed_run()
        if isinstance(pipeline.model, StudentModelConfig):
            if resumed is not None:
                self._take_recipe(recipe_of_student(resumed))
            elif is_run(pipeline.student):
                self._take_recipe(recipe_of_run(Path(pipeline.student)))
            else:
                self._take_recipe(recipe_of_teacher(pipeline.teacher, pipeline.student))
        super().prepare()

    def _resumed_run(self) -> Path | None:
        if self.load_dir is not None:  # or the folder of checkpoints in it
            return find_checkpoint(self.load_dir, self.load_step, self.relative_model_dir).parent.parent
        return None if self.load_checkpoint is None else self.load_checkpoint.parent.parent

    def _take_recipe(self, recipe: Recipe) -> None:
        optimizer: type[AdamConfig] | type[RAdamConfig] = AdamConfig
        if recipe.family == FUSED:
            # What it is made of comes with the run that is gone on with.
            self.pipeline.model = config_from_plain(FusedModelConfig, {**recipe.config, "experts": (), "source": None})
        else:
            family = expert_family(recipe.family)
            self.pipeline.model, optimizer = family.config_from_plain(recipe.config), OPTIMIZERS[family.optimizer]
        self.optimizers = {
            name: optimizer_of_record(numbers, optimizer) for name, numbers in recipe.learning_rates.items()
        }
        self.max_num_iterations = self.max_num_iterations or recipe.steps
        datamanager = self.pipeline.datamanager
        known = {item.name for item in dataclasses.fields(datamanager)} - {"_target", *_OWN_DATA_OPTIONS}
        for name in known & set(recipe.datamanager):
            setattr(datamanager, name, recipe.datamanager[name])
        if recipe.spec is not None:
            for warning in check_same_scene([recipe.spec], self._read_scene_facts()):
                CONSOLE.print(f"[bold yellow]{warning}", soft_wrap=True)
