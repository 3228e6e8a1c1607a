"""Suites: which scenes, experts and seeds a table is made of, and the training runs that come of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from moegs_ns.benching.find_data import assumed_data, find_data
from moegs_ns.training.stages import Scene, Stage, distill_stage, plan

#: How a student is taught, see `moegs-distill --variant`.
Way = Literal["weighted", "unweighted"]


@dataclass(frozen=True)
class SuiteScene:
    """One scene of a suite.

    Attributes:
        data: its folder, where it is or relative to the folders data are looked for in (``n3v/coffee_martini``).
        preset: presets for this scene, behind the suite's; None for none.
        parser: data parser.
        options: its options.
    """

    data: str
    preset: str | None = None
    parser: str = "n3v-data"
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What its runs are filed under."""
        return Path(self.data).stem


@dataclass(frozen=True)
class Pruning:
    """Pruned versions of a mixture.

    Attributes:
        ratios: share of the Gaussians to remove, a run each.
        criterion: what a Gaussian matters by, see `moegs prune`.
        finetune_steps: further steps of the router.
    """

    ratios: tuple[float, ...]
    criterion: str = "gate"
    finetune_steps: int = 0


@dataclass(frozen=True)
class Fusion:
    """Fused versions of a mixture.

    Attributes:
        background: behind the fused set, see `moegs fuse`.
        finetune: what is fine-tuned, ``opacity`` or ``all``, a run each.
        finetune_steps: of each.
    """

    background: str | None = None
    finetune: tuple[str, ...] = ()
    finetune_steps: int = 0


@dataclass(frozen=True)
class PaperTable:
    """The published table a suite is to stand beside.

    Attributes:
        name: of its file in configs/published, such as ``table_06``.
        variants: by variant of a row here (empty for the usual one), what the paper calls it.
    """

    name: str
    variants: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A row of the suite's table: runs over scenes and seeds that are compared as one.

    Attributes:
        experts: a single one, or those of a mixture.
        variant: what distinguishes it from other rows of these experts; empty for the usual one.
    """

    experts: tuple[str, ...]
    variant: str = ""

    @property
    def label(self) -> str:
        """``ex4dgs + stg, 55% pruned``."""
        return " + ".join(self.experts) + (f", {self.variant}" if self.variant else "")


@dataclass(frozen=True)
class PlannedStage:
    """A training run of a suite.

    Attributes:
        stage: the run.
        row: which row of the table it belongs to.
        scene: name of the scene.
        seed: of its plan.
    """

    stage: Stage
    row: Row
    scene: str
    seed: int


@dataclass(frozen=True)
class Suite:
    """The runs of one table.

    Attributes:
        name: of the suite and its file.
        description: what it compares, in sentences.
        scenes: what is trained on.
        experts: sets of experts; a set of several gets a router. What follows for mixtures is for the last set.
        seeds: every set is trained once per seed.
        preset: preset name or file; None for the papers' recipes.
        routers: presets of further routers, over the runs of the last set.
        variants: presets behind all others, with each of which every set is trained too (``budget-50``).
        students: experts the last set's mixture teaches anew.
        ways: how it does.
        pruning: how its mixture is pruned.
        fusion: how its mixture is fused.
        geometry: whether depth is compared between views, of the mixture, its experts and the fused models.
        paper: the published table to compare with.
        notes: what the suite does not cover, or reads in its own way.
    """

    name: str
    description: str
    scenes: tuple[SuiteScene, ...]
    experts: tuple[tuple[str, ...], ...]
    seeds: tuple[int, ...]
    preset: str | None = None
    routers: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    students: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ("weighted",)
    pruning: Pruning | None = None
    fusion: Fusion | None = None
    geometry: bool = False
    paper: PaperTable | None = None
    notes: tuple[str, ...] = ()

    def scene(self, output_dir: Path) -> Scene:
        """The scene of a suite that has one, its data found.

        Raises:
            ValueError: it has several.
            FileNotFoundError: the data are nowhere.
        """
        if len(self.scenes) != 1:
            raise ValueError(
                f"expected a suite of one scene, found {len(self.scenes)} in '{self.name}'; run it by moegs bench"
            )
        return self.training_scene(self.scenes[0], output_dir)

    def training_scene(
        self, scene: SuiteScene, output_dir: Path, folders: Sequence[Path] = (), assume: bool = False
    ) -> Scene:
        """A scene of the suite as stages know it. Runs with data options of their own lie apart: other suites of the
        scene give theirs the same names.

        Args:
            scene: one of the suite.
            output_dir: where runs are filed.
            folders: where data are looked for first.
            assume: name a folder where the data could lie if they are nowhere, instead of raising.

        Raises:
            FileNotFoundError: the data are nowhere.
        """
        folder = output_dir / self.name if scene.options else output_dir
        data = assumed_data(scene.data, folders) if assume else find_data(scene.data, folders)
        return Scene(data, scene.parser, scene.options, folder)

    def preset_of(self, scene: SuiteScene, variant: str | None = None) -> str | None:
        """The presets of a scene, joined by ``+``; None for the papers' recipes."""
        layers = [layer for layer in (self.preset, scene.preset) if layer]
        if variant:
            layers = [*(layers or ["paper"]), variant]
        return "+".join(layers) or None

    def plans(self, output_dir: Path) -> list[list[Stage]]:
        """The stages of every seed of a suite of one scene, see `planned_stages`.

        Raises:
            ValueError: it has several.
            FileNotFoundError: the data are nowhere.
        """
        scene = self.scene(output_dir)
        plans = [self.planned_stages(self.scenes[0], scene, seed) for seed in self.seeds]
        return [[one.stage for one in planned] for planned in plans]

    def planned_stages(self, scene: SuiteScene, training_scene: Scene, seed: int) -> list[PlannedStage]:
        """The stages of a scene and seed, each behind those it needs. Experts that several sets have in common are one
        stage, before the first router that mixes them.

        Raises:
            ValueError: experts or presets that do not exist or do not fit.
        """
        usual = self.preset_of(scene)
        wanted = [(experts, usual, "") for experts in self.experts]
        wanted += [(self.experts[-1], self.preset_of(scene, router), router) for router in self.routers]
        wanted += [(experts, self.preset_of(scene, one), one) for one in self.variants for experts in self.experts]
        found: dict[Path, PlannedStage] = {}
        for experts, preset, variant in wanted:
            stages = plan(training_scene, experts, preset, seed)
            rows = [Row((expert,), variant if variant in self.variants else "") for expert in experts]
            rows += [Row(experts, variant)] if len(experts) > 1 else []
            for stage, row in zip(stages, rows, strict=True):
                found.setdefault(stage.run, PlannedStage(stage, row, scene.name, seed))
        planned = list(found.values())
        return planned + self._students(planned, scene, seed)

    def _students(self, planned: Sequence[PlannedStage], scene: SuiteScene, seed: int) -> list[PlannedStage]:
        if not self.students:
            return []
        teacher = usual_stage(planned, self.experts[-1])
        return [
            PlannedStage(
                distill_stage(teacher, student, usual_stage(planned, (student,)).steps, seed, ("--variant", way)),
                Row((student,), f"distilled, {way}"),
                scene.name,
                seed,
            )
            for student in self.students
            for way in self.ways
        ]


def usual_stage(planned: Sequence[PlannedStage], experts: tuple[str, ...]) -> Stage:
    """The stage of these experts without further variation."""
    return next(one.stage for one in planned if one.row == Row(experts))
