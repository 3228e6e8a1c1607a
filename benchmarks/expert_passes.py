"""What rendering several experts for a mixture costs, by the number of passes it is done in.

    python benchmarks/expert_passes.py

Four ways to the same pictures, per expert its colours (3 channels) and the router's weights (3 channels):

- ``2K passes``: colours and weights apart, expert by expert, as public code does it;
- ``K passes``: six channels at once, expert by expert;
- ``single pass``: all experts at once, each with its own transmittance;
- ``torch twin``: the single pass by the slow reference, for scale, once, on the smallest scene only.

Forward, and forward with the gradients of everything. Scenes grow along one axis at a time: Gaussians, image, experts.
One run measures all ways in interleaved rounds, so that a busy moment spreads over all of them; medians, and their
ratios within the run, are what counts. Peak memory is that of one call: on a GPU as torch counts it, on a CPU the
growth of a fresh process beyond the scene (Linux). Writes a JSON file and charts (PNG) to benchmarks/results; python
benchmarks/write_performance.py makes a section of docs/performance.md of it.
"""

import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from machine import describe_measurement, yardstick
from pass_charts import write_charts
from raster_scene import SurfaceScene, surface_scene
from rich.console import Console
from torch import Tensor

from moegs_ns.splats.rasterize import rasterize, resolve_backend
from moegs_ns.splats.splats import Splats

RESULTS = Path(__file__).resolve().parent / "results" / "expert_passes.json"
COLOURS, WEIGHTS = 3, 3
GEOMETRY = ("means", "quats", "scales", "opacities")
WAYS = ("2K passes", "K passes", "single pass")
TWIN = "torch twin"
DIRECTIONS = ("forward", "forward + backward")


@dataclass(frozen=True)
class Case:
    """A scene.

    Attributes:
        axis: along which scenes grow here: ``gaussians``, ``image`` or ``experts``.
        gaussians: of all experts together.
        width, height: pixels.
        experts: K.
    """

    axis: str
    gaussians: int
    width: int
    height: int
    experts: int


@dataclass
class Arguments:
    """Measure rendering several experts."""

    rounds: int = 9
    """Interleaved repeats of every row."""
    device: str = ""
    """Where to measure; by default the CUDA device, if there is one."""
    threads: int = 2
    """Torch's threads on a CPU."""
    seed: int = 0
    """Of the scenes."""
    gaussians: tuple[int, ...] = (10_000, 50_000, 150_000, 500_000)
    """Of all experts together, three experts at 640x480."""
    images: tuple[tuple[int, int], ...] = ((320, 240), (640, 480), (1352, 1014))
    """Sizes in pixels, 150 000 Gaussians of three experts."""
    experts: tuple[int, ...] = (1, 2, 3, 4)
    """Numbers of experts of 50 000 Gaussians each, at 640x480."""
    twin: bool = True
    """Also time the torch twin."""
    output: Path = RESULTS
    """JSON file to write; charts go beside it."""


@dataclass(frozen=True, eq=False)
class ExpertScene:
    """Gaussians of K experts of one scene, row by row another's."""

    scene: SurfaceScene
    """Its channels are colours, then weights."""
    expert_ids: Tensor
    """``[N]`` int32, ascending."""
    case: Case

    def to(self, device: torch.device) -> "ExpertScene":
        """A copy there."""
        splats = Splats(*(getattr(self.scene.splats, name).to(device) for name in GEOMETRY))
        moved = {name: getattr(self.scene, name).to(device) for name in ("channels", "viewmat", "K")}
        return replace(self, scene=replace(self.scene, splats=splats, **moved), expert_ids=self.expert_ids.to(device))

    def rows_of(self, expert: int) -> slice:
        """Where the Gaussians of an expert stand."""
        first, last = (self.case.gaussians * (expert + more) // self.case.experts for more in (0, 1))
        return slice(first, last)


def expert_scene(case: Case, seed: int) -> ExpertScene:
    """The Gaussians of a scene dealt out to the experts: each sees all of it, thinner."""
    scene = surface_scene(case.gaussians, COLOURS + WEIGHTS, case.width, case.height, seed)
    counts = [
        case.gaussians * (k + 1) // case.experts - case.gaussians * k // case.experts for k in range(case.experts)
    ]
    ids = torch.repeat_interleave(torch.arange(case.experts, dtype=torch.int32), torch.tensor(counts))
    return ExpertScene(scene, ids, case)


def pictures(way: str, at: ExpertScene, splats: Splats, channels: Tensor) -> tuple[Tensor, Tensor]:
    """Colours and weights ``[K,H,W,6]`` and accumulated opacity ``[K,H,W]``, made in that many passes."""
    scene, experts = at.scene, at.case.experts
    view = (scene.viewmat, scene.K, scene.width, scene.height)
    if way in ("single pass", TWIN):
        backend = "torch" if way == TWIN else "auto"
        result = rasterize(splats, channels, *view, expert_ids=at.expert_ids, num_experts=experts, backend=backend)
        return result.images, result.alphas
    images, alphas = [], []
    for expert in range(experts):
        rows = at.rows_of(expert)
        own = Splats(*(getattr(splats, name)[rows] for name in GEOMETRY))
        parts = [channels[rows]] if way == "K passes" else list(channels[rows].split((COLOURS, WEIGHTS), dim=1))
        results = [rasterize(own, part, *view) for part in parts]
        images.append(torch.cat([result.images[0] for result in results], dim=-1))
        alphas.append(results[0].alphas[0])
    return torch.stack(images), torch.stack(alphas)


def job(way: str, direction: str, at: ExpertScene) -> Callable[[], object]:
    """A call that renders ``at`` once, in training with all gradients."""
    scene = at.scene
    if direction == "forward":

        def render() -> None:
            with torch.no_grad():
                pictures(way, at, scene.splats, scene.channels)

        return render
    leaves = [getattr(scene.splats, name).clone().requires_grad_() for name in GEOMETRY]
    channels = scene.channels.clone().requires_grad_()
    device = channels.device
    shape = (at.case.experts, scene.height, scene.width)
    upstream = [torch.randn(*shape, COLOURS + WEIGHTS, device=device), torch.randn(*shape, device=device)]

    def train() -> None:
        outputs = pictures(way, at, Splats(*leaves), channels)
        torch.autograd.grad(outputs, [*leaves, channels], upstream)

    return train


def cases(arguments: Arguments) -> Iterator[Case]:
    """Every scene; axes share what they have in common by name only, each is measured on its own."""
    for count in arguments.gaussians:
        yield Case("gaussians", count, 640, 480, 3)
    for width, height in arguments.images:
        yield Case("image", 150_000, width, height, 3)
    for experts in arguments.experts:
        yield Case("experts", 50_000 * experts, 640, 480, experts)


def finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(jobs: dict[tuple[str, str], Callable[[], object]], rounds: int, device: torch.device) -> dict[Any, Any]:
    """Median and minimum in milliseconds of each job, all run once a round, after a round that does not count."""
    times: dict[tuple[str, str], list[float]] = {key: [] for key in jobs}
    for repeat in range(-1, rounds):
        for key, run in jobs.items():
            finish(device)
            start = time.perf_counter()
            run()
            finish(device)
            if repeat >= 0:
                times[key].append(1e3 * (time.perf_counter() - start))
    return {
        key: {"median_ms": round(statistics.median(own), 3), "min_ms": round(min(own), 3)} for key, own in times.items()
    }


def peak_megabytes(case: Case, way: str, direction: str, seed: int, device: str) -> float:
    """Memory one call needs beyond the scene, in MB."""
    if torch.device(device).type == "cuda":
        return _peak_on_gpu(case, way, direction, seed, device)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as fresh:  # a process that was never larger
        return fresh.submit(_peak_of_process, case, way, direction, seed).result()


def _peak_on_gpu(case: Case, way: str, direction: str, seed: int, device: str) -> float:
    run = job(way, direction, expert_scene(case, seed).to(torch.device(device)))
    run()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6


def _peak_of_process(case: Case, way: str, direction: str, seed: int) -> float:
    small = replace(case, gaussians=64 * case.experts, width=32, height=32)
    job(way, direction, expert_scene(small, seed))()  # what libraries need once
    run = job(way, direction, expert_scene(case, seed))
    # The peak that getrusage knows begins with that of the process this one was started from.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_kilobytes("VmRSS")
    run()
    return (_status_kilobytes("VmHWM") - before) * 1024 / 1e6


def _status_kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text("utf8").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def main(arguments: Arguments) -> None:
    console = Console()
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.manual_seed(arguments.seed)
    if device.type == "cpu":
        torch.set_num_threads(arguments.threads)
    rows = []
    for case in cases(arguments):
        at = expert_scene(case, arguments.seed).to(device)
        found = measure({(way, to): job(way, to, at) for way in WAYS for to in DIRECTIONS}, arguments.rounds, device)
        smallest = case.axis == "gaussians" and case.gaussians == min(arguments.gaussians)
        if arguments.twin and smallest:
            found |= measure({(TWIN, to): job(TWIN, to, at) for to in DIRECTIONS}, 1, device)
        for (way, direction), times in found.items():
            rows.append({**vars(case), "way": way, "direction": direction, **times})
        console.print(f"{case}: " + ", ".join(f"{way} {found[way, DIRECTIONS[1]]['median_ms']:.0f} ms" for way in WAYS))
    largest = max((case for case in cases(arguments) if case.axis == "image"), key=lambda case: case.width)
    memory = [
        {"way": way, "direction": to, "mb": round(peak_megabytes(largest, way, to, arguments.seed, str(device)), 1)}
        for way in WAYS
        for to in DIRECTIONS
    ]
    report = {
        "measurement": describe_measurement(arguments.seed),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "backend": resolve_backend(device),
        "threads": torch.get_num_threads(),
        "rounds": arguments.rounds,
        "yardstick": yardstick() if device.type == "cpu" else None,
        "rows": rows,
        "memory": {**vars(largest), "peaks": memory},
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf8")
    for chart in write_charts(report, arguments.output.with_suffix("")):
        console.print(f"wrote {chart}", soft_wrap=True, highlight=False)
    console.print(f"wrote {arguments.output}; now: python benchmarks/write_performance.py", soft_wrap=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
