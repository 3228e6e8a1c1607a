"""Training recipes as data: a paper's numbers in ``configs/recipes``, variations of them in ``configs/presets``.

A *recipe* belongs to one expert and follows its paper. A *preset* (``quick``, ``demo`` ...) overrides some of its
numbers for a purpose, may add data-parser options, and may have a ``budget``: the share of its steps every expert is
trained for, its whole schedule with it. Both resolve to plain numbers; nothing else of them is kept, so a run's
``config.yml`` says all.
"""

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moegs_ns.paths import resource_dir

# Every option of a model or the data manager that counts training steps is in one of these; a test finds the others.

#: When something happens, or how long it takes: always the same share of a run.
MOMENTS = (
    "coarse_steps",
    "densify_start",
    "densify_stop",
    "prune_stop",
    "bounds_prune_step",
    "guided_start",
    "min_z_start",
    "turning_start",
    "turning_stop",
    "sh_degree_interval",
    "anneal_steps",
    "deform_from_step",
    "fine_growth_steps",
    "periodic_ssim_start",
    "error_sampling_start",
    "window_interval",
    "extract_start",
    "extract_delay",
    "error_extract_interval",
    "error_prune_start",
    "unseen_prune_start",
    "widen_stop",
)
#: Steps between two events of a kind, which give each what it needs: gradients to collect, time to recover.
INTERVALS = ("densify_interval", "opacity_reset_interval", "min_z_interval", "guided_interval", "widen_interval")
#: How many of such events there are in all.
ROUNDS = ("densify_rounds",)
#: Together, which share of the steps is special: so many in every so many, or every so-manieth.
SHARES = (
    "periodic_ssim_interval",
    "periodic_ssim_steps",
    "hold_interval",
    "hold_steps",
    "smoothness_interval",
    "error_prune_rounds",
)


@dataclass(frozen=True)
class OptimizerRecipe:
    """Learning rate of one parameter group.

    Attributes:
        lr: initial learning rate (before factors known only with the scene).
        lr_final: rate at the end of a log-linear decay; None keeps the rate constant.
        decay_steps: length of the decay; None means all steps of the recipe.
        restart_step: the decay begins anew at this step (recipes of two stages); 0 = never.
    """

    lr: float
    lr_final: float | None = None
    decay_steps: int | None = None
    restart_step: int = 0


@dataclass(frozen=True)
class Recipe:
    """Resolved numbers to train one expert.

    Attributes:
        steps: optimizer steps.
        cameras_per_step: images per optimizer step.
        same_instant: whether they are taken at one instant.
        motion_seeds: how many seed points on moving things are carved from the videos.
        model: overrides of the expert's model config, by field name.
        optimizers: learning rates by parameter group.
        datamanager: further options of the data manager, by field name.
        data: options of the data parser, by field name.
    """

    steps: int
    cameras_per_step: int
    same_instant: bool
    motion_seeds: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    optimizers: dict[str, OptimizerRecipe] = field(default_factory=dict)
    datamanager: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    def schedule(self, group: str) -> dict[str, Any]:
        """Numbers of the log-linear decay of a group that has one: lr_final, max_steps, restart_step."""
        optimizer = self.optimizers[group]
        if optimizer.lr_final is None:
            raise ValueError(f"optimizer group '{group}' keeps its learning rate; it has no schedule")
        return {
            "lr_final": optimizer.lr_final,
            "max_steps": optimizer.decay_steps or self.steps,
            "restart_step": optimizer.restart_step,
        }

    def scaled(self, factor: float, keep_intervals: bool = False) -> "Recipe":
        """This recipe over ``factor`` times its steps, with every moment of its schedule at the same share of the run.

        Scaled are the steps, `MOMENTS`, the decays and restarts of learning rates, and `INTERVALS`, so that there are
        as many rounds of densification and resets as before; each rounded, to no less than 1; 0 ("never") stays 0. Only
        numbers the recipe names can follow: defaults of a model config do not.

        Args:
            factor: positive.
            keep_intervals: leave `INTERVALS` as they are and scale `ROUNDS` instead: as many events in as many steps.

        Raises:
            ValueError: the factor is not positive.
        """
        if not factor > 0:
            raise ValueError(f"expected a positive factor to scale a recipe by, found {factor}")

        def length(steps: int) -> int:
            return max(1, round(factor * steps)) if steps else 0

        def optimizer(numbers: OptimizerRecipe) -> OptimizerRecipe:
            decay = None if numbers.decay_steps is None else length(numbers.decay_steps)
            return replace(numbers, decay_steps=decay, restart_step=length(numbers.restart_step))

        follow = MOMENTS + (ROUNDS if keep_intervals else INTERVALS)

        def options(values: dict[str, Any]) -> dict[str, Any]:
            return {name: length(value) if name in follow else value for name, value in values.items()}

        return replace(
            self,
            steps=length(self.steps),
            model=options(self.model),
            datamanager=options(self.datamanager),
            optimizers={group: optimizer(numbers) for group, numbers in self.optimizers.items()},
        )

    def command_line(self, base: "Recipe") -> tuple[list[str], list[str]]:
        """``ns-train`` options that turn ``base`` (what the method is registered with) into this recipe.

        Returns:
            ``(method options, data parser options)``; the latter go behind the parser's name.
        """
        options: list[str] = []
        if self.steps != base.steps:
            options += ["--max-num-iterations", str(self.steps)]
        for name in ("cameras_per_step", "same_instant", "motion_seeds"):
            if getattr(self, name) != getattr(base, name):
                options += [f"--pipeline.datamanager.{_flag(name)}", str(getattr(self, name))]
        for name, value in self.datamanager.items():
            if base.datamanager.get(name) != value:
                options += [f"--pipeline.datamanager.{_flag(name)}", *_arguments(value)]
        for name, value in self.model.items():
            if base.model.get(name) != value:
                options += [f"--pipeline.model.{_flag(name)}", *_arguments(value)]
        for group, wanted in self.optimizers.items():
            present = base.optimizers[group]
            if wanted.lr != present.lr:
                options += [f"--optimizers.{_flag(group)}.optimizer.lr", str(wanted.lr)]
            if present.lr_final is None:
                continue
            schedule, own = self.schedule(group), base.schedule(group)
            for name, value in schedule.items():
                if value != own[name]:
                    options += [f"--optimizers.{_flag(group)}.scheduler.{_flag(name)}", str(value)]
        return options, [part for name, value in self.data.items() for part in (f"--{_flag(name)}", *_arguments(value))]


def _flag(name: str) -> str:
    return name.replace("_", "-")


def _arguments(value: Any) -> list[str]:
    """A TOML value as command-line arguments; lists become several."""
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def known_experts() -> list[str]:
    """Names of the experts that have a recipe. Reads file names only, so it costs no import of torch."""
    recipes = (resource_dir("configs") / "recipes").glob("*.toml")
    return sorted(path.stem for path in recipes if path.stem not in _NO_EXPERTS)


def preset_file(preset: str) -> Path:
    """Where a preset lies: the name of a shipped one, or the path of a TOML file of one's own (``my/preset.toml``)."""
    if preset.endswith(".toml"):
        path = Path(preset).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"expected a preset file at {path}, found none; give a TOML file or a preset's name"
            )
        return path
    return resource_dir("configs") / "presets" / f"{preset}.toml"


def _read(path: Path, kind: str) -> dict[str, Any]:
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.toml"))
        raise ValueError(f"unknown {kind} '{path.stem}'; known: {', '.join(known) or 'none'}")
    with path.open("rb") as file:
        try:
            return tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"expected TOML in the {kind} {path}, found something else ({error})") from error


#: Recipes of stages that follow the experts'.
_NO_EXPERTS = ("router", "fused")
#: What a recipe, and an expert's table in a preset, may hold.
_TABLE_KEYS = {"steps", "cameras_per_step", "same_instant", "motion_seeds", "model", "datamanager", "optimizers"}


def _optimizers(table: dict[str, dict[str, Any]]) -> dict[str, OptimizerRecipe]:
    return {group: OptimizerRecipe(**values) for group, values in table.items()}


def load_recipe(expert: str, preset: str | None = None) -> Recipe:
    """The recipe of an expert, optionally varied by a preset (a shipped one's name, or a path ending in ``.toml``).

    Raises:
        ValueError: no such expert or preset, or the preset says nothing about this expert, or nonsense.
    """
    table = _read(resource_dir("configs") / "recipes" / f"{expert}.toml", "recipe")
    recipe = Recipe(
        steps=table["steps"],
        cameras_per_step=table["cameras_per_step"],
        same_instant=table["same_instant"],
        motion_seeds=table.get("motion_seeds", 0),
        model=table.get("model", {}),
        optimizers=_optimizers(table.get("optimizers", {})),
        datamanager=table.get("datamanager", {}),
    )
    if preset is None:
        return recipe
    variation = _read(preset_file(preset), "preset")
    strangers = sorted(set(variation) - {"data", "budget", "router", *known_experts()})
    if strangers:
        raise ValueError(
            f"expected data, budget, router and experts ({', '.join(known_experts())}) in preset '{preset}', found "
            f"{', '.join(strangers)}"
        )
    budget = variation.get("budget")
    if budget is not None and not (isinstance(budget, int | float) and budget > 0):
        raise ValueError(f"expected a positive number as the budget of preset '{preset}', found {budget!r}")
    if expert not in variation and budget is None:
        raise ValueError(f"preset '{preset}' has no numbers for expert '{expert}'")
    own = variation.get(expert, {})
    misplaced = sorted(set(own) - _TABLE_KEYS)
    if misplaced:
        raise ValueError(
            f"expected {', '.join(sorted(_TABLE_KEYS))} in [{expert}] of preset '{preset}', found "
            f"{', '.join(misplaced)}; options of the model belong in [{expert}.model], of the data manager in "
            f"[{expert}.datamanager]"
        )
    unknown = set(own.get("optimizers", {})) - set(recipe.optimizers)
    if unknown:
        raise ValueError(f"preset '{preset}' names optimizer groups {sorted(unknown)} that '{expert}' does not have")
    changed = {
        group: replace(recipe.optimizers[group], **values) for group, values in own.get("optimizers", {}).items()
    }
    varied = Recipe(
        steps=own.get("steps", recipe.steps),
        cameras_per_step=own.get("cameras_per_step", recipe.cameras_per_step),
        same_instant=own.get("same_instant", recipe.same_instant),
        motion_seeds=own.get("motion_seeds", recipe.motion_seeds),
        model={**recipe.model, **own.get("model", {})},
        optimizers={**recipe.optimizers, **changed},
        datamanager={**recipe.datamanager, **own.get("datamanager", {})},
        data=variation.get("data", {}),
    )
    return varied if budget is None or expert in _NO_EXPERTS else varied.scaled(budget)
