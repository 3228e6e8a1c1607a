"""Write docs/performance.md from what benchmarks/step_profile.py, training_step.py and expert_passes.py kept; nothing
in that page is typed by hand.

    python benchmarks/write_performance.py
"""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro
from passes_section import passes_section
from profile_section import profile_section
from rich.console import Console
from training_step_section import training_step_section

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ROOT / "benchmarks" / "results" / "step_profile.json"
TRAINING_STEP = ROOT / "benchmarks" / "results" / "training_step.json"
PASSES = ROOT / "benchmarks" / "results" / "expert_passes.json"
PAGE = ROOT / "docs" / "performance.md"
_HEAD = """# Speed

Written by [benchmarks/write_performance.py](../benchmarks/write_performance.py) from the JSON files that
[benchmarks/step_profile.py](../benchmarks/step_profile.py),
[benchmarks/training_step.py](../benchmarks/training_step.py) and
[benchmarks/expert_passes.py](../benchmarks/expert_passes.py) make; do not edit.
"""


@dataclass
class Arguments:
    """Write docs/performance.md."""

    profile: Path = PROFILE
    """What step_profile.py kept."""
    training_step: Path = TRAINING_STEP
    """What training_step.py kept."""
    passes: Path = PASSES
    """What expert_passes.py kept."""
    output: Path = PAGE
    """Page to write."""


def write_page(
    output: Path, profile: Path = PROFILE, training_step: Path = TRAINING_STEP, passes: Path = PASSES
) -> None:
    """Write the page of all measurements that there are."""
    sections = [
        section(json.loads(kept.read_text("utf8")))
        for kept, section in (
            (profile, profile_section),
            (training_step, training_step_section),
            (passes, passes_section),
        )
        if kept.is_file()
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join([_HEAD, *sections]), "utf8")


def main(arguments: Arguments) -> None:
    write_page(arguments.output, arguments.profile, arguments.training_step, arguments.passes)
    Console().print(f"wrote {arguments.output}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
