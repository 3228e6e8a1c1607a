"""Write docs/performance.md from what the benchmarks of speed kept, in benchmarks/results; no number in that page is
typed by hand.

    python benchmarks/write_performance.py
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from faults_section import faults_section
from gpu_section import gpu_section
from load_section import load_section
from passes_section import passes_section
from profile_section import profile_section
from projection_section import projection_section
from raster_section import raster_section
from rich.console import Console
from training_step_section import training_step_section

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
_HEAD = """# Speed

Written by [benchmarks/write_performance.py](../benchmarks/write_performance.py) from the JSON files that
[benchmarks/step_profile.py](../benchmarks/step_profile.py),
[benchmarks/training_step.py](../benchmarks/training_step.py),
[benchmarks/raster_speed.py](../benchmarks/raster_speed.py),
[benchmarks/expert_passes.py](../benchmarks/expert_passes.py),
[benchmarks/projection_share.py](../benchmarks/projection_share.py),
[benchmarks/load.py](../benchmarks/load.py) and
[benchmarks/faults.py](../benchmarks/faults.py) make; do not edit.
"""


@dataclass(frozen=True)
class KeptFiles:
    """Where measurements are kept; the page is of those that there are."""

    profile: Path = RESULTS / "step_profile.json"
    """What step_profile.py kept."""
    training_step: Path = RESULTS / "training_step.json"
    """What training_step.py kept."""
    raster: Path = RESULTS / "raster_speed_cpu.json"
    """What raster_speed.py kept."""
    passes: Path = RESULTS / "expert_passes.json"
    """What expert_passes.py kept."""
    projection: Path = RESULTS / "projection_share.json"
    """What projection_share.py kept."""
    load: Path = RESULTS / "load.json"
    """What load.py kept."""
    faults: Path = RESULTS / "faults.json"
    """What faults.py kept."""
    gpu: Path = RESULTS / "gpu_suite.txt"
    """The results.txt of a run of gpu_suite.sh."""


@dataclass
class Arguments:
    """Write docs/performance.md."""

    kept: KeptFiles = field(default_factory=KeptFiles)
    output: Path = PAGE
    """Page to write."""


def write_page(output: Path, kept: KeptFiles | None = None) -> None:
    """Write the page of all measurements that there are."""
    kept = kept or KeptFiles()
    sections = [
        section(json.loads(file.read_text("utf8")))
        for file, section in (
            (kept.profile, profile_section),
            (kept.training_step, training_step_section),
            (kept.raster, raster_section),
            (kept.passes, passes_section),
            (kept.projection, projection_section),
            (kept.load, load_section),
            (kept.faults, faults_section),
        )
        if file.is_file()
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join([_HEAD, *sections, gpu_section(kept.gpu)]), "utf8")


def main(arguments: Arguments) -> None:
    write_page(arguments.output, arguments.kept)
    Console().print(f"wrote {arguments.output}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
