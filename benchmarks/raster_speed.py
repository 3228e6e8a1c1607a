"""How fast the CPU rasterizer is: the native kernels, the torch twin beside them, and a yardstick of the machine.

    python benchmarks/raster_speed.py

One run measures everything in interleaved rounds, so that a busy moment of the machine spreads over all rows; look at
minima and at ratios to the yardstick. Times are wall clock through ``rasterize()``: projection, binning, compositing,
and for "forward + backward" the gradients of means, quats, scales, opacities and channels from image and alpha.
Prints a table and writes benchmarks/results/raster_speed_cpu.json and .md.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from raster_scene import SurfaceScene, surface_scene
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

# Forward + backward in ms of the prototypes of the design study, on another machine of two cores (AVX2 and AVX-512
# code), by (Gaussians, width, channels, threads): what the kernels were asked to reach.
STUDY_AVX2 = {
    (10_000, 320, 3, 1): 27.1,
    (10_000, 320, 3, 2): 14.9,
    (10_000, 320, 8, 1): 30.0,
    (10_000, 320, 8, 2): 16.6,
    (50_000, 320, 3, 1): 48.1,
    (50_000, 320, 3, 2): 26.2,
    (50_000, 320, 8, 1): 53.7,
    (50_000, 320, 8, 2): 30.4,
    (100_000, 640, 3, 1): 152.0,
    (100_000, 640, 3, 2): 83.3,
    (100_000, 640, 8, 1): 169.0,
    (100_000, 640, 8, 2): 88.1,
}
STUDY_AVX512 = {
    (10_000, 320, 3, 1): 18.0,
    (10_000, 320, 3, 2): 9.8,
    (10_000, 320, 8, 1): 21.7,
    (10_000, 320, 8, 2): 11.3,
    (50_000, 320, 3, 1): 34.8,
    (50_000, 320, 3, 2): 18.8,
    (50_000, 320, 8, 1): 37.1,
    (50_000, 320, 8, 2): 20.5,
    (100_000, 640, 3, 1): 106.0,
    (100_000, 640, 3, 2): 56.8,
    (100_000, 640, 8, 1): 118.0,
    (100_000, 640, 8, 2): 62.6,
}
STUDY_TRAINING = 34.6  # ms, AVX-512, two threads: 20k Gaussians, SH degree 3, L1 + SSIM, fused Adam


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
    """JSON file to write; a table of the same name goes beside it."""


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


def machine() -> dict[str, Any]:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    info = native_backend.build_info()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "compiler": info["compiler"],
        "flags": info.get("flags"),
        "vector_width": info["vector_width"],
        "parallel": info["parallel"],
        "scheduling": scheduling(),
        "load_average": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def scheduling() -> str:
    """How this process is scheduled: on a busy machine only a real-time class (``chrt -r 10``) measures the kernels."""
    if not hasattr(os, "sched_getscheduler"):
        return "unknown"
    return "real time" if os.sched_getscheduler(0) in (os.SCHED_RR, os.SCHED_FIFO) else "ordinary"


def commit() -> str:
    def git(*arguments: str) -> str:
        folder = Path(__file__).resolve().parent
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False).stdout

    changed = git("status", "--porcelain", "--", "../cuda", "../moegs_ns/splats", ".").strip()
    return (git("rev-parse", "--short", "HEAD").strip() or "unknown") + (" with local changes" if changed else "")


def table(report: dict[str, Any]) -> str:
    """The report as markdown."""
    rows = report["rows"]
    matrix = {row["threads"]: row["min_ms"] for row in rows if "matrix" in row["what"]}
    copy = {row["threads"]: row["min_ms"] for row in rows if "copy" in row["what"]}
    lines = [
        "# Speed of the CPU rasterizer",
        "",
        f"`{report['command']}` at commit {report['commit']}, {report['date']}; {report['machine']['cpu']}, "
        f"{report['machine']['compiler']}, {report['machine']['vector_width']} floats per vector, "
        f"{report['machine']['parallel']}; {report['machine']['scheduling']} priority at a load average of "
        f"{report['machine']['load_average']}. Minimum (median) of {rows[0]['repeats']} interleaved repeats, ms.",
        "",
        "Yardstick: "
        + "; ".join(
            f"{threads} thread{'s' * (threads > 1)}: 1024³ matrix product {matrix[threads]:.1f} ms "
            f"({2 * 1.024**3 / matrix[threads] * 1e3:.0f} GFLOP/s), copy of 64 MiB {copy[threads]:.1f} ms"
            for threads in matrix
        )
        + ".",
        "",
        "| Gaussians | image | channels | threads | forward | forward + backward | same / matrix product "
        "| frozen geometry | design study, AVX-512 / AVX2 (another machine) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def cell(what: str, like: dict[str, Any]) -> str:
        keys = ("gaussians", "width", "channels", "threads")
        for row in rows:
            if row["what"] == what and all(row[key] == like[key] for key in keys):
                return f"{row['min_ms']:.1f} ({row['median_ms']:.1f})"
        return ""

    for row in rows:
        if row["what"] == "forward + backward":
            key = (row["gaussians"], row["width"], row["channels"], row["threads"])
            study = f"{STUDY_AVX512[key]} / {STUDY_AVX2[key]}" if key in STUDY_AVX2 else ""
            lines.append(
                f"| {row['gaussians']} | {row['width']}x{row['height']} | {row['channels']} | {row['threads']} "
                f"| {cell('forward', row)} | {cell('forward + backward', row)} "
                f"| {row['min_ms'] / matrix[row['threads']]:.2f} "
                f"| {cell('forward + backward, frozen geometry', row)} | {study} |"
            )
    lines.append("")
    for row in rows:
        if row["what"] == "training step":
            study = f" (design study, AVX-512, another machine: {STUDY_TRAINING})" if row["threads"] == 2 else ""
            lines.append(
                f"- Training step, {row['gaussians']} Gaussians, 320x240, SH degree 3, L1 + SSIM, Adam, "
                f"{row['threads']} thread{'s' * (row['threads'] > 1)}: "
                f"{row['min_ms']:.1f} ({row['median_ms']:.1f}){study}."
            )
        elif row["what"].startswith("twin"):
            native = next(
                other["min_ms"]
                for other in rows
                if other["what"] == "forward + backward"
                and all(other[key] == row[key] for key in ("gaussians", "width", "channels", "threads"))
            )
            lines.append(
                f"- Torch twin, {row['gaussians']} Gaussians, {row['channels']} channels, {row['threads']} threads, "
                f"forward + backward: {row['min_ms']:.0f}, {row['min_ms'] / native:.0f} times the native kernels."
            )
    for facts in report["scenes"]:
        lines.append(
            f"- Scene of {facts['gaussians']} Gaussians at {facts['width']}x{facts['height']}: {facts['visible']} "
            f"visible, {facts['intersections']} (Gaussian, tile) pairs, mean alpha {facts['mean_alpha']}."
        )
    return "\n".join(lines) + "\n"


def main(arguments: Arguments) -> None:
    torch.manual_seed(arguments.seed)
    rows, twin_rows = build_rows(arguments)
    measure(rows, arguments.rounds)
    measure(twin_rows, 1, warm_up=0)
    report = {
        "command": shlex.join(["python", "benchmarks/raster_speed.py", *sys.argv[1:]]),
        "seed": arguments.seed,
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine(),
        "scenes": scene_facts(arguments.seed),
        "rows": [row.record() for row in [*rows, *twin_rows]],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    text = table(report)
    arguments.output.with_suffix(".md").write_text(text)
    Console(width=200).print(text, markup=False, highlight=False)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
