"""What rendering several experts for a mixture costs, by the number of passes it is done in.

    python benchmarks/expert_passes.py

Four ways to the same images, per expert its colours (3 channels) and the router's weights (3 channels):

- ``2K passes``: colours and weights apart, expert by expert, as public code does it;
- ``K passes``: six channels at once, expert by expert;
- ``single pass``: all experts at once, each with its own transmittance;
- ``torch twin``: the single pass by the slow reference, for scale, once, on the smallest scene only.

All begin with tensors of each expert and end with one of all, as the router's softmax over experts takes it: the single
pass reads the experts' Gaussians where they lie (through gsplat it lays them end to end within the time that counts),
the others lay their images one upon the other. Gradients are those of the experts' own tensors. Forward, and forward
with the gradients of everything.

Two ways to the picture that is shown, forward only:

- ``single pass to picture``: after the single pass, with depth, the router's network, softmax and blend in torch;
- ``fused inference to picture``: the same by the project's own kernels; on a CUDA device only.

Scenes grow along one axis at a time: Gaussians, image, experts. One run measures all ways in interleaved rounds, so
that a busy moment spreads over all of them; medians, and their ratios within the run, are what counts. On a CPU the
process keeps the memory it frees, as training does. Peak memory is that of one call: on a GPU as torch counts it, on a
CPU the growth of a fresh process beyond the scene (Linux). Writes a JSON file and charts (PNG) to benchmarks/results;
python benchmarks/write_performance.py makes a section of docs/performance.md of it.
"""

import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from expert_ways import (
    COLOURS,
    WEIGHTS,
    Case,
    ExpertScene,
    draw_fused,
    draw_ordinarily,
    expert_scene,
    make_router,
    one_pass_each,
    single_pass,
    two_passes_each,
)
from machine import describe_measurement, yardstick
from pass_charts import FUSED, ORDINARY, write_charts
from rich.console import Console
from torch import Tensor

from moegs_ns.splats.kernel_cache import NativeBuildError
from moegs_ns.splats.mixture_library import MixtureLibrary, mixture_library
from moegs_ns.splats.rasterize import resolve_backend
from moegs_ns.training.allocator import keep_freed_memory

RESULTS = Path(__file__).resolve().parent / "results" / "expert_passes.json"
TWIN = "torch twin"
WAYS = {"2K passes": two_passes_each, "K passes": one_pass_each, "single pass": single_pass}
DIRECTIONS = ("forward", "forward + backward")
ENVIRONMENT = ("OMP_WAIT_POLICY", "THP_MEM_ALLOC_ENABLE")

Key = tuple[str, str]
"""A way and a direction."""


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


def fused_library(device: torch.device) -> MixtureLibrary | str:
    """The kernels of fused inference for a CUDA device, or why there are none."""
    if device.type != "cuda":
        return f"it runs on CUDA, and this is on '{device}'"  # the host's library is for tests
    try:
        return mixture_library(device)
    except NativeBuildError as error:
        return str(error)


def job(way: str, direction: str, at: ExpertScene) -> Callable[[], object]:
    """A call that renders ``at`` once, in training with all gradients.

    Raises:
        ValueError: fused inference where its kernels are not to be had.
    """
    if way == ORDINARY:
        router = make_router(at)
        return lambda: draw_ordinarily(at, router)
    if way == FUSED:
        router, library = make_router(at), fused_library(at.viewmat.device)
        if isinstance(library, str):
            raise ValueError(f"expected the kernels of fused inference, found none: {library}")
        return lambda: draw_fused(at, router, library)
    draw = WAYS[way] if way != TWIN else lambda scene: single_pass(scene, backend="torch")
    if direction == "forward":

        def render() -> None:
            with torch.no_grad():
                draw(at)

        return render
    learning, upstream = at.learning(), upstream_of(way, at)
    leaves = learning.leaves()

    def train() -> None:
        drawn = draw(learning)
        torch.autograd.grad([*drawn.images, drawn.alphas], leaves, upstream)

    return train


def upstream_of(way: str, at: ExpertScene) -> list[Tensor]:
    """Random gradients of the images and then of the opacities that a way gives."""
    size, device = (len(at.experts), at.height, at.width), at.viewmat.device
    channels = [COLOURS, WEIGHTS] if way == "2K passes" else [COLOURS + WEIGHTS]
    images = [torch.randn(*size, count, device=device) for count in channels]
    return [*images, torch.randn(size, device=device)]


def measured_ways(device: torch.device) -> list[Key]:
    """What is measured on every scene."""
    fused = [] if isinstance(fused_library(device), str) else [(FUSED, "forward")]
    return [*((way, to) for way in WAYS for to in DIRECTIONS), (ORDINARY, "forward"), *fused]


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


def measure(jobs: dict[Key, Callable[[], object]], rounds: int, device: torch.device) -> dict[Key, Any]:
    """Median and minimum in milliseconds of each job, all run once a round, after a round that does not count."""
    times: dict[Key, list[float]] = {key: [] for key in jobs}
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
    load_average = round(os.getloadavg()[0], 2)  # before this run raises it
    if device.type == "cpu":
        torch.set_num_threads(arguments.threads)
        keep_freed_memory(device)
    fused, keys, rows = fused_library(device), measured_ways(device), []
    if isinstance(fused, str):
        console.print(f"fused inference is left out: {fused}", soft_wrap=True, highlight=False)
    for case in cases(arguments):
        at = expert_scene(case, arguments.seed).to(device)
        found = measure({key: job(*key, at) for key in keys}, arguments.rounds, device)
        smallest = case.axis == "gaussians" and case.gaussians == min(arguments.gaussians)
        if arguments.twin and smallest:
            found |= measure({(TWIN, to): job(TWIN, to, at) for to in DIRECTIONS}, 1, device)
        for (way, direction), times in found.items():
            rows.append({**vars(case), "way": way, "direction": direction, **times})
        console.print(f"{case}: " + ", ".join(f"{way} {found[way, DIRECTIONS[1]]['median_ms']:.0f} ms" for way in WAYS))
    largest = max((case for case in cases(arguments) if case.axis == "image"), key=lambda case: case.width)
    memory = [
        {"way": way, "direction": to, "mb": round(peak_megabytes(largest, way, to, arguments.seed, str(device)), 1)}
        for way, to in keys
    ]
    report = {
        "measurement": describe_measurement(arguments.seed),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "backend": resolve_backend(device),
        "threads": torch.get_num_threads(),
        "rounds": arguments.rounds,
        "why_not_fused": fused if isinstance(fused, str) else None,
        "yardstick": yardstick() if device.type == "cpu" else None,
        "load_average": load_average,
        "environment": {name: os.environ.get(name, "unset") for name in ENVIRONMENT},
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
