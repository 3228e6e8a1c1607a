"""Do killed commands end like undisturbed ones? Trainings, preparations and exports are killed at random moments,
called again until they are done, and compared with what was never killed.

    make faults
    python benchmarks/faults.py --kills 10 --seed 7

Fails if anything differs; what happened is kept in benchmarks/results/faults.json, of which
python benchmarks/write_performance.py makes a section of docs/performance.md.
"""

import random
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import tyro  # noqa: E402  (the line above)
from machine import describe_measurement  # noqa: E402
from rich.console import Console  # noqa: E402

from moegs_ns.files import write_json  # noqa: E402
from tests.faults.kill_and_resume import JOBS, kill_and_resume  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "faults.json"


@dataclass
class Arguments:
    """Kill and resume every command that goes on where it was stopped."""

    kills: int = 4
    """In each stage: of two experts, the router, a student, of a preparation and an export."""
    seed: int = 0
    """Of the moments."""
    folder: Path | None = None
    """Where to work, empty or new. Default: a temporary folder, removed afterwards unless something differs."""
    output: Path = RESULTS
    """Where to keep what happened."""


def main(arguments: Arguments) -> int:
    """Exit status: 0 if every outcome is that of the undisturbed command."""
    rng, console = random.Random(arguments.seed), Console()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    jobs = {}
    for job in JOBS:
        told = kill_and_resume(job, arguments.kills * len(job.stages), folder, rng)
        jobs[job.name] = asdict(told)
        outcome = "as undisturbed" if told.same else "[bold red]different from undisturbed"
        console.print(f"{job.name}: {told.kills} kills, {told.starts} starts: {outcome}")
        missed = [stage for stage in job.stages if stage not in told.hit]
        if missed:
            raise RuntimeError(f"expected a kill in every stage of {job.name}, found none in {', '.join(missed)}")
    same = all(one["same"] for one in jobs.values())
    write_json(arguments.output, {"jobs": jobs, "measurement": describe_measurement(arguments.seed)})
    if arguments.folder is None and same:
        shutil.rmtree(folder)
    else:
        console.print(f"Everything is still in {folder}", soft_wrap=True, highlight=False)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments, description=__doc__)))
