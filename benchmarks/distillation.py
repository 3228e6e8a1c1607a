"""Let the mixtures of a suite teach their experts anew, in every way of MoE-GS Table 13, and keep the comparison.

    python benchmarks/run_suite.py mixed_demo
    python benchmarks/distillation.py mixed_demo
    python benchmarks/write_results.py

Per student: the expert as it was trained alone (*retrained*: the same recipe, seed and data), taught without masks
(*unweighted*), taught by Eq. 11 (*weighted*); and how well each learnt what it was shown (student_fit.py). Resumable:
finished runs are skipped, interrupted ones go on from their last checkpoint. Writes one JSON per mixture and student
into benchmarks/results/distillation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from machine import describe_measurement
from rich.console import Console
from student_fit import training_fit
from suites import (
    DISTILLATION_RESULTS,
    ROOT,
    SCHEMA_VERSION,
    keep,
    portable,
    result_file,
    run_key,
    shown_with_state,
    write_json,
)

from moegs_ns.benching.suite import Suite
from moegs_ns.benching.suite_files import read_suite
from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.training.processes import Processes
from moegs_ns.training.run_stages import run_stages
from moegs_ns.training.stages import Stage, distill_stage

VARIANTS = ("unweighted", "weighted")
MIXTURE, RETRAINED = "mixture", "retrained"


@dataclass
class Arguments:
    """Distil the mixtures of a suite."""

    suite: Annotated[str, tyro.conf.Positional]
    """Name of a file in configs/suites, or a TOML file; its runs are finished first."""
    students: tuple[str, ...] = ()
    """Which experts are taught. Default: all of the mixture."""
    seeds: tuple[int, ...] = ()
    """Only the mixtures of these seeds. Default: all of the suite."""
    variants: tuple[str, ...] = VARIANTS
    """Ways to teach."""
    options: tuple[str, ...] = ()
    """Further options of moegs-distill for every student, such as: --ground-truth-weight 0.3."""
    output_dir: Path = ROOT / "outputs" / "suites"
    """Where the runs lie."""
    results: Path = DISTILLATION_RESULTS
    """Where the results are kept."""
    devices: tuple[str, ...] = ()
    """CUDA devices to train on (or cpu), a student each at a time. Default: the first there is."""
    plan: bool = False
    """Only print the command lines and how far each run is."""


@dataclass(frozen=True)
class Teaching:
    """One mixture and its students.

    Attributes:
        stages: the experts', then the mixture's.
        students: by expert name and variant.
    """

    stages: list[Stage]
    students: dict[tuple[str, str], Stage]

    @property
    def mixture(self) -> Stage:
        """Who teaches."""
        return self.stages[-1]

    def expert(self, name: str) -> Stage:
        """The expert's own training."""
        return next(stage for stage in self.stages if stage.method == f"moegs-{name}")


def teachings(suite: Suite, arguments: Arguments) -> list[Teaching]:
    """Per seed the suite's last mixture with the usual router, and the students asked for.

    Raises:
        ValueError: a student the mixture has no expert for.
    """
    experts = suite.experts[-1]
    students = arguments.students or experts
    unknown = sorted(set(students) - set(experts))
    if unknown:
        raise ValueError(f"expected students among {', '.join(experts)}, found {', '.join(unknown)}")
    one = replace(suite, experts=(experts,), routers=(), seeds=arguments.seeds or suite.seeds)
    planned = []
    for seed, stages in zip(one.seeds, one.plans(arguments.output_dir.absolute()), strict=True):
        bare = Teaching(stages, {})
        taught = {
            (student, variant): distill_stage(
                bare.mixture,
                student,
                bare.expert(student).steps,
                seed,
                ("--variant", variant, *arguments.options),
            )
            for student in students
            for variant in arguments.variants
        }
        planned.append(Teaching(stages, taught))
    return planned


def stages_of(teaching: Teaching, student: str, variants: Sequence[str]) -> dict[str, Stage]:
    """A mixture and one of its students, by row."""
    stages = {MIXTURE: teaching.mixture, RETRAINED: teaching.expert(student)}
    return stages | {variant: teaching.students[student, variant] for variant in variants}


def rows_of(stages: Mapping[str, Stage], fit: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a mixture and one of its students, by row.

    Args:
        stages: see `stages_of`.
        fit: see `training_fit`.
    """
    rows = {}
    for row, stage in stages.items():
        result = read_result(stage.run)
        taught = result.record.get("distilled")
        rows[row] = keep(result, stage, {"fit": fit[row], **({} if taught is None else {"distilled": taught})})
    return rows


def main(arguments: Arguments, processes: Processes | None = None) -> None:
    console = Console()
    suite = read_suite(arguments.suite)
    for teaching in teachings(suite, arguments):
        stages = [*teaching.stages, *teaching.students.values()]
        if arguments.plan:
            for stage in stages:
                console.print(shown_with_state(stage), soft_wrap=True, markup=False, highlight=False)
            continue
        run_stages(
            stages,
            arguments.devices or (None,),
            notify=lambda stage, event: console.print(f"{event}: {run_key(stage.run)}", highlight=False),
            processes=processes,
        )
        for student in dict.fromkeys(name for name, _ in teaching.students):
            own = stages_of(teaching, student, arguments.variants)
            students = {row: stage.run for row, stage in own.items() if row != MIXTURE}
            content = {
                "schema_version": SCHEMA_VERSION,
                "suite": {"name": suite.name, "description": suite.description},
                "student": student,
                "options": list(arguments.options),
                "rows": rows_of(own, training_fit(own[MIXTURE].run, students)),
                "measurement": {key: value for key, value in describe_measurement().items() if key != "source"},
            }
            named = "".join(f"-{option.lstrip('-')}" for option in arguments.options)
            file = result_file(arguments.results, f"{suite.name}/{teaching.mixture.run.name}-{student}{named}")
            write_json(file, portable(content))
            console.print(f"kept: {file}", soft_wrap=True, highlight=False)
    console.print("now: python benchmarks/write_results.py")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
