"""With which options a student is trained: those of the teacher's expert of its name."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moegs_ns.distill.teacher import student_position
from moegs_ns.router.ensemble import specs_in_state
from moegs_ns.router.experts import RECIPE_KEYS, ExpertSpec, read_spec
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.checkpoints import read_checkpoint
from moegs_ns.runs.record import RUN_RECORD_NAME, read_run_record

#: What records call a fused model, which may be gone on with under a teacher.
FUSED = "fused"


@dataclass(frozen=True)
class Recipe:
    """How an expert was trained, as plain data.

    Attributes:
        family: registry name, or ``fused``.
        config: of the model.
        learning_rates: by group, as in ``run.json``.
        datamanager: its options, as in ``run.json``.
        steps: training steps in all.
        spec: the expert it is of; None where a student's own run is resumed.
    """

    family: str
    config: dict[str, Any]
    learning_rates: dict[str, dict[str, float]]
    datamanager: dict[str, Any]
    steps: int
    spec: ExpertSpec | None = None


def recipe_of_teacher(run: Path | None, student: str) -> Recipe:
    """That of the teacher's expert ``student``; the expert's own run is not needed.

    Raises:
        FileNotFoundError: no run, or none of its checkpoints.
        ValueError: no teacher named, not the run of a mixture, no such expert, or a teacher from a version that did not
            keep recipes, whose expert's run is gone.
    """
    if run is None:
        raise ValueError("expected the run folder of a trained mixture behind --teacher, found none")
    record = read_run_record(run)
    if record["expert"]["name"] != "router":
        raise ValueError(
            f"expected the run of a mixture (moegs-router) behind --teacher, found one of '{record['method']}' at {run}"
        )
    specs = specs_in_state(read_checkpoint(find_checkpoint(run))["pipeline"], "_model.")
    spec = specs[student_position([one.name for one in specs], student)]
    origin = _with_recipe(spec, run)
    return Recipe(
        family=spec.family,
        config=spec.config,
        learning_rates=origin["learning_rates"],
        datamanager=origin["datamanager"],
        steps=int(origin["steps_total"]),
        spec=dataclasses.replace(spec, origin=origin),
    )


def is_run(student: str) -> bool:
    """Whether ``--student`` is given as a run folder."""
    return bool(student) and (Path(student) / RUN_RECORD_NAME).is_file()


def recipe_of_run(run: Path) -> Recipe:
    """That of any expert's run, to train the like of it anew.

    Raises:
        FileNotFoundError: none of its checkpoints.
        ValueError: not the run of an expert.
    """
    return dataclasses.replace(recipe_of_student(run), spec=read_spec(run))


def recipe_of_student(run: Path) -> Recipe:
    """That of a student's own run, to go on with it."""
    record = read_run_record(run)
    return Recipe(
        family=record["expert"]["name"],
        config=record["expert"]["config"],
        learning_rates=record["learning_rates"],
        datamanager=record["datamanager"],
        steps=int(record["progress"]["steps_total"]),
    )


def _with_recipe(spec: ExpertSpec, teacher: Path) -> dict[str, Any]:
    """The expert's origin; where an earlier version wrote the teacher, completed from the expert's own run."""
    if all(key in spec.origin for key in RECIPE_KEYS):
        return spec.origin
    own = Path(spec.origin.get("run", ""))
    try:
        record = read_run_record(own)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"expected the recipe of '{spec.name}' in the teacher {teacher}, found none (an earlier version wrote it), "
            f"and the expert's own run cannot be read ({error}); train the router again"
        ) from error
    return {**spec.origin, **{key: record[key] for key in RECIPE_KEYS}}
