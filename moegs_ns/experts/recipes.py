"""Training recipes as data: a paper's numbers in ``configs/recipes``, variations of them in ``configs/presets``.

A *recipe* belongs to one expert and follows its paper. A *preset* (``quick``, ``demo`` ...) overrides some of its
numbers for a purpose, may add data-parser options, and may have a ``budget``: the share of its steps every expert is
trained for, its whole schedule with it. One may build on others (``extends``), which it then varies. Both resolve to
plain numbers; nothing else of them is kept, so a run's ``config.yml`` says all.
"""

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from moegs_ns.experts.preset_tables import check_names, check_table, check_types
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
    """Where a preset lies: the name of a shipped one, of configs/presets or configs/scenes, or the path of a TOML file
    of one's own (``my/preset.toml``)."""
    if preset.endswith(".toml"):
        path = Path(preset).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"expected a preset file at {path}, found none; give a TOML file or a preset's name"
            )
        return path
    places = [resource_dir("configs") / kind / f"{preset}.toml" for kind in ("presets", "scenes")]
    shipped = next((place for place in places if place.is_file()), None)
    if shipped is None and (Path(preset).expanduser().is_file() or Path(preset).name != preset):
        raise ValueError(
            f"expected a preset's name or a preset file whose name ends in .toml, found {preset!r}; rename the file or "
            "name a preset"
        )
    return shipped or places[0]


def _read(path: Path, kind: str) -> dict[str, Any]:
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.toml"))
        raise ValueError(f"unknown {kind} '{path.stem}'; known: {', '.join(known) or 'none'}")
    with path.open("rb") as file:
        try:
            return tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"expected TOML in the {kind} {path}, found something else ({error}); correct the file"
            ) from error


#: Recipes of stages that follow the experts'.
_NO_EXPERTS = ("router", "fused")
#: Numbers that a recipe, and an expert's table in a preset, hold themselves; all others are in `_TABLES` below it.
TABLE_NUMBERS = ("steps", "cameras_per_step", "same_instant", "motion_seeds")
_TABLES = ("model", "datamanager", "optimizers")


def read_preset(preset: str) -> dict[str, Any]:
    """A preset's file as it is written: ``{"data": ..., "<expert>": ...}``.

    Raises:
        FileNotFoundError, ValueError: no such preset, or no TOML.
    """
    return _read(preset_file(preset), "preset")


def load_recipe(expert: str, preset: str | None = None) -> Recipe:
    """The recipe of an expert, optionally varied by a preset (a shipped one's name, or a path ending in ``.toml``), or
    by several: ``quick+plus``.

    Options of models and the data manager are taken as they stand; who has them at hand checks them
    (:mod:`moegs_ns.training.preset_options`).

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
        optimizers={group: OptimizerRecipe(**values) for group, values in table.get("optimizers", {}).items()},
        datamanager=table.get("datamanager", {}),
    )
    layers = expanded_layers(preset) if preset is not None else []
    varied = recipe
    for layer in layers:
        varied = _varied(varied, expert, layer)
    if layers and not any(says_something(layer, expert) for layer in layers) and not _only_of_routers(layers):
        raise ValueError(
            f"expected numbers for expert '{expert}' in preset '{preset}', found none; add a table [{expert}]"
        )
    return varied


def preset_layers(preset: str) -> list[str]:
    """The presets in ``quick+plus``: each varies what those before it made of the recipes."""
    return preset.split("+")


def expanded_layers(preset: str) -> list[str]:
    """The layers of a preset, each behind those it extends.

    Raises:
        ValueError: ``extends`` is no list of presets, or leads back to where it began.
    """
    return [one for layer in preset_layers(preset) for one in _expanded(layer, ())]


def _expanded(layer: str, within: tuple[str, ...]) -> list[str]:
    bases = read_preset(layer).get("extends", [])
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(
            f"expected extends as a list of presets in preset '{layer}', found {bases!r}; "
            'write extends = ["quick"], say'
        )
    if layer in within:
        raise ValueError(f"expected presets that end somewhere, found a circle: {' -> '.join([*within, layer])}")
    return [*(one for base in bases for one in _expanded(base, (*within, layer))), layer]


def says_something(preset: str, expert: str) -> bool:
    """Whether a preset (one layer) has anything to say about how an expert, or the router, is trained."""
    return any({expert, "budget", "data"} & set(read_preset(layer)) for layer in expanded_layers(preset))


def _only_of_routers(layers: list[str]) -> bool:
    """Whether experts are meant to stay as in their papers: presets about the router alone."""
    return all(set(read_preset(layer)) == {"router"} for layer in layers)


def _varied(recipe: Recipe, expert: str, preset: str) -> Recipe:
    """A recipe as one preset changes it."""
    variation = read_preset(preset)
    strangers = sorted(set(variation) - {"extends", "data", "budget", "router", *known_experts()})
    if strangers:
        raise ValueError(
            f"expected extends, data, budget, router and experts ({', '.join(known_experts())}) in preset '{preset}', "
            f"found {', '.join(strangers)}; remove it"
        )
    budget = variation.get("budget")
    if budget is not None and not (isinstance(budget, int | float) and budget > 0):
        raise ValueError(f"expected a positive number as the budget of preset '{preset}', found {budget!r}")
    file = preset_file(preset)
    own = check_table(variation.get(expert, {}), expert, file)
    _check_own(own, expert, recipe, file)
    changed = {
        group: replace(recipe.optimizers[group], **values) for group, values in own.get("optimizers", {}).items()
    }
    varied = replace(
        recipe,
        **{name: own[name] for name in TABLE_NUMBERS if name in own},
        model={**recipe.model, **own.get("model", {})},
        optimizers={**recipe.optimizers, **changed},
        datamanager={**recipe.datamanager, **own.get("datamanager", {})},
        data={**recipe.data, **check_table(variation.get("data", {}), "data", file)},
    )
    return varied if budget is None or expert in _NO_EXPERTS else varied.scaled(budget)


def _check_own(own: dict[str, Any], expert: str, recipe: Recipe, file: Path) -> None:
    """Refuse what an expert's table in a preset cannot hold, as far as that is known without the expert's model."""
    misplaced = sorted(set(own) - {*TABLE_NUMBERS, *_TABLES})
    if misplaced:
        raise ValueError(
            f"expected {', '.join(sorted([*TABLE_NUMBERS, *_TABLES]))} in [{expert}] of preset {file}, found "
            f"{', '.join(misplaced)}; options of the model belong in [{expert}.model], of the data manager in "
            f"[{expert}.datamanager]"
        )
    check_types({name: own[name] for name in TABLE_NUMBERS if name in own}, get_type_hints(Recipe), expert, file)
    for name, least in (("steps", 1), ("cameras_per_step", 1), ("motion_seeds", 0)):
        if own.get(name, least) < least:
            raise ValueError(f"expected {name} of {least} or more in [{expert}] of {file}, found {own[name]}")
    for kind in _TABLES:
        check_table(own.get(kind, {}), f"{expert}.{kind}", file)
    groups, heading = own.get("optimizers", {}), f"{expert}.optimizers"
    check_names(groups, recipe.optimizers, f"optimizer groups ({', '.join(recipe.optimizers)})", heading, file)
    options = get_type_hints(OptimizerRecipe)
    for group, values in groups.items():
        table = f"{heading}.{group}"
        check_table(values, table, file)
        check_names(values, options, ", ".join(options), table, file)
        check_types(values, options, table, file)
        for name, value in values.items():
            smallest = 0.0 if name == "restart_step" else 1e-30  # learning rates and lengths of decays
            if not smallest <= value < float("inf"):
                raise ValueError(f"expected {name} above 0 in [{table}] of {file}, found {value}")
        if recipe.optimizers[group].lr_final is None and set(values) - {"lr"}:
            raise ValueError(
                f"expected only lr in [{table}] of {file}, whose rate the recipe keeps constant, found "
                f"{', '.join(sorted(set(values) - {'lr'}))}; remove them: there is no decay to change"
            )
