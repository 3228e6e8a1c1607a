"""Compare choices of the router's training on val cameras; the test cameras stay untouched.

    python benchmarks/run_sweep.py router_temperatures_mixed --plan
    python benchmarks/run_sweep.py router_temperatures_mixed
    python benchmarks/write_results.py

Trains the experts of a sweep once per seed without its val cameras, then one router per choice on them, and scores each
router on the val cameras. Resumable: finished runs and scores are kept. Writes benchmarks/results/sweeps/<name>.json
after every choice; `python benchmarks/write_results.py` makes a section of docs/results.md of it.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from machine import describe_measurement
from mixture_scores import score
from rich.console import Console
from suites import ROOT, SCHEMA_VERSION, SWEEP_RESULTS, keep, portable, run_key, shown_with_state, write_json
from sweeps import Scoring, Sweep, read_sweep

from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.runs.record import read_run_record
from moegs_ns.training.load_run import load_run
from moegs_ns.training.processes import CPU, Processes, StageFailedError
from moegs_ns.training.run_stages import train_stage
from moegs_ns.training.stages import Stage

SPLIT = "val"


@dataclass
class Arguments:
    """Run a sweep."""

    sweep: Annotated[str, tyro.conf.Positional]
    """Name of a file in configs/sweeps, or a TOML file."""
    output_dir: Path = ROOT / "outputs" / "sweeps"
    """Where the runs lie."""
    results: Path = SWEEP_RESULTS
    """Where the results are kept, in a file of the sweep's name."""
    device: str | None = None
    """CUDA device number to train on, or cpu. Default: the first there is."""
    plan: bool = False
    """Only print the command lines and how far each run is."""


# -- training --------------------------------------------------------------------------------------------------------


def bring_to_end(
    stage: Stage, processes: Processes, device: str | None, retrained: set[Path], say: Callable[[str], None]
) -> None:
    """Train what is missing of a stage. Unlike `run_stages`, which evaluates on the test cameras, nothing else.

    Raises:
        StageFailedError: training failed, or the stage's experts were trained anew after it.
    """
    state = stage.state()
    if state != "missing" and retrained.intersection(stage.needs):
        raise StageFailedError(
            f"{stage.run} was trained on experts that had to be trained anew since; delete it and run again"
        )
    if state == "finished":
        say(f"finished before: {run_key(stage.run)}")
        return
    say(f"{'resuming' if state == 'interrupted' else 'training'}: {run_key(stage.run)}")
    train_stage(stage, processes.run, device, resume=state == "interrupted")
    retrained.add(stage.run)


# -- keeping ---------------------------------------------------------------------------------------------------------


def kept_of(stage: Stage, scoring: Scoring, seed: int, scores: dict[str, Any], temperature: float) -> dict[str, Any]:
    """What is kept of one row."""
    extra = {"label": scoring.label, "seed": seed, "eval_temperature": temperature}
    kept = keep(RunResult(stage.run, read_run_record(stage.run), scores), stage, extra)
    return {name: value for name, value in kept.items() if name not in ("schema_version", "per_image")}


def is_of(kept: dict[str, Any], stage: Stage, scoring: Scoring, temperature: float, frame_step: int) -> bool:
    """Whether a kept row is of this run as it is now, scored in this way."""
    if kept["run"] != run_key(stage.run) or kept["label"] != scoring.label:
        return False
    # The training time tells a run from one that was made anew.
    progress = read_run_record(stage.run)["progress"]
    return (
        kept["record"]["progress"].items() <= progress.items()
        and kept["command"] == portable(stage.shown())
        and kept["eval_temperature"] == temperature
        and kept["scores"]["protocol"]["frame_step"] == frame_step
    )


def expert_entry(stage: Stage, seed: int) -> dict[str, Any]:
    """What is kept of an expert's run."""
    record = read_run_record(stage.run)
    return {
        "run": run_key(stage.run),
        "seed": seed,
        "command": portable(stage.shown()),
        "training_seconds": record["progress"].get("training_seconds"),
        "num_gaussians": record.get("model", {}).get("num_gaussians"),
    }


@dataclass
class Kept:
    """The sweep's file.

    Attributes:
        file: where it lies.
        sweep: what it is of.
        experts: an entry per expert run.
        rows: an entry per row and seed.
    """

    file: Path
    sweep: Sweep
    experts: list[dict[str, Any]]
    rows: list[dict[str, Any]]

    @classmethod
    def read(cls, file: Path, sweep: Sweep) -> "Kept":
        """What an earlier call left, nothing if none did or if it was another version."""
        content = json.loads(file.read_text("utf8")) if file.is_file() else {}
        if content.get("schema_version") != SCHEMA_VERSION:
            return cls(file, sweep, [], [])
        return cls(file, sweep, content["experts"], content["rows"])

    def take(self, entries: list[dict[str, Any]], of: list[dict[str, Any]]) -> None:
        """Put ``entries`` in the place of those of the same label (or run) and seed."""
        new = {_identity(entry) for entry in entries}
        of[:] = [entry for entry in of if _identity(entry) not in new] + entries

    def write(self) -> None:
        """In the order of the plan, without what the sweep no longer has and scores of other frames."""
        order = {label: number for number, label in enumerate(self.sweep.labels())}
        seeds = list(self.sweep.seeds)
        rows = [row for row in self.rows if row["label"] in order and row["seed"] in seeds]
        rows = [row for row in rows if row["scores"]["protocol"]["frame_step"] == self.sweep.frame_step]
        rows.sort(key=lambda row: (order[row["label"]], seeds.index(row["seed"])))
        about = {name: value for name, value in asdict(self.sweep).items() if name != "choices"}
        measurement = describe_measurement()
        content = {
            "schema_version": SCHEMA_VERSION,
            "sweep": {**about, "labels": self.sweep.labels()},
            "measurement": {name: measurement[name] for name in ("command", "measured", "machine", "versions")},
            "experts": [entry for entry in self.experts if entry["seed"] in seeds],
            "rows": rows,
        }
        write_json(self.file, portable(content))


def _identity(entry: dict[str, Any]) -> tuple[str, int]:
    return entry.get("label", entry["run"]), entry["seed"]


# -- all of it -------------------------------------------------------------------------------------------------------


def run_sweep(sweep: Sweep, arguments: Arguments, processes: Processes, say: Callable[[str], None]) -> None:
    """Train and score everything that is not there yet."""
    planned = {seed: sweep.stages(seed, arguments.output_dir.absolute()) for seed in sweep.seeds}
    for experts, routers in planned.values():
        for stage in (*experts, *(stage for _, stage in routers)):
            stage.check_made_alike()  # before hours are spent
    kept = Kept.read(arguments.results / f"{sweep.name}.json", sweep)
    retrained: set[Path] = set()
    for seed, (experts, routers) in planned.items():
        for stage in experts:
            bring_to_end(stage, processes, arguments.device, retrained, say)
        kept.take([expert_entry(stage, seed) for stage in experts], kept.experts)
        for choice, stage in routers:
            bring_to_end(stage, processes, arguments.device, retrained, say)
            own = float(read_run_record(stage.run)["expert"]["config"]["eval_temperature"])
            asked = [own if one.eval_temperature is None else one.eval_temperature for one in choice.scorings]
            wanted = list(zip(choice.scorings, asked, strict=True))
            if all(any(is_of(row, stage, *one, sweep.frame_step) for row in kept.rows) for one in wanted):
                continue
            say(f"scoring on {', '.join(sweep.val_cams)}: {run_key(stage.run)}")
            run = load_run(stage.run, SPLIT, CPU if arguments.device == CPU else None)
            scores = score(run, asked, sweep.frame_step, SPLIT)
            rows = [kept_of(stage, one, seed, own, at) for (one, at), own in zip(wanted, scores, strict=True)]
            for row in rows:
                say(f"  {row['label']}: {row['scores']['psnr']:.2f} dB")
            kept.take(rows, kept.rows)
            kept.write()
    say(f"kept: {kept.file}")


def main(arguments: Arguments) -> None:
    console = Console()
    sweep = read_sweep(arguments.sweep)

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    if arguments.plan:
        for seed in sweep.seeds:
            experts, routers = sweep.stages(seed, arguments.output_dir.absolute())
            for stage in (*experts, *(stage for _, stage in routers)):
                say(shown_with_state(stage))
        return
    processes = Processes()
    try:
        run_sweep(sweep, arguments, processes, say)
    except BaseException:
        processes.stop()
        raise
    say("now: python benchmarks/write_results.py")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
