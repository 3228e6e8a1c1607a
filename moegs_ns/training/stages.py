"""The stages of one scene as ``ns-train`` command lines: which there are, how far each is, what to run next.

A stage's run folder is known beforehand (``<output>/<scene>/<method>/<name>``), so that a second call finds what the
first one left: finished stages are skipped, interrupted ones resumed. Imports no torch: planning is instant.
"""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from moegs_ns.experts.recipes import Recipe, load_recipe
from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER, list_checkpoints
from moegs_ns.runs.record import read_run_record

State = Literal["missing", "interrupted", "finished"]
#: The paper's expert sets for two, three and four experts (MoE-GS §4.1), in the order experts are added.
PAPER_ORDER = ("ex4dgs", "stg", "ed3dgs", "4dgaussians")


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


@dataclass(frozen=True)
class Stage:
    """One ``ns-train`` run.

    Attributes:
        method: ``moegs-stg``, ``moegs-router`` ...
        run: its run folder.
        steps: training steps in all.
        options: method options (before the data parser's name).
        scene: what it trains on.
        data_options: data parser options of the preset; those the user gave come behind and win.
        needs: run folders that must be finished before.
    """

    method: str
    run: Path
    steps: int
    options: tuple[str, ...]
    scene: Scene
    data_options: tuple[str, ...] = ()
    needs: tuple[Path, ...] = field(default=())

    @property
    def config(self) -> Path:
        """The run's ``config.yml``."""
        return self.run / "config.yml"

    def state(self) -> State:
        """How far the run is, from its record and checkpoints."""
        if not list_checkpoints(self.run / CHECKPOINT_FOLDER):
            return "missing"
        done = read_run_record(self.run)["progress"]["steps_done"]
        return "finished" if done >= self.steps else "interrupted"

    def command(self, resume: bool = False) -> list[str]:
        """The equivalent ``ns-train`` command line."""
        resuming = ["--load-dir", str(self.run)] if resume else []
        return [
            "ns-train",
            self.method,
            *("--output-dir", str(self.scene.output_dir), "--timestamp", self.run.name, "--vis", "tensorboard"),
            *self.options,
            *resuming,
            *("--data", str(self.scene.data), self.scene.parser, *self.data_options, *self.scene.options),
        ]

    def shown(self) -> str:
        """The command line as one would type it."""
        return shlex.join(self.command())


def default_experts(known: list[str], number: int | None = None) -> list[str]:
    """The paper's expert set, as far as the experts exist.

    Args:
        known: experts there are.
        number: 2, 3 or 4 for the paper's set of that size; None takes all that exist.

    Raises:
        ValueError: no such set.
    """
    if number is None:
        return [name for name in PAPER_ORDER if name in known]
    if not 2 <= number <= len(PAPER_ORDER):
        raise ValueError(f"the paper has expert sets of 2, 3 and 4, found {number}; name them with --experts")
    wanted = PAPER_ORDER[:number]
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ValueError(
            f"the paper's set of {number} needs {', '.join(missing)}, which do not exist here; use --experts"
        )
    return list(wanted)


def expert_stage(scene: Scene, expert: str, preset: str | None, name: str, seed: int) -> Stage:
    """The stage that trains one expert."""
    recipe = load_recipe(expert, preset)
    return _stage(scene, f"moegs-{expert}", recipe, load_recipe(expert), name, seed)


def router_stage(scene: Scene, experts: list[Stage], preset: str | None, name: str, seed: int) -> Stage:
    """The stage that trains the router on finished experts."""
    recipe = load_recipe("router", preset)
    runs = tuple(stage.run for stage in experts)
    extra = ("--experts", *(str(run) for run in runs))
    return _stage(scene, "moegs-router", recipe, load_recipe("router"), name, seed, extra, runs)


def plan(scene: Scene, experts: list[str], preset: str | None, seed: int = 42) -> list[Stage]:
    """All stages of one mixture: its experts, then the router (left out for a single expert).

    The router's run is named after the set, so that mixtures of several sets lie side by side.
    """
    label = f"{preset or 'paper'}-seed{seed}"
    counts: dict[str, int] = {}
    stages = []
    for expert in experts:
        counts[expert] = counts.get(expert, 0) + 1
        copy = "" if counts[expert] == 1 else f"-{counts[expert]}"
        # Several experts of one family differ by their seed only.
        stages.append(expert_stage(scene, expert, preset, label + copy, seed + counts[expert] - 1))
    if len(experts) > 1:
        stages.append(router_stage(scene, stages, preset, f"{label}-{'+'.join(experts)}", seed))
    return stages


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
    return Stage(
        method=method,
        run=scene.output_dir / scene.data.name / method / name,
        steps=recipe.steps,
        options=("--machine.seed", str(seed), *options, *extra),
        scene=scene,
        data_options=tuple(data_options),
        needs=needs,
    )
