"""Fuse the mixtures of a suite, fine-tune the fused models in both ways, and keep what the comparison needs.

    python benchmarks/run_suite.py mixed_demo
    python benchmarks/fusion.py mixed_demo
    python benchmarks/write_results.py

Resumable: finished runs are skipped, interrupted ones go on from their last checkpoint. Writes one JSON per mixture
into benchmarks/results/fusion. Depths are compared between cameras as by `moegs report geometry`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import tyro
from machine import describe_measurement
from rich.console import Console
from suites import FUSION_RESULTS, ROOT, SCHEMA_VERSION, keep, portable, result_file, run_key, write_json

from moegs_ns.benching.suite import Suite
from moegs_ns.benching.suite_files import read_suite
from moegs_ns.cli.geometry import ReportGeometry, geometry_summary
from moegs_ns.reporting.depth_consistency import ConsistencyRules
from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.training.fusion import Background, Finetune, FusionPlan, make_finetuned, make_fused, plan_fusion
from moegs_ns.training.processes import Processes
from moegs_ns.training.stages import Stage

#: Rows of the comparison, in order.
MIXTURE, FUSED = "mixture", "fused"
_WAYS: tuple[Finetune, ...] = ("opacity", "all")


@dataclass
class Arguments:
    """Fuse the mixtures of a suite."""

    suite: Annotated[str, tyro.conf.Positional]
    """Name of a file in configs/suites, or a TOML file; its runs must be there (run_suite.py)."""
    experts: tuple[str, ...] = ()
    """Only the mixtures of these experts. Default: all of the suite."""
    seeds: tuple[int, ...] = ()
    """Only the mixtures of these seeds. Default: all of the suite."""
    finetune_steps: int = 1000
    """Steps of each fine-tuning; 0 for none."""
    frame_stride: int = 1
    """Responsibilities from every so-manieth frame."""
    camera_stride: int = 1
    """Responsibilities from every so-manieth training camera."""
    background: Background | None = None
    """Behind the fused sets, which have one for all experts; to be named where the experts' own differ."""
    output_dir: Path = ROOT / "outputs" / "suites"
    """Where the runs lie."""
    results: Path = FUSION_RESULTS
    """Where the results are kept."""
    device: str | None = None
    """CUDA device number, or cpu. Default: the first there is."""
    plan: bool = False
    """Only print which runs there would be."""


def mixtures_of(suite: Suite, output_dir: Path, experts: Sequence[str] = ()) -> list[Stage]:
    """The suite's finished router stages.

    Raises:
        ValueError: there is none, or one is not finished.
    """
    plans = replace(suite, routers=()).plans(output_dir)  # the volume router has nothing to lift
    stages = [stage for stage in chain.from_iterable(plans) if stage.method == "moegs-router"]
    if experts:
        stages = [stage for stage in stages if stage.run.name.endswith(f"-{'+'.join(experts)}")]
    unfinished = [run_key(stage.run) for stage in stages if stage.state() != "finished"]
    if not stages or unfinished:
        raise ValueError(
            f"expected finished mixtures of {suite.name} in {output_dir}, found none for "
            f"{', '.join(unfinished) or 'these experts'}; run benchmarks/run_suite.py first"
        )
    return stages


def depth_consistency(run: Path, row: str, console: Console) -> dict[str, dict[str, Any]]:
    """Multi-view depth consistency with the defaults of `moegs report geometry`: ``geometry`` of one row of a run, and
    ``geometry_of_experts`` by name, where the run has rows of them."""
    summary = geometry_summary(run, ConsistencyRules(), ReportGeometry.frames, console)
    rows = {name: one["consistency"] for name, one in summary["rows"].items()}
    experts = {name: found for name, found in rows.items() if name != row}
    return {"geometry": {"rules": summary["asked"], **rows[row]}, "geometry_of_experts": experts}


def kept_row(stage: Stage, row: str, console: Console) -> dict[str, Any]:
    """What is kept of one run."""
    return keep(read_result(stage.run), stage, depth_consistency(stage.run, row, console))


def rows_of(plan: FusionPlan, mixture: Stage, console: Console) -> dict[str, Any]:
    """The finished runs by row."""
    finetuned = {f"{FUSED}, {way} fine-tuned": kept_row(stage, FUSED, console) for way, stage in plan.finetuned.items()}
    return {MIXTURE: kept_row(mixture, MIXTURE, console), FUSED: kept_row(plan.fused, FUSED, console), **finetuned}


def main(arguments: Arguments, processes: Processes | None = None) -> None:
    console = Console()
    suite = read_suite(arguments.suite)
    run = (processes or Processes()).run
    suite = replace(suite, seeds=arguments.seeds or suite.seeds)
    for mixture in mixtures_of(suite, arguments.output_dir.absolute(), arguments.experts):
        plan = plan_fusion(
            mixture.run,
            finetune_steps=arguments.finetune_steps,
            finetune=_WAYS,
            frame_stride=arguments.frame_stride,
            camera_stride=arguments.camera_stride,
            background=arguments.background,
        )
        for stage in (plan.fused, *plan.finetuned.values()):
            console.print(f"{run_key(stage.run)}: {stage.state()}", highlight=False)
        if arguments.plan:
            continue
        make_fused(plan, run, arguments.device)
        for way in plan.finetuned:
            make_finetuned(plan, way, run, arguments.device)
        content = {
            "schema_version": SCHEMA_VERSION,
            "suite": {"name": suite.name, "description": suite.description},
            "finetune_steps": arguments.finetune_steps,
            "rows": rows_of(plan, mixture, console),
            "measurement": {key: value for key, value in describe_measurement().items() if key != "source"},
        }
        file = result_file(arguments.results, f"{suite.name}/{mixture.run.name}")
        write_json(file, portable(content))
        console.print(f"kept: {file}", soft_wrap=True, highlight=False)
    console.print("now: python benchmarks/write_results.py")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
