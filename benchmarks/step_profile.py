"""Where the time of a training step goes, expert by expert, against rasterization and against bare matrix products.

    python benchmarks/step_profile.py

Every expert trains on the sample scene through the very trainer of ns-train, see `ProfiledTraining`. A round is as many
steps as lie between two of density control, the latter included; every round, with any number of threads, begins with
the same state and shows the same images. Of each step of a round the median over the rounds counts, so that what
happens in few steps counts in full and what disturbs a single one does not; the mean over a round makes the figure. The
bare work of the networks and grids is timed in between. Writes benchmarks/results/step_profile.json and
docs/performance.md.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from bare_work import Work, bare_work, stage_of
from machine import describe_measurement, yardstick
from profiled_training import STAGES, SUBJECTS, ProfiledTraining, Watched
from rich.console import Console
from stage_clock import BACKWARD, FORWARD, StageClock
from write_performance import PAGE, ROOT, KeptFiles, write_page

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
_STEPS_BETWEEN_BARE_WORK = 5
_LARGEST_CHANGE = 0.03  # of the Gaussians' number, and of the share seen, within a measurement


@dataclass
class Arguments:
    """Profile a training step of every expert."""

    experts: tuple[str, ...] = tuple(SUBJECTS)
    """What to profile: families, and STG with other heads."""
    preset: str = "demo"
    """Preset whose numbers are used: a shipped one, or a TOML file."""
    gaussians: int = 20_000
    """Gaussians of each expert."""
    rounds: int = 5
    """Repetitions of a round of density control; the median over them counts."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads."""
    downscale: int = 1
    """Factor by which images are made smaller than the scene's."""
    clock: Literal["wall", "cpu"] = "wall"
    """Time on the wall, or the processor's time for this process: the latter suffers less from other work on a busy
    machine, but adds the threads up."""
    seed: int = 0
    """Seed of training and of the Gaussians' values."""
    data: Path = ROOT / "examples" / "mixed"
    """Scene."""
    output: Path = KeptFiles().profile
    """JSON file to write."""
    page: Path = PAGE
    """Markdown page to write, with the other measurements that are kept."""


def profile(training: ProfiledTraining, rounds: int, now: Callable[[], float]) -> dict[str, Any]:
    """Milliseconds per stage and direction of a mean step, and of the bare work in it.

    One more round comes first, to warm up and to see what the networks are given, and another few steps last, to see
    that the work is still the same.

    Raises:
        ValueError: it is not.
    """
    plain, counts = [], []
    training.rewind()
    start = training.next_step
    with training.watched() as watched:
        for _ in range(training.interval):
            counts.append(len(training.model.gaussians))
            begin = now()
            training.step()
            plain.append(now() - begin)
    works = {name: _works(watched, module, training.interval) for name, module in training.networks.items()}
    bare: dict[str, dict[str, list[float]]] = {name: {way: [] for way in ways} for name, (ways, _) in works.items()}
    clock = StageClock(now)
    spent: list[list[dict[tuple[str, str], float]]] = []
    with training.clocked(clock):
        for _ in range(rounds):
            spent.append([])
            training.rewind()
            for number in range(training.interval):
                counts.append(len(training.model.gaussians))
                clock.start()
                training.step()
                spent[-1].append(clock.stop())
                if number % _STEPS_BETWEEN_BARE_WORK == 0:
                    _time(works, bare, now)
    training.rewind()
    with training.watched() as watched_last:
        for _ in range(min(_STEPS_BETWEEN_BARE_WORK, training.interval)):
            training.step()
    check_steady("Gaussians", counts)
    last = watched_last.visible
    check_steady("share of them seen", [statistics.mean(watched.visible[: len(last)]), statistics.mean(last)])
    return {
        "gaussians": counts[0],
        "steps": [start, start + training.interval],
        "rasterizations_per_step": len(watched.visible) / training.interval,
        "visible_share": round(statistics.mean(watched.visible), 3),
        "stages": _figures(spent),
        "step_without_clock_ms": _ms(statistics.median(plain)),
        "networks": {
            name: {
                "class": type(training.networks[name]).__name__,
                "stage": stage_of(training.networks[name]),
                "rows": rows,
                "bare_ms": {way: _ms(statistics.median(seconds)) for way, seconds in bare[name].items()},
            }
            for name, (_, rows) in works.items()
            if rows
        },
    }


def check_steady(what: str, values: Sequence[float]) -> None:
    """Raises ValueError where numbers that make the work differ by more than a few per cent."""
    if max(values) - min(values) > _LARGEST_CHANGE * max(values):
        raise ValueError(
            f"expected the same work in every step that is compared, found from {min(values):g} to {max(values):g} "
            f"{what}; see what density control does in these steps of the preset"
        )


def _works(watched: Watched, module: torch.nn.Module, steps: int) -> tuple[dict[str, Work], float]:
    """The bare work of a network in a step, and its rows."""
    rows = round(sum(watched.rows.get(module, [])) / steps)
    return (bare_work(module, rows) if rows else {}), rows


def _time(works: dict[str, tuple[dict[str, Work], float]], into: dict, now: Callable[[], float]) -> None:
    for name, (ways, _) in works.items():
        for way, work in ways.items():
            begin = now()
            work()
            into[name][way].append(now() - begin)


def _figures(spent: list[list[dict[tuple[str, str], float]]]) -> dict[str, dict[str, float]]:
    """Milliseconds per stage and direction: the median over the rounds, step by step, then the mean over a round."""
    figures: dict[str, dict[str, float]] = {}
    for stage in STAGES:
        for direction in (FORWARD, BACKWARD):
            typical = [
                statistics.median(one.get((stage, direction), 0.0) for one in same) for same in zip(*spent, strict=True)
            ]
            if any(typical):
                figures.setdefault(stage, {})[direction] = _ms(statistics.mean(typical))
    return figures


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 4)


def run(arguments: Arguments) -> dict[str, Any]:
    """All measurements, as plain data.

    Raises:
        ValueError: a name that is not profiled.
    """
    unknown = sorted(set(arguments.experts) - set(SUBJECTS))
    if unknown:
        raise ValueError(f"expected experts out of {', '.join(SUBJECTS)}, found {', '.join(unknown)}")
    result: dict[str, Any] = {
        "measurement": describe_measurement(arguments.seed),
        "clock": arguments.clock,
        "workload": {
            "preset": Path(arguments.preset).stem,
            "gaussians": arguments.gaussians,
            "rounds": arguments.rounds,
            "scene": arguments.data.name,
        },
        "stage_names": list(STAGES),
        "threads": {str(threads): {"yardstick": {}, "experts": {}} for threads in arguments.threads},
    }
    for threads, row in result["threads"].items():
        torch.set_num_threads(int(threads))
        row["yardstick"] = yardstick()
    for name in arguments.experts:
        with tempfile.TemporaryDirectory() as folder:
            training = ProfiledTraining(
                name,
                arguments.preset,
                arguments.gaussians,
                arguments.data,
                arguments.downscale,
                Path(folder),
                arguments.seed,
            )
            result["workload"].setdefault("image_size", _image_size(training))
            result["workload"].setdefault("numbers", {})[name] = _numbers(training)
            for threads, row in result["threads"].items():
                torch.set_num_threads(int(threads))
                row["experts"][name] = profile(training, arguments.rounds, CLOCKS[arguments.clock])
            rows = [row["experts"][name] for row in result["threads"].values()]
            check_steady("Gaussians", [row["gaussians"] for row in rows])
            check_steady("share of them seen", [row["visible_share"] for row in rows])
    return result


def _image_size(training: ProfiledTraining) -> list[int]:
    cameras = training.trainer.pipeline.datamanager.train_dataset.cameras
    return [int(cameras.width[0, 0]), int(cameras.height[0, 0])]


def _numbers(training: ProfiledTraining) -> dict[str, Any]:
    """The preset's numbers that a step's cost depends on, as far as the family has them."""
    config = training.model.config
    names = ("sh_degree", "width", "grid_channels", "grid_resolution", "grid_multipliers", "time_resolution")
    names += ("embedding_size", "time_embedding_size", "deform_color", "ssim_weight", "smoothness_interval")
    numbers = {name: getattr(config, name) for name in names if hasattr(config, name)}
    return {"cameras_per_step": training.recipe.cameras_per_step, **numbers}


def main(arguments: Arguments) -> None:
    result = run(arguments)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", "utf8")
    write_page(arguments.page, KeptFiles(profile=arguments.output))
    Console().print(f"wrote {arguments.output} and {arguments.page}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
