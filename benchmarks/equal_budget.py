"""The honest rival of a mixture: its best expert alone, with as many Gaussians and about as much training time.

    python benchmarks/run_suite.py mixed_demo
    python benchmarks/equal_budget.py mixed_demo --slowdown 2
    python benchmarks/write_results.py

Reads what benchmarks/run_suite.py kept of a suite. Per seed, the expert with the highest mean score over all seeds is
trained and evaluated once more, by its recipe with the mixture's whole number of Gaussians as the limit and with its
schedule stretched until training takes about as long as all experts and the router together. The expert is chosen by
its scores on the test cameras, which favours the rival. Resumable; the result is kept beside the suite's others.

How many steps fit that time depends on how much longer each takes with more Gaussians, which is known only afterwards:
--slowdown guesses it. The tables say what seconds each really got; where they differ, take the rival's seconds per step
over the expert's own, both trained under like conditions, for the next guess.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from run_suite import store
from suites import RESULTS, ROOT, StoredResult, portable, read_results, run_key, shown_with_state

from moegs_ns.benching.suite import Suite
from moegs_ns.benching.suite_files import read_suite
from moegs_ns.experts.recipes import Recipe, load_recipe
from moegs_ns.reporting.routers import USUAL_ROUTER, router_label
from moegs_ns.reporting.rows import (
    MIXTURE,
    Clock,
    best_expert,
    mixture_rows,
    seconds_by,
    total_seconds,
    training_clock,
)
from moegs_ns.training.processes import Processes
from moegs_ns.training.run_stages import run_stages
from moegs_ns.training.stages import Scene, Stage, command_differences, expert_stage, recipe_stage

EQUAL_BUDGET = "equal-budget"


@dataclass
class Arguments:
    """Train the equal-budget single experts of a suite."""

    suite: Annotated[str, tyro.conf.Positional]
    """Name of a file in configs/suites, or a TOML file."""
    slowdown: float
    """How much longer a training step takes with the mixture's number of Gaussians than with the expert's own, on
    average over the whole training."""
    experts: tuple[str, ...] = ()
    """Which mixture of the suite to rival, by its experts. Default: the only one."""
    router: str = USUAL_ROUTER
    """Whose training time it gets, by the router's name in the tables. The mixtures of all routers over the same
    experts are compared with the same rival: name the one that takes longest."""
    name: str = EQUAL_BUDGET
    """What the runs are called, before -seed<seed>."""
    output_dir: Path = ROOT / "outputs" / "suites"
    """Where the runs lie."""
    results: Path = RESULTS
    """Where the results of suites are kept."""
    devices: tuple[str, ...] = ()
    """CUDA devices to train on (or cpu), a rival each at a time. Default: the first there is."""
    plan: bool = False
    """Only print the command lines and how far each run is."""


@dataclass(frozen=True)
class Budget:
    """What a mixture cost, and what its best expert cost alone.

    Attributes:
        rival_of: key of the mixture's run.
        seed: of the mixture.
        family: of the expert.
        gaussians: the mixture's, all experts together.
        clock: by which all seconds here are counted, `moegs_ns.reporting.rows.training_clock`.
        seconds: training time of all experts and the router.
        own_run: key of the expert's run.
        own_gaussians: the expert's.
        own_seconds: training time of the expert.
        own_steps: its steps.
        slowdown: see `Arguments`.
        router: whose mixture it is.
    """

    rival_of: str
    seed: int
    family: str
    gaussians: int
    clock: Clock
    seconds: float
    own_run: str
    own_gaussians: int
    own_seconds: float
    own_steps: int
    slowdown: float
    router: str

    @property
    def factor(self) -> float:
        """On the steps of the expert's recipe."""
        return self.seconds / self.own_seconds / self.slowdown

    def recipe(self, own: Recipe) -> Recipe:
        """The expert's recipe ``own``, enlarged: Gaussians, seeds in proportion, schedule."""
        growth = self.gaussians / (own.model.get("max_gaussians") or self.own_gaussians)
        scaled = own.scaled(self.factor, keep_intervals=True)  # more Gaussians, more rounds to grow
        limits = {"max_gaussians": self.gaussians}
        if own.model.get("max_seeds"):
            limits["max_seeds"] = round(own.model["max_seeds"] * growth)
        return dataclasses.replace(
            scaled, motion_seeds=round(own.motion_seeds * growth), model={**scaled.model, **limits}
        )


def mixtures_of(
    results: Sequence[StoredResult], experts: Sequence[str] = (), router: str = USUAL_ROUTER
) -> list[StoredResult]:
    """The suite's mixtures of one set of experts by one router, one per seed.

    Raises:
        ValueError: none were kept, or of several sets while ``experts`` names none of them.
    """
    sets: dict[tuple[str, ...], list[StoredResult]] = {}
    for result in results:
        if result.expert_names and router_label(result) == router:
            sets.setdefault(tuple(result.expert_names), []).append(result)
    known = "; ".join(" ".join(names) for names in sets) or "none"
    if experts:
        if tuple(experts) not in sets:
            raise ValueError(f"expected a kept mixture of {' '.join(experts)}, found mixtures of: {known}")
        return sets[tuple(experts)]
    if len(sets) != 1:
        raise ValueError(
            f"expected kept results of mixtures of one set of experts, found sets: {known}; run "
            "benchmarks/run_suite.py first, or name one set with --experts and its rival with --name"
        )
    return next(iter(sets.values()))


def budget_of(mixture: StoredResult, position: int, slowdown: float) -> Budget:
    """What the expert at ``position`` is to get.

    Raises:
        ValueError: a number that is needed was not kept.
    """
    own = mixture.experts()[position]
    if isinstance(own, str):
        raise ValueError(f"expected a kept result of the expert, found that {own}; run benchmarks/run_suite.py again")
    costs, clock = next(row for row in mixture_rows(mixture) if row.label == MIXTURE).values, training_clock(mixture)
    numbers = {
        "gaussians": costs.get("gaussians"),
        "seconds": total_seconds(mixture, clock),
        "own_gaussians": own.num_gaussians,
        "own_seconds": seconds_by(own, clock),
        "own_steps": own.record["progress"].get("steps_done"),
        "seed": mixture.seed,
    }
    missing = [name for name, value in numbers.items() if value is None]
    if missing:
        raise ValueError(
            f"expected {', '.join(missing)} in the results kept of {run_key(mixture.folder)} and its experts, found "
            "none; run benchmarks/run_suite.py again"
        )
    whole = {name: int(numbers[name]) for name in ("gaussians", "own_gaussians", "own_steps", "seed")}  # type: ignore[arg-type]
    seconds = {name: float(numbers[name]) for name in ("seconds", "own_seconds")}  # type: ignore[arg-type]
    runs = {"rival_of": run_key(mixture.folder), "own_run": run_key(own.folder)}
    about = {"family": own.expert, "slowdown": slowdown, "router": router_label(mixture)}
    return Budget(**runs, **whole, **seconds, **about, clock=clock)


def rival_stage(suite: Suite, scene: Scene, budget: Budget, own_command: str, name: str) -> Stage:
    """The stage that trains the rival.

    Args:
        suite: its preset is the expert's.
        scene: to train on.
        budget: what the rival gets.
        own_command: the kept command line of the expert's own run.
        name: of the runs, before the seed.

    Raises:
        ValueError: the suite's preset has changed since the expert was trained.
    """
    made = shlex.split(own_command)
    own = expert_stage(scene, budget.family, suite.preset, name, budget.seed)
    present = portable(own.command())
    seeds = ("--machine.seed", "--pipeline.datamanager.sampling-seed")  # of a family's second expert, one more
    changed = [one for one in command_differences(made, present) if not one.startswith(seeds)]
    if changed:
        raise ValueError(
            f"expected the recipe the kept results of {suite.name} were made with, found another one "
            f"({'; '.join(changed)}); run benchmarks/run_suite.py {suite.name} again"
        )
    recipe = budget.recipe(load_recipe(budget.family, suite.preset))
    return recipe_stage(scene, budget.family, recipe, f"{name}-seed{budget.seed}", budget.seed)


def plan_rivals(suite: Suite, arguments: Arguments) -> list[tuple[Stage, dict[str, Any]]]:
    """Per seed the stage, and what is kept about its budget."""
    kept = read_results(arguments.results / suite.name)
    commands = {one["run"]: one["command"] for one, _ in kept}
    mixtures = mixtures_of([result for _, result in kept], arguments.experts, arguments.router)
    position = best_expert(mixtures)
    scene = suite.scene(arguments.output_dir.absolute())
    planned = []
    for mixture in mixtures:
        budget = budget_of(mixture, position, arguments.slowdown)
        stage = rival_stage(suite, scene, budget, commands[budget.own_run], arguments.name)
        planned.append((stage, {**dataclasses.asdict(budget), "steps": stage.steps}))
    return planned


def main(arguments: Arguments, processes: Processes | None = None) -> None:
    console = Console()
    suite = read_suite(arguments.suite)
    planned = plan_rivals(suite, arguments)
    for stage, about in planned:
        said = (
            f"{about['rival_of']}: {about['gaussians']:,} Gaussians, {about['seconds']:,.0f} s. Alone, "
            f"{about['family']} had {about['own_gaussians']:,} and {about['own_steps']:,} steps in "
            f"{about['own_seconds']:,.0f} s; it gets {about['gaussians']:,} and {about['steps']:,} steps"
        )
        for line in (said, shown_with_state(stage)):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    if arguments.plan:
        return
    run_stages(
        [stage for stage, _ in planned],
        arguments.devices or (None,),
        notify=lambda stage, event: console.print(f"{event}: {run_key(stage.run)}", highlight=False),
        processes=processes,
    )
    for stage, about in planned:
        file = store(suite, stage, arguments.results / suite.name, {"equal_budget": about})
        console.print(f"kept: {file}", soft_wrap=True, highlight=False)
    console.print("now: python benchmarks/write_results.py")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
