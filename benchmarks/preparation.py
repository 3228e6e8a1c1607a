"""How good are scenes that `moegs data prepare` makes, next to those given with their cameras and seeds?

    python benchmarks/preparation.py           # prepare and measure: a few minutes
    python benchmarks/preparation.py --train   # also train moegs-stg on them, one seed

Prepares basketball from its videos with its cameras given, and the sample scene from its videos alone. Writes
benchmarks/results/preparation.json, which benchmarks/write_results.py shows. Resumable: prepared scenes and finished
runs below --output-dir are kept.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from machine import describe_measurement
from rich.console import Console
from scipy.spatial import cKDTree
from suites import RESULTS, ROOT, portable, result_file, write_json

from moegs_ns.benching.find_data import find_data
from moegs_ns.preparation.options import CameraOptions, PrepareOptions
from moegs_ns.preparation.prepare import prepare
from moegs_ns.preparation.similarity import align_similarity
from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.scene.points import read_ply
from moegs_ns.scene.poses_bounds import read_poses_bounds
from moegs_ns.scene.seed_files import points3d_files
from moegs_ns.training.run_stages import run_stages
from moegs_ns.training.stages import Scene, expert_stage

OUTPUT = RESULTS / "preparation.json"
SEED = 42
EXPERT = "stg"


@dataclass(frozen=True)
class Case:
    """A scene whose cameras and seeds are known, to be prepared anew.

    Attributes:
        name: of the folder the prepared scene lies in.
        data: below the checkout or the folder of real scenes.
        given_poses: whether its cameras are given, or estimated too.
        preset: to train with.
        suite: which trained on the given scene with it.
    """

    name: str
    data: str
    given_poses: bool
    preset: str
    suite: str


CASES = (
    Case("basketball", "basketball", True, "quick", "basketball_quick"),
    Case("mixed", "examples/mixed", False, "demo", "mixed_demo"),
)


@dataclass
class Arguments:
    """Prepare the scenes, measure and maybe train."""

    train: bool = False
    """Also train moegs-stg on prepared scenes, and on given ones unless a suite has kept that run."""
    cases: tuple[str, ...] = tuple(case.name for case in CASES)
    """Which scenes; what was kept of the others stays."""
    again: bool = False
    """Prepare anew what is there."""
    output_dir: Path = ROOT / "outputs" / "preparation"
    """Where prepared scenes and runs lie."""
    results: Path = OUTPUT
    """JSON file to write."""


class Printing:
    """Tells the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)
        self._console.print(sentence, soft_wrap=True, highlight=False, markup=False)

    def task(self, what: str, total: int) -> Callable[[], None]:
        del what, total
        return lambda: None


def camera_errors(given: Path, prepared: Path) -> dict[str, float]:
    """How far prepared cameras are from given ones, after the similarity that aligns their centres best."""
    true, found = read_poses_bounds(given / "poses_bounds.npy"), read_poses_bounds(prepared / "poses_bounds.npy")
    to, centres = true.camera_to_worlds[:, :, 3], found.camera_to_worlds[:, :, 3]
    alignment = align_similarity(centres, to)
    size = float(np.linalg.norm(to - to.mean(axis=0), axis=1).max())
    shares = 100 * np.linalg.norm(alignment.apply(centres) - to, axis=1) / size
    turned = alignment.rotation @ found.camera_to_worlds[:, :, :3]
    cosines = (np.einsum("nij,nij->n", turned, true.camera_to_worlds[:, :, :3]) - 1) / 2
    angles = np.degrees(np.arccos(cosines.clip(-1, 1)))
    focals = 100 * np.abs(found.focals / true.focals - 1)
    return {
        "cameras": len(true),
        "mean_percent": float(shares.mean()),
        "worst_percent": float(shares.max()),
        "mean_degrees": float(angles.mean()),
        "worst_degrees": float(angles.max()),
        "worst_focal_percent": float(focals.max()),
    }


def seed_distances(given: Path, prepared: Path) -> dict[str, float]:
    """How many seeds, and their median distances to each other's nearest in shares of the given cloud's spread; both
    in the given world."""
    true, found = (read_ply(points3d_files(folder)[0]).xyz.astype(float) for folder in (given, prepared))
    centres = [read_poses_bounds(folder / "poses_bounds.npy").camera_to_worlds[:, :, 3] for folder in (prepared, given)]
    found = align_similarity(*centres).apply(found)
    spread = float(np.linalg.norm(np.percentile(true, 90, axis=0) - np.percentile(true, 10, axis=0)))
    return {
        "given": len(true),
        "prepared": len(found),
        "prepared_to_given_percent": 100 * float(np.median(cKDTree(true).query(found)[0])) / spread,
        "given_to_prepared_percent": 100 * float(np.median(cKDTree(found).query(true)[0])) / spread,
    }


def trained(data: Path, preset: str, output_dir: Path, console: Console) -> dict[str, Any]:
    """Scores of moegs-stg on a scene's test camera."""
    stage = expert_stage(Scene(data, output_dir=output_dir), EXPERT, preset, f"{preset}-seed{SEED}", SEED)
    run_stages([stage], (None,), notify=lambda _, event: console.print(f"{event}: {stage.run}", soft_wrap=True))
    result = read_result(stage.run)
    return {
        "command": stage.shown(),
        "psnr": result.scores["psnr"],
        "ssim": result.scores.get("ssim"),
        "gaussians": result.num_gaussians,
        "processor_seconds": result.processor_seconds,
    }


def kept_by_suite(case: Case) -> dict[str, Any] | None:
    """The same of the given scene, if benchmarks/run_suite.py kept that very run."""
    run = f"{case.name}/moegs-{EXPERT}/{case.preset}-seed{SEED}"
    file = result_file(RESULTS / case.suite, run)
    if not file.is_file():
        return None
    kept = json.loads(file.read_text("utf8"))
    record = kept["record"]
    return {
        "command": kept["command"],
        "suite": case.suite,
        "psnr": kept["scores"]["psnr"],
        "ssim": kept["scores"].get("ssim"),
        "gaussians": record["model"]["num_gaussians"],
        "processor_seconds": record["progress"].get("processor_seconds"),
    }


def measure(case: Case, arguments: Arguments, kept: dict[str, Any], console: Console) -> dict[str, Any]:
    """Prepare a case and compare it with what is given."""
    given = find_data(case.data)
    folder = arguments.output_dir / "scenes" / case.name
    if arguments.again:
        shutil.rmtree(folder, ignore_errors=True)
    poses = given / "poses_bounds.npy" if case.given_poses else None
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        prepare(PrepareOptions((given,), folder, cameras=CameraOptions(poses=poses)), Printing(console))
    record = json.loads((folder / "preparation.json").read_text("utf8"))
    found = {
        **{key: value for key, value in kept.items() if key == "training"},
        "preset": case.preset,
        "poses": "given" if case.given_poses else "estimated",
        "cameras": {**record["cameras"], **camera_errors(given, folder)},
        "seeds": {**record["seeds"], **seed_distances(given, folder)},
        "videos_written": sum(one["file"] == "written" for one in record["videos"].values()),
    }
    if arguments.train:
        found["training"] = {
            "prepared": trained(folder, case.preset, arguments.output_dir / "prepared", console),
            "given": kept_by_suite(case) or trained(given, case.preset, arguments.output_dir / "given", console),
        }
    return found


def main(arguments: Arguments) -> None:
    console = Console()
    before = json.loads(arguments.results.read_text("utf8"))["scenes"] if arguments.results.is_file() else {}
    scenes = dict(before)
    for case in select(arguments.cases):
        scenes[case.name] = measure(case, arguments, before.get(case.name, {}), console)
        write_json(
            arguments.results,
            portable({"schema_version": 1, "measurement": describe_measurement(SEED), "scenes": scenes}),
        )
        console.print_json(json.dumps(portable(scenes[case.name])))


def select(names: Sequence[str]) -> list[Case]:
    """Cases by name.

    Raises:
        ValueError: unknown names.
    """
    known = {case.name: case for case in CASES}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"expected scenes among {', '.join(known)}, found {', '.join(unknown)}")
    return [known[name] for name in names]


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
