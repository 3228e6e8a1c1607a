"""The stages of one scene as ``ns-train`` command lines: which there are, how far each is, what to run next.

A stage's run folder is known beforehand (``<output>/<scene>/<method>/<name>``), so that a second call finds what the
first one left: finished stages are skipped, interrupted ones resumed. Imports torch only where there is something to
check that needs it: options a preset names, runs that are there.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from moegs_ns.experts.recipes import Recipe, load_recipe, preset_layers, says_something
from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER, list_checkpoints
from moegs_ns.runs.paths import absolute
from moegs_ns.runs.record import read_run_record

State = Literal["missing", "interrupted", "finished"]
#: The order in which the paper adds experts: Ex4DGS and STG are its set of two, E-D3DGS makes it three, 4DGaussians
#: four (MoE-GS §4.1).
PAPER_ORDER = ("ex4dgs", "stg", "ed3dgs", "4dgaussians")
#: The method of one set of Gaussians made of a mixture, which `moegs fuse` begins.
FUSED_METHOD = "moegs-fused"

_SMALLEST_EXPERTS = 2
_MOST_STEPS_BETWEEN_SAVES = 1000
_SAVES_PER_RUN = 10
_STEPS = "--max-num-iterations"
#: Options that say where a run lies and how it is watched, not what is trained.
_INCIDENTAL = {
    *("--output-dir", "--timestamp", "--experiment-name", "--data", "--load-dir", "--load-step", "--load-checkpoint"),
    *("--vis", "--steps-per-save"),
}


@dataclass(frozen=True)
class Scene:
    """Where the data lie and how they are read.

    Attributes:
        data: data folder.
        parser: name of the data parser (``n3v-data``).
        options: its command-line options.
        output_dir: where runs are filed.
    """

    data: Path
    parser: str = "n3v-data"
    options: tuple[str, ...] = ()
    output_dir: Path = Path("outputs")

    @property
    def name(self) -> str:
        """The folder nerfstudio 1.1.5 files the scene's runs under: the data folder's name without its suffix."""
        return absolute(self.data).stem


@dataclass(frozen=True)
class Stage:
    """One ``ns-train`` run.

    Attributes:
        method: ``moegs-stg``, ``moegs-router`` ...
        run: its run folder.
        steps: training steps in all.
        options: method options (before the data parser's name).
        scene: what it trains on.
        data_options: data parser options of the preset; what the user gave in ``scene.options`` replaces them.
        needs: run folders that must be finished before.
    """

    method: str
    run: Path
    steps: int
    options: tuple[str, ...]
    scene: Scene
    data_options: tuple[str, ...] = ()
    needs: tuple[Path, ...] = ()

    @property
    def config(self) -> Path:
        """The run's ``config.yml``."""
        return self.run / "config.yml"

    @property
    def log(self) -> Path:
        """What the training process prints."""
        return self.run / "train.log"

    def steps_done(self) -> int:
        """Steps a resumed training would not repeat: those in the newest checkpoint, 0 without one.

        Checkpoints decide, not ``run.json``: a process killed between the two leaves the record behind or ahead.
        """
        return max(list_checkpoints(self.run / CHECKPOINT_FOLDER), default=-1) + 1

    def state(self) -> State:
        """How far the run is."""
        done = self.steps_done()
        if done == 0:
            return "missing"
        return "finished" if done >= self.steps else "interrupted"

    def check_made_alike(self) -> list[str]:
        """Refuse to take a run for this stage that was trained with other options or on other data.

        Run folders carry the name of the data folder only, and so do other scenes elsewhere.

        Returns:
            Warnings: data that say the same of themselves but lie elsewhere.

        Raises:
            ValueError: its record names another command, or other data; the message lists the differences.
            FileNotFoundError: there are checkpoints but no record.
        """
        if self.state() == "missing":
            return []
        record = read_run_record(self.run)
        differences = command_differences(shlex.split(record["command"]), self.command())
        if differences:
            raise ValueError(
                f"expected the run {self.run} to be of this plan, found one trained with other options "
                f"({'; '.join(differences)}); give the new runs another --name, or delete that folder"
            )
        from moegs_ns.training.same_data import check_same_data  # planning itself stays light

        return check_same_data(self.run, record["scene"], self.scene.data, self.scene.parser, self.parser_options())

    def named(self, name: str) -> "Stage":
        """This stage with its run under another name."""
        return replace(self, run=self.run.with_name(name))

    def with_options(self, options: Sequence[str]) -> "Stage":
        """This stage with further method options; they replace what it has of the same flags.

        ``--max-num-iterations`` among them changes its steps too.
        """
        given = {flag: values for flag, *values in _groups(options)[1:]}
        steps = int(given[_STEPS][-1]) if given.get(_STEPS) else self.steps
        return replace(self, steps=steps, options=(*_without(self.options, set(given)), *options))

    def command(self, resume: bool = False) -> list[str]:
        """The equivalent ``ns-train`` command line."""
        resuming = ["--load-dir", str(self.run)] if resume else []
        return [
            "ns-train",
            self.method,
            *("--output-dir", str(self.scene.output_dir), "--timestamp", self.run.name, "--vis", "tensorboard"),
            *("--steps-per-save", str(_steps_per_save(self.steps))),
            *self.options,
            *resuming,
            *("--data", str(self.scene.data), self.scene.parser),
            *self.parser_options(),
        ]

    def parser_options(self) -> list[str]:
        """The data parser's options: the preset's, as far as the user gave no others, and the user's."""
        return [*_without(self.data_options, _flags(self.scene.options)), *self.scene.options]

    def shown(self) -> str:
        """The command line as one would type it."""
        return shlex.join(self.command())


def command_differences(made: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """What two ``ns-train`` command lines choose differently for the training itself, in words.

    Where runs and data lie does not count, nor how a training is watched.
    """
    theirs, ours = _choices(made), _choices(wanted)
    return [
        f"{flag} {' '.join(theirs.get(flag, ('unset',)))} instead of {' '.join(ours.get(flag, ('unset',)))}"
        for flag in sorted(set(theirs) | set(ours))
        if theirs.get(flag) != ours.get(flag)
    ]


def default_experts(known: Sequence[str], number: int | None = None) -> list[str]:
    """The paper's expert set, as far as the experts exist.

    Args:
        known: experts there are.
        number: 2, 3 or 4 for the paper's set of that size; None takes all that exist.

    Raises:
        ValueError: no such set, or experts of it that do not exist.
    """
    present = [name for name in PAPER_ORDER if name in known]
    if number is None:
        return present
    if not _SMALLEST_EXPERTS <= number <= len(PAPER_ORDER):
        raise ValueError(f"expected --num-experts 2, 3 or 4 (the paper's sets), found {number}; or use --experts")
    wanted = PAPER_ORDER[:number]
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ValueError(
            f"the paper's set of {number} is {', '.join(wanted)}, of which {', '.join(missing)} cannot be trained "
            f"here; name the experts yourself, such as --experts {' '.join(present)}"
        )
    return list(wanted)


def expert_stage(scene: Scene, expert: str, preset: str | None, name: str, seed: int) -> Stage:
    """The stage that trains one expert with a preset."""
    return recipe_stage(scene, expert, load_recipe(expert, preset), name, seed)


def recipe_stage(scene: Scene, expert: str, recipe: Recipe, name: str, seed: int) -> Stage:
    """The stage that trains one expert with any recipe for it."""
    return _stage(scene, f"moegs-{expert}", recipe, load_recipe(expert), name, seed)


def router_stage(scene: Scene, experts: Sequence[Stage], preset: str | None, name: str, seed: int) -> Stage:
    """The stage that trains the router on finished experts."""
    runs = tuple(stage.run for stage in experts)
    extra = ("--experts", *(str(run) for run in runs))
    return _stage(scene, "moegs-router", load_recipe("router", preset), load_recipe("router"), name, seed, extra, runs)


def distill_stage(teacher: Stage, student: str, steps: int, seed: int, options: Sequence[str] = ()) -> Stage:
    """The stage in which a mixture teaches one of its experts anew.

    Args:
        teacher: the router's stage.
        student: name of the expert in the mixture (``stg``, ``stg_2``).
        steps: of the expert's recipe.
        seed: of the student.
        options: of the distillation; runs with some are named after them.
    """
    scene, method = teacher.scene, "moegs-distill"
    name = "-".join([teacher.run.name, student, *(part.lstrip("-") for part in options)])
    seeds = ("--machine.seed", str(seed), "--pipeline.datamanager.sampling-seed", str(seed))
    return Stage(
        method=method,
        run=scene.output_dir / scene.name / method / name,
        steps=steps,
        options=(*seeds, _STEPS, str(steps), "--teacher", str(teacher.run), "--student", student, *options),
        scene=scene,
        data_options=teacher.data_options,
        needs=(teacher.run,),
    )


def plan(
    scene: Scene,
    experts: Sequence[str],
    preset: str | None,
    seed: int = 42,
    name: str | None = None,
    distill: Sequence[str] = (),
) -> list[Stage]:
    """All stages of one mixture: its experts, then the router (left out for a single expert), then students.

    Args:
        scene: what to train on.
        experts: expert names; one named twice is trained twice, with two seeds.
        preset: name or TOML file of a preset, None for the papers' recipes.
        seed: of the first of each expert and of the router.
        name: what the runs are called; default ``<preset>-seed<seed>``. The router's name also lists its experts, so
            that mixtures of several sets lie side by side and share expert runs.
        distill: names of experts the mixture is to teach anew; ``stg_2`` is the second STG of ``experts``.

    Raises:
        ValueError: no experts, unknown ones, students the mixture has no expert for, or a preset that does not fit or
            names options that do not exist.
    """
    if not experts:
        raise ValueError("expected at least one expert to train, found none; name some with --experts")
    stages: list[Stage] = []
    for position, expert in enumerate(experts):
        label = name or f"{_preset_name(preset, expert)}-seed{seed}"
        copies = list(experts[:position]).count(expert)
        stages.append(expert_stage(scene, expert, preset, f"{label}-{copies + 1}" if copies else label, seed + copies))
    if len(experts) > 1:
        label = name or f"{_preset_name(preset, 'router')}-seed{seed}"
        stages.append(router_stage(scene, stages, preset, f"{label}-{'+'.join(experts)}", seed))
    stages += _students(stages, experts, distill, seed)
    if preset is not None:
        from moegs_ns.training.preset_options import check_preset_options

        for trained in dict.fromkeys([*experts, *(["router"] if len(experts) > 1 else [])]):
            check_preset_options(trained, preset)
    return stages


def _students(trained: Sequence[Stage], experts: Sequence[str], distill: Sequence[str], seed: int) -> list[Stage]:
    if not distill:
        return []
    from moegs_ns.router.experts import unique_names

    names = unique_names(experts)
    unknown = [student for student in distill if student not in names] if len(experts) > 1 else [*distill]
    if unknown:
        raise ValueError(
            f"expected students among the experts of a mixture ({', '.join(names)}), found {', '.join(unknown)}; name "
            "others with --distill, or more --experts"
        )
    places = [names.index(student) for student in distill]
    copies = [list(experts[:place]).count(experts[place]) for place in places]
    return [
        distill_stage(trained[-1], names[place], trained[place].steps, seed + copy)
        for place, copy in zip(places, copies, strict=True)
    ]


def _preset_name(preset: str | None, trained: str) -> str:
    """What runs of a preset are called, by the layers that matter: routers of ``quick`` and ``quick+plus`` share their
    expert runs."""
    layers = [layer for layer in preset_layers(preset or "paper") if says_something(layer, trained)]
    return "+".join(Path(layer).stem for layer in layers) or "paper"


def _stage(
    scene: Scene,
    method: str,
    recipe: Recipe,
    base: Recipe,
    name: str,
    seed: int,
    extra: tuple[str, ...] = (),
    needs: tuple[Path, ...] = (),
) -> Stage:
    options, data_options = recipe.command_line(base)
    # Runs of several seeds are to differ in everything that is random, the order of the images too.
    seeds = ("--machine.seed", str(seed), "--pipeline.datamanager.sampling-seed", str(seed))
    return Stage(
        method=method,
        run=scene.output_dir / scene.name / method / name,
        steps=recipe.steps,
        options=(*seeds, *options, *extra),
        scene=scene,
        data_options=tuple(data_options),
        needs=needs,
    )


def _steps_per_save(steps: int) -> int:
    """Short runs save often enough that a kill costs at most a tenth of the run."""
    return max(1, min(_MOST_STEPS_BETWEEN_SAVES, steps // _SAVES_PER_RUN))


def _groups(arguments: Sequence[str]) -> list[list[str]]:
    """Arguments cut before every ``--flag``; ``--flag=value`` is taken apart, underscores in flags become dashes."""
    groups: list[list[str]] = [[]]
    for argument in arguments:
        if argument.startswith("--"):
            flag, equals, value = argument.partition("=")
            groups.append([flag.replace("_", "-"), *([value] if equals else [])])
        else:
            groups[-1].append(argument)
    return groups


def _flags(arguments: Sequence[str]) -> set[str]:
    return {group[0] for group in _groups(arguments)[1:]}


def _without(arguments: Sequence[str], flags: set[str]) -> list[str]:
    return [part for group in _groups(arguments) if not group or group[0] not in flags for part in group]


def _choices(command: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What a command line chooses, by flag; paths of experts are reduced to what identifies them below a scene."""
    choices = {}
    for flag, *values in _groups(command)[1:]:
        if flag in _INCIDENTAL or flag.startswith("--logging."):
            continue
        if flag in ("--experts", "--teacher"):
            values = ["/".join(Path(value).parts[-2:]) for value in values]
        choices[flag] = tuple(values)
    return choices
