"""How fast the CPU rasterizer is: the native kernels, the torch twin beside them, and a yardstick of the machine.

    python benchmarks/raster_speed.py

One run measures everything in interleaved rounds, so that a busy moment of the machine spreads over all rows; look at
minima and at ratios to the yardstick. Times are wall clock through ``rasterize()``: projection, binning, compositing,
and for "forward + backward" the gradients of means, quats, scales, opacities and channels from image and alpha.
Writes benchmarks/results/raster_speed_cpu.json, of which benchmarks/write_performance.py makes a section of
docs/performance.md, and prints that section.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from machine import describe_measurement
from raster_scene import SurfaceScene, surface_scene
from raster_section import raster_section
from rich.console import Console

from moegs_ns.losses import photometric_loss
from moegs_ns.splats import native_backend
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.splats.sh import evaluate_sh
from moegs_ns.splats.splats import Splats

RESULTS = Path(__file__).resolve().parent / "results" / "raster_speed_cpu.json"
GEOMETRY = ("means", "quats", "scales", "opacities")

CASES = ((10_000, 320, 240), (50_000, 320, 240), (100_000, 640, 480))
CHANNELS = (3, 8)
TRAINING_COUNT = 20_000


@dataclass
class Arguments:
    """Measure the CPU rasterizer."""

    rounds: int = 15
    """Interleaved repeats of every row."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of torch threads to measure with."""
    seed: int = 0
    """Of the scenes."""
    twin: bool = True
    """Also time the torch twin (10k and 50k Gaussians, 3 channels, once each)."""
    output: Path = RESULTS
    """JSON file to write."""


@dataclass
class Row:
    """One thing to measure. ``run`` is called once per round with torch's threads set."""

    what: str
    run: Callable[[], object]
    threads: int
    facts: dict[str, Any]
    times: list[float]

    def record(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "threads": self.threads,
            **self.facts,
            "min_ms": round(min(self.times), 3),
            "median_ms": round(statistics.median(self.times), 3),
            "repeats": len(self.times),
        }


def leaves_of(scene: SurfaceScene) -> tuple[Splats, torch.Tensor]:
    """Copies of the scene's Gaussians and channels that ask for gradients."""
    splats = Splats(*(getattr(scene.splats, name).clone().requires_grad_() for name in GEOMETRY))
    return splats, scene.channels.clone().requires_grad_()


def render(scene: SurfaceScene, splats: Splats, channels: torch.Tensor, backend: str):
    return rasterize(splats, channels, scene.viewmat, scene.K, scene.width, scene.height, backend=backend)


def forward(scene: SurfaceScene, backend: str) -> Callable[[], object]:
    def run() -> None:
        with torch.no_grad():
            render(scene, scene.splats, scene.channels, backend)

    return run


def forward_backward(scene: SurfaceScene, backend: str, frozen_geometry: bool = False) -> Callable[[], object]:
    splats, channels = leaves_of(scene)
    if frozen_geometry:
        splats = scene.splats
    generator = torch.Generator().manual_seed(1)
    upstream = [
        torch.randn(1, scene.height, scene.width, scene.channels.shape[1], generator=generator),
        torch.randn(1, scene.height, scene.width, generator=generator),
    ]
    leaves = [channels] if frozen_geometry else [*(getattr(splats, name) for name in GEOMETRY), channels]

    def run() -> None:
        for leaf in leaves:
            leaf.grad = None
        result = render(scene, splats, channels, backend)
        outputs = [result.images] if frozen_geometry else [result.images, result.alphas]
        torch.autograd.backward(outputs, upstream[: len(outputs)])

    return run


def training_step(scene: SurfaceScene) -> Callable[[], object]:
    """One step as 3D Gaussian Splatting trains: raw parameters, SH of degree 3, L1 + SSIM, Adam on 59 numbers each."""
    count = len(scene.splats)
    generator = torch.Generator().manual_seed(2)
    means, quats = scene.splats.means.clone(), scene.splats.quats.clone()
    log_scales, logits = scene.splats.scales.log(), torch.logit(scene.splats.opacities.clamp(1e-4, 1 - 1e-4))
    sh = 0.1 * torch.randn(count, 16, 3, generator=generator)
    parameters = [tensor.requires_grad_() for tensor in (means, quats, log_scales, logits, sh)]
    # Rates so small that the scene, and with it the work, stays the same from step to step.
    optimizer = torch.optim.Adam(parameters, lr=1e-9, fused=True)
    target = torch.rand(scene.height, scene.width, 3, generator=generator)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        colours = (evaluate_sh(3, means.detach(), sh) + 0.5).clamp(min=0.0)
        splats = Splats(means, torch.nn.functional.normalize(quats, dim=-1), log_scales.exp(), torch.sigmoid(logits))
        image = render(scene, splats, colours, "native").images[0]
        photometric_loss(image, target, 0.2).backward()
        optimizer.step()

    return run


def yardsticks() -> dict[str, Callable[[], object]]:
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    source, target = torch.rand(16 * 1024 * 1024), torch.empty(16 * 1024 * 1024)
    return {
        "yardstick: 1024^3 float32 matrix product": lambda: torch.mm(a, b),
        "yardstick: copy of 64 MiB": lambda: target.copy_(source),
    }


def build_rows(arguments: Arguments) -> tuple[list[Row], list[Row]]:
    """Rows measured in every round, and the twin's, measured apart because they are slow."""
    rows, twin_rows = [], []
    scenes = {
        (count, width, channels): surface_scene(count, channels, width, height, arguments.seed)
        for count, width, height in CASES
        for channels in CHANNELS
    }
    training_scene = surface_scene(TRAINING_COUNT, 3, 320, 240, arguments.seed)
    for threads in arguments.threads:
        rows += [Row(name, run, threads, {}, []) for name, run in yardsticks().items()]
        for (count, width, channels), scene in scenes.items():
            facts = {"gaussians": count, "width": width, "height": scene.height, "channels": channels}
            rows.append(Row("forward", forward(scene, "native"), threads, facts, []))
            rows.append(Row("forward + backward", forward_backward(scene, "native"), threads, facts, []))
            if channels == CHANNELS[0]:
                frozen = forward_backward(scene, "native", frozen_geometry=True)
                rows.append(Row("forward + backward, frozen geometry", frozen, threads, facts, []))
            if arguments.twin and channels == 3 and width == 320 and threads == max(arguments.threads):
                twin_rows.append(Row("twin: forward + backward", forward_backward(scene, "torch"), threads, facts, []))
        facts = {"gaussians": TRAINING_COUNT, "width": 320, "height": 240, "channels": 3}
        rows.append(Row("training step", training_step(training_scene), threads, facts, []))
    return rows, twin_rows


def measure(rows: list[Row], rounds: int, warm_up: int = 1) -> None:
    """Runs every row once per round, after ``warm_up`` rounds that do not count."""
    for repeat in range(-warm_up, rounds):
        for row in rows:
            torch.set_num_threads(row.threads)
            start = time.perf_counter()
            row.run()
            if repeat >= 0:
                row.times.append(1e3 * (time.perf_counter() - start))


def scene_facts(seed: int) -> list[dict[str, Any]]:
    """What makes the scenes comparable with others: how much there is to do."""
    facts = []
    for count, width, height in CASES:
        scene = surface_scene(count, 3, width, height, seed)
        splats, channels = leaves_of(scene)
        result = render(scene, splats, channels, "native")
        facts.append(
            {
                "gaussians": count,
                "width": width,
                "height": height,
                "visible": int(result.visible.sum()),
                "intersections": native_backend.count_intersections(result.images),
                "mean_alpha": round(float(result.alphas.detach().mean()), 4),
            }
        )
    return facts


def scheduling() -> str:
    """How this process is scheduled: on a busy machine only a real-time class (``chrt -r 10``) measures the kernels."""
    if not hasattr(os, "sched_getscheduler"):
        return "unknown"
    return "real time" if os.sched_getscheduler(0) in (os.SCHED_RR, os.SCHED_FIFO) else "ordinary"


def main(arguments: Arguments) -> None:
    torch.manual_seed(arguments.seed)
    rows, twin_rows = build_rows(arguments)
    measure(rows, arguments.rounds)
    measure(twin_rows, 1, warm_up=0)
    kernels = native_backend.build_info()
    report = {
        "measurement": describe_measurement(arguments.seed),
        "kernels": {name: kernels.get(name) for name in ("compiler", "flags", "vector_width", "parallel")},
        "scheduling": scheduling(),
        "load_average": round(os.getloadavg()[0], 2),
        "scenes": scene_facts(arguments.seed),
        "rows": [row.record() for row in [*rows, *twin_rows]],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf8")
    console = Console(width=200)
    console.print(raster_section(report), markup=False, highlight=False)
    console.print(f"wrote {arguments.output}; now: python benchmarks/write_performance.py", soft_wrap=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
