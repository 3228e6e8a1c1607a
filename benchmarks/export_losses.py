"""What is lost when a model leaves as a file: every format of `moegs export`, on runs of several kinds.

    python benchmarks/export_losses.py RUN RUN ...

Exports every run's whole clip into a scratch folder, as the command does, and keeps what its ``export.json`` says, in
benchmarks/results/export_losses.json, which benchmarks/write_results.py shows. Runs whose Gaussians viewers draw
otherwise are also exported without the fit to viewers. A run of the same label replaces the one kept before.
"""

import json
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from machine import describe_measurement
from rich.console import Console
from suites import RESULTS, SCHEMA_VERSION, portable, run_key, write_json

from moegs_ns.cli.export import Export, ExportFormat
from moegs_ns.cli.export_run import export_run
from moegs_ns.runs.record import read_run_record

OUTPUT = RESULTS / "export_losses.json"
FORMATS: tuple[ExportFormat, ...] = ("ply", "splat", "4dgs")
#: Families whose Gaussians viewers draw otherwise than their own model.
_FITTED = ("ex4dgs", "fused")


@dataclass
class Arguments:
    """Export runs in every format and keep what that loses."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders of experts, students and fused models."""
    check_images: int = 6
    """Images of the test cameras to compare, evenly over the clip."""
    output: Path = OUTPUT
    """Where the results are kept."""


def label_of(record: dict[str, Any]) -> str:
    """Such as ``stg``, ``stg (full head, baked)``, ``stg, student``, ``fused``."""
    head = record["expert"]["config"].get("head", "sh")
    label = record["expert"]["name"] + (f" ({head} head, baked)" if head != "sh" else "")
    return f"{label}, student" if "distilled" in record else label


def losses_of(run: Path, check_images: int, console: Console) -> dict[str, dict[str, Any]]:
    """By what was exported, such as ``ply`` or ``ply, not fitted``."""
    record = read_run_record(run)
    asked = {name: Export(run, format=name, check_images=check_images) for name in FORMATS}
    if record["expert"]["name"] in _FITTED:
        asked["ply, not fitted"] = Export(run, format="ply", check_images=check_images, fit_viewers=False)
    found = {}
    for name, options in asked.items():
        options.bake_sh = record["expert"]["config"].get("head", "sh") != "sh"
        with tempfile.TemporaryDirectory() as scratch:
            options.output = Path(scratch) / "export"
            folder = export_run(options, console)
            written = json.loads((folder / "export.json").read_text("utf8"))
        images = [f"{one['camera']}, frame {one['frame']}" for one in written["losses"]["images"]]
        kept = {key: written[key] for key in ("bytes", "baked", "background")}
        found[name] = {**kept, "files": len(written["files"]), "images": images, "mean": written["losses"]["mean"]}
    return found


def training_command(record: dict[str, Any]) -> str:
    """How the run was trained, filed below ``outputs`` as by default."""
    words = shlex.split(record.get("command", ""))
    folder = words[words.index("--output-dir") + 1] if "--output-dir" in words else "outputs"
    return shlex.join(word.replace(folder, "outputs") for word in words)


def main(arguments: Arguments) -> None:
    console = Console()
    kept = json.loads(arguments.output.read_text("utf8")) if arguments.output.is_file() else {"runs": {}}
    for run in arguments.runs:
        record = read_run_record(run)
        console.print(f"[bold]{label_of(record)}[/bold]: {run}", soft_wrap=True, highlight=False)
        kept["runs"][label_of(record)] = {
            "method": record["method"],
            "scene": record["scene"]["scene"],
            "frames": record["scene"]["num_frames"],
            "resolution": record["scene"]["resolution"],
            "gaussians": record["model"]["num_gaussians"],
            "seed": record.get("seed"),
            "command": training_command(record),
            "exports": losses_of(run, arguments.check_images, console),
        }
    command = shlex.join(
        ["python", "benchmarks/export_losses.py", *(f"outputs/{run_key(run)}" for run in arguments.runs)]
    )
    measurement = {**describe_measurement(), "command": command}
    content = {"schema_version": SCHEMA_VERSION, "runs": kept["runs"], "measurement": measurement}
    write_json(arguments.output, portable(content))
    console.print("now: python benchmarks/write_results.py")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
