"""Sweeps: one choice of the router's training, tried out on val cameras.

A sweep is a TOML file of configs/sweeps. Its experts are trained once per seed, without the val cameras; then a router
per choice on the same experts. Nothing is rendered from the test cameras.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moegs_ns.benching.find_data import find_data
from moegs_ns.paths import resource_dir
from moegs_ns.training.stages import Scene, Stage, plan

_VAL_CAMS = "--val-cams"


@dataclass(frozen=True)
class Scoring:
    """One way to score a trained router.

    Attributes:
        label: of its row.
        eval_temperature: of the softmax over experts; None for the run's own.
    """

    label: str
    eval_temperature: float | None = None


@dataclass(frozen=True)
class Choice:
    """One training of the router.

    Attributes:
        label: of its row, and in its run's name.
        options: of ``ns-train moegs-router``.
        scorings: rows that come of it; the run as it is, unless several evaluation temperatures are asked for.
    """

    label: str
    options: tuple[str, ...]
    scorings: tuple[Scoring, ...]

    @property
    def slug(self) -> str:
        """The label as part of a folder's name."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.label).strip("-")


@dataclass(frozen=True)
class Sweep:
    """The runs of one comparison.

    Attributes:
        name: of the sweep and its file.
        description: what is compared and on what.
        data: data folder, below the checkout or below the folder of real scenes.
        experts: what the router mixes.
        seeds: everything is trained once per seed.
        val_cams: cameras nothing is trained on, by which the choices are compared.
        choices: what is compared.
        preset: preset name or file; None for the papers' recipes.
        parser: data parser.
        options: its further options.
        frame_step: every how many frames of the val cameras are scored.
    """

    name: str
    description: str
    data: str
    experts: tuple[str, ...]
    seeds: tuple[int, ...]
    val_cams: tuple[str, ...]
    choices: tuple[Choice, ...]
    preset: str | None = None
    parser: str = "n3v-data"
    options: tuple[str, ...] = ()
    frame_step: int = 1

    def stages(self, seed: int, output_dir: Path) -> tuple[list[Stage], list[tuple[Choice, Stage]]]:
        """The experts' stages and, for every choice, the router's; their names are no other runs'.

        Raises:
            FileNotFoundError: the data cannot be found.
            ValueError: the preset does not fit the experts.
        """
        scene = Scene(find_data(self.data), self.parser, (*self.options, _VAL_CAMS, *self.val_cams), output_dir)
        label = f"sweep-{self.name}-seed{seed}"
        *experts, router = plan(scene, self.experts, self.preset, seed, label)
        routers = []
        for choice in self.choices:
            stage = router.with_options(choice.options)
            routers.append((choice, stage.named(f"{label}-{choice.slug}")))
        return experts, routers

    def labels(self) -> list[str]:
        """The rows in order."""
        return [scoring.label for choice in self.choices for scoring in choice.scorings]


def read_sweep(name: str) -> Sweep:
    """A sweep by name, or from a TOML file elsewhere.

    Raises:
        ValueError: no such sweep, keys that no sweep has or that are missing, or numbers and labels that do not work.
    """
    path = Path(name) if name.endswith(".toml") else resource_dir("configs") / "sweeps" / f"{name}.toml"
    if not path.is_file():
        known = sorted(file.stem for file in (resource_dir("configs") / "sweeps").glob("*.toml"))
        raise ValueError(f"unknown sweep '{name}'; known: {', '.join(known) or 'none'}; or give a TOML file")
    with path.open("rb") as file:
        try:
            table = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"expected TOML in the sweep {path}, found something else ({error})") from error
    try:
        sweep = Sweep(
            name=path.stem,
            description=" ".join(table.pop("description").split()),
            experts=tuple(table.pop("experts")),
            seeds=tuple(table.pop("seeds")),
            val_cams=tuple(map(str, table.pop("val_cams"))),
            choices=tuple(map(_choice, table.pop("choice"))),
            options=tuple(map(str, table.pop("options", ()))),
            **table,
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"expected data, description, experts (names), seeds, val_cams, tables [[choice]] (label, options, "
            f"optionally evaluate) and optionally preset, parser, options and frame_step in {path}, found something "
            f"else ({error})"
        ) from error
    _check(sweep, path)
    return sweep


def _choice(table: dict[str, Any]) -> Choice:
    table = dict(table)
    label, options = str(table.pop("label")), tuple(map(str, table.pop("options", ())))
    scorings = tuple(Scoring(**one) for one in table.pop("evaluate", [{"label": label}]))
    if table:
        raise TypeError(f"a choice has no {', '.join(table)}")
    return Choice(label, options, scorings)


def _check(sweep: Sweep, path: Path) -> None:
    slugs = [choice.slug for choice in sweep.choices]
    problems = {
        "at least two experts": len(sweep.experts) >= 2,
        "at least one seed": bool(sweep.seeds),
        "at least one val camera": bool(sweep.val_cams),
        "at least one choice, each with something to score": all([slugs, *(c.scorings for c in sweep.choices)]),
        f"the val cameras in val_cams, not as {_VAL_CAMS} in options": _VAL_CAMS not in sweep.options,
        "labels that differ, in letters or digits": len({*slugs}) == len(slugs) and "" not in slugs,
        "labels of rows that differ": len({*sweep.labels()}) == len(sweep.labels()),
        "frame_step of at least 1": sweep.frame_step >= 1,
    }
    missing = [what for what, there in problems.items() if not there]
    if missing:
        raise ValueError(f"expected {'; '.join(missing)} in {path}, found otherwise")
