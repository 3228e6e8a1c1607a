"""Does memory stay flat under load? The tests of tests/load at full length: 20,000 steps of tiny trainings, 1,000
pictures for four windows at once, 50 frame stores opened and closed, and what of the frame cache a run really holds.

    make load
    python benchmarks/load.py --only stg router --steps 5000

Every measurement is a process of its own. Fails if anything grows faster than tests/load/limits.py allows; what was
measured is kept in benchmarks/results/load.json, of which python benchmarks/write_performance.py makes a section of
docs/performance.md.
"""

import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import tyro  # noqa: E402  (the line above)
from machine import describe_measurement  # noqa: E402
from rich.console import Console  # noqa: E402

from moegs_ns.files import write_json  # noqa: E402
from tests.load.growth import Sample, share_one_heap, slopes, too_steep  # noqa: E402
from tests.load.limits import CYCLES, PICTURES, POOL_THREADS, STEPS  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "load.json"
SCENE = ROOT / "examples" / "mixed"
TRAININGS = ("stg", "4dgaussians", "ed3dgs", "ex4dgs", "router")
VIEWER, STORES, BUDGET = "viewer", "frame stores", "ram budget"


@dataclass
class Arguments:
    """Measure what grows under load."""

    only: tuple[str, ...] = ("stg", "router", VIEWER, STORES, BUDGET)
    """What to measure: any of the trainings stg, 4dgaussians, ed3dgs, ex4dgs, router; viewer; "frame stores"; "ram
    budget"."""
    steps: int = 20_000
    """Of each training."""
    visitors: int = 4
    """Windows of the viewer that are open at once."""
    pictures: int = 1_000
    """How many the viewer renders, at least."""
    cycles: int = 50
    """How often a frame store is opened and closed."""
    seed: int = 0
    """Of the order of frames."""
    threads: int = 1
    """Of torch, in each measurement."""
    output: Path = RESULTS
    """JSON file to write; measurements in it that are not made now stay."""


@dataclass
class Measured:
    """What came of one.

    Attributes:
        numbers: to keep, plain data.
        faults: what was not as it should be, a sentence each.
    """

    numbers: dict[str, Any]
    faults: list[str] = field(default_factory=list)


def of_samples(samples: Sequence[Sample], limits: dict[str, float], unit: str) -> Measured:
    """First, last and slope of everything that was watched."""
    numbers = {
        "unit": unit,
        "from": samples[0].at,
        "to": samples[-1].at,
        "samples": len(samples),
        "first": dict(samples[0].held),
        "last": dict(samples[-1].held),
        "slopes": {name: round(slope, 4) for name, slope in slopes(samples).items()},
        "limits": limits,
    }
    return Measured(numbers, too_steep(samples, limits))


def training(what: str, arguments: Arguments, folder: Path) -> Measured:
    """The second half counts: in the first Gaussians may grow in number."""
    from tests.load.trainings import watch_training

    return of_samples(watch_training(what, SCENE, folder, arguments.steps, arguments.steps // 2), STEPS, "step")


def viewer(arguments: Arguments, folder: Path) -> Measured:
    """In 25 visits of all visitors, the first five of which do not count."""
    from tests.load.viewers import visit_viewer

    visits, warm_up = 25, 5
    moves = -(-arguments.pictures // (arguments.visitors * visits))
    visited = visit_viewer(folder, arguments.visitors, visits, moves, warm_up)
    found = of_samples(visited.samples, PICTURES, "picture")
    found.numbers |= {"visitors": arguments.visitors, "visits": visits + warm_up, "received": visited.received}
    begun = visited.samples[-1].held["threads"] - visited.samples[0].held["threads"]
    if begun > POOL_THREADS:
        found.faults.append(f"{begun:.0f} more threads than at the start, at most {POOL_THREADS} were expected")
    if visited.left_behind:
        found.faults.append(f"threads left behind: {visited.left_behind}")
    if min(visited.received) < visits * moves:
        found.faults.append(f"expected {visits * moves} pictures for each visitor, found {visited.received}")
    return found


def frame_stores(arguments: Arguments, folder: Path) -> Measured:
    """Of the sample scene's training cameras at full size."""
    from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
    from tests.load.frame_stores import mapped_bytes, reopen

    cameras = N3VDataParserConfig(data=SCENE).setup().get_dataparser_outputs("train").metadata["frame_sources"]
    found = of_samples(reopen(cameras, folder, arguments.cycles, frames=4), CYCLES, "cycle")
    found.numbers["mapped"] = mapped_bytes(folder)
    if found.numbers["mapped"]:
        found.faults.append(f"{found.numbers['mapped']} bytes of closed stores are still in memory")
    return found


def ram_budget(arguments: Arguments, folder: Path) -> Measured:
    """Training and evaluation images of the sample scene, drawn at random, under budgets that hold a share of them."""
    from moegs_ns.scene.datamanager import DynamicDataManager, DynamicDataManagerConfig
    from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
    from moegs_ns.scene.frame_cache import frame_cache_dir
    from tests.load.frame_stores import draw_frames

    found = Measured({"rows": []})
    for downscale, budget in ((1, 0.004), (1, 0.016), (4, 0.001), (8, 0.0005)):
        parser = N3VDataParserConfig(downscale=downscale)
        config = DynamicDataManagerConfig(data=SCENE, dataparser=parser, ram_budget=budget)
        manager = DynamicDataManager(config, device="cpu", test_mode="test")
        training, evaluating = len(manager.train_dataset), len(manager.eval_dataset)

        def read(number: int, manager: Any = manager, training: int = training) -> Any:
            item = manager.train_item(number) if number < training else manager.eval_item(number - training)
            return item[1]["image"].numpy()

        drawn = draw_frames(read, training + evaluating, frame_cache_dir(), 1_000, arguments.seed)
        found.numbers["rows"].append(
            {
                "downscale": downscale,
                "budget": round(budget * 1e9),
                "frames": drawn.whole_bytes,
                "most": drawn.most_bytes,
                "draws": 1_000 + training + evaluating,
                "wrong": drawn.wrong,
            }
        )
        if drawn.most_bytes > budget * 1e9:
            found.faults.append(f"{drawn.most_bytes} bytes of frames in memory, expected at most {budget * 1e9:.0f}")
        if drawn.wrong:
            found.faults.append(f"{drawn.wrong} frames were not what they had been before")
    return found


MEASUREMENTS: dict[str, Callable[[Arguments, Path], Measured]] = {
    VIEWER: viewer,
    STORES: frame_stores,
    BUDGET: ram_budget,
}


def measure(what: str, arguments: Arguments) -> Measured:
    """One of them, in the process that calls; what it prints is not shown."""
    import torch

    share_one_heap()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as made, Path(os.devnull).open("w") as nowhere:
        folder = Path(made).resolve()
        os.environ["MOEGS_CACHE_DIR"] = str(folder / "cache")
        with contextlib.redirect_stdout(nowhere):
            begin = time.perf_counter()
            found = training(what, arguments, folder) if what in TRAININGS else MEASUREMENTS[what](arguments, folder)
            found.numbers["seconds"] = round(time.perf_counter() - begin, 1)
    return found


def main(arguments: Arguments) -> int:
    unknown = set(arguments.only) - {*TRAININGS, *MEASUREMENTS}
    if unknown:
        raise ValueError(f"expected some of {[*TRAININGS, *MEASUREMENTS]}, found {sorted(unknown)}")
    console = Console()
    kept = json.loads(arguments.output.read_text("utf8")) if arguments.output.is_file() else {}
    failed = False
    for what in arguments.only:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as alone:
            found = alone.submit(measure, what, arguments).result()
        kept[what] = {**found.numbers, "measurement": describe_measurement(arguments.seed)}
        facts = found.numbers.get("slopes") or found.numbers.get("rows")
        console.print(f"{what}: {found.numbers['seconds']} s, {facts}", soft_wrap=True, highlight=False)
        for fault in found.faults:
            console.print(f"[bold red]{what}: {fault}", soft_wrap=True)
        failed |= bool(found.faults)
        if not found.faults:  # what is kept is what holds
            write_json(arguments.output, kept)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments, description=__doc__)))
