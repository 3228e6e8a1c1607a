"""Train and evaluate every run of a suite, and keep what the tables need.

    python benchmarks/run_suite.py basketball_quick
    python benchmarks/run_suite.py mixed_demo --plan

Resumable: finished runs are skipped, interrupted ones go on from their last checkpoint. Writes one JSON per run into
benchmarks/results/<suite>; `python benchmarks/write_results.py` makes docs/results.md and docs/experts.md of them.
"""

import json
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from machine import describe_measurement
from rich.console import Console
from suites import RESULTS, ROOT, keep, result_file, run_key, shown_with_state, write_json
from temporal_mean import temporal_mean_psnr

from moegs_ns.benching.suite import Suite
from moegs_ns.benching.suite_files import read_suite
from moegs_ns.cli.motion import expert_motion
from moegs_ns.cli.objects import object_summary
from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.dataset import FrameDataset
from moegs_ns.training.run_stages import run_stages
from moegs_ns.training.stages import Stage


@dataclass
class Arguments:
    """Run a suite."""

    suite: Annotated[str, tyro.conf.Positional]
    """Name of a file in configs/suites, or a TOML file."""
    output_dir: Path = ROOT / "outputs" / "suites"
    """Where the runs lie."""
    results: Path = RESULTS
    """Where the results are kept, in a folder of the suite's name."""
    devices: tuple[str, ...] = ()
    """CUDA devices to train on (or cpu). Default: the first there is."""
    plan: bool = False
    """Only print the command lines and how far each run is."""


def temporal_mean(record: dict[str, Any]) -> dict[str, Any] | None:
    """The score of the test cameras' own average over time, read as the run read them; None for other parsers."""
    options = dict(record["datamanager"]["dataparser"])
    if record["scene"].get("layout") != "n3v":
        return None
    known = {item.name for item in fields(N3VDataParserConfig)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in options.items()
        if name in known and value is not None
    }
    for name in {"data", "point_cloud"} & set(given):
        given[name] = Path(given[name])
    dataset = FrameDataset(N3VDataParserConfig(**given).setup().get_dataparser_outputs("test"))
    frames = [temporal_mean_psnr(dataset.frames, camera) for camera in range(len(dataset.frames))]
    return {"psnr": float(np.mean(np.concatenate(frames))), "images": sum(map(len, frames))}


def store(suite: Suite, stage: Stage, folder: Path, further: dict[str, Any] | None = None) -> Path:
    """Keep an evaluated run, with ``further`` entries; a file that says the same already is left alone."""
    result = read_result(stage.run)
    extra = {
        "suite": {name: getattr(suite, name) for name in ("name", "description", "preset", "seeds")},
        "measurement": {key: value for key, value in describe_measurement(result.seed).items() if key != "source"},
        "temporal_mean": temporal_mean(result.record),
        "objects": object_summary(result, Console()),
        **(further or {}),
    }
    kept = keep(result, stage, extra)
    file = result_file(folder, run_key(stage.run))
    if file.is_file():
        present = json.loads(file.read_text("utf8"))
        if {**present, "measurement": None} == json.loads(json.dumps({**kept, "measurement": None})):
            return file  # of the same run: when and where it was kept first stands
    write_json(file, kept)
    return file


def main(arguments: Arguments) -> None:
    console = Console()
    suite = read_suite(arguments.suite)
    plans = suite.plans(arguments.output_dir.absolute())
    if arguments.plan:
        for stage in chain.from_iterable(plans):
            console.print(shown_with_state(stage), soft_wrap=True, markup=False, highlight=False)
        return
    for stages in plans:
        run_stages(
            stages,
            arguments.devices or (None,),
            notify=lambda stage, event: console.print(f"{event}: {run_key(stage.run)}", highlight=False),
        )
        for stage in stages:
            moves = {"motion": expert_motion(read_result(stage.run))}
            file = store(suite, stage, arguments.results / suite.name, moves)
            console.print(f"kept: {file}", soft_wrap=True, highlight=False)
    console.print("now: python benchmarks/write_results.py")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
