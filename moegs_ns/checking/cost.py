"""What training takes here: time, memory, and disk for the decoded frames.

Times are those of the benchmark runs kept in configs/training_costs.toml, by the share of the pixels and by how long a
matrix product takes on this machine beside theirs. That is right within a factor of two or so.
"""

from __future__ import annotations

import math
import shutil
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from moegs_ns.checking.result import CheckResult, Verdict, fine
from moegs_ns.paths import resource_dir, user_cache_dir
from moegs_ns.scene.parsed_scene import ParsedScene

NAME = "cost"
COSTS = "training_costs.toml"
# Of a training step at the benchmark's size, about this share goes by the pixel (docs/performance.md), the rest by the
# Gaussian.
_SHARE_BY_PIXEL = 0.75
_YARDSTICK_SIZE, _YARDSTICK_REPEATS = 1024, 5


@dataclass(frozen=True)
class TrainingCosts:
    """What benchmark runs took.

    Attributes:
        preset: of the runs.
        downscale: of the preset.
        scene: they were on.
        pixels: of an image as trained on.
        seconds: by stage, on one thread.
        peak_memory_mb: of the largest process.
        matmul_ms: the yardstick on that machine: a float32 product of 1024x1024 matrices on one thread.
        machine: in words.
    """

    preset: str
    downscale: int
    scene: str
    pixels: int
    seconds: dict[str, float]
    peak_memory_mb: float
    matmul_ms: float
    machine: str


def read_costs() -> TrainingCosts:
    """What `benchmarks/training_costs.py` wrote."""
    return TrainingCosts(**tomllib.loads((resource_dir("configs") / COSTS).read_text("utf8")))


def yardstick_ms() -> float:
    """The matrix product here, in milliseconds: the best of a few."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        matrix = torch.rand(_YARDSTICK_SIZE, _YARDSTICK_SIZE)
        best = math.inf
        for _ in range(_YARDSTICK_REPEATS):
            start = time.perf_counter()
            torch.mm(matrix, matrix)
            best = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return 1e3 * best


def check_cost(scene: ParsedScene, downscale: int) -> CheckResult:
    """The result.

    Args:
        scene: as parsed.
        downscale: it was parsed with.
    """
    costs = read_costs()
    factor = downscale / costs.downscale
    pixels = sum(one.width * one.height for one in scene.pinholes) / len(scene.pinholes) * factor**2
    slower = yardstick_ms() / costs.matmul_ms
    share = 1 - _SHARE_BY_PIXEL + _SHARE_BY_PIXEL * pixels / costs.pixels
    seconds = {stage: own * share * slower for stage, own in costs.seconds.items()}
    total = sum(seconds.values())
    disk = int(3 * pixels * len(scene.pinholes))
    disk_full = int(3 * pixels / factor**2 * len(scene.pinholes))
    memory = costs.peak_memory_mb * 1e6
    free_memory, free_disk = _free_memory(), shutil.disk_usage(user_cache_dir()).free
    numbers = {
        "preset": costs.preset,
        "seconds_one_thread": total,
        "seconds_by_stage": seconds,
        "memory_bytes": memory,
        "free_memory_bytes": free_memory,
        "disk_bytes": disk,
        "disk_bytes_at_given_downscale": disk_full,
        "free_disk_bytes": free_disk,
        "machine_beside_benchmark": slower,
        "estimated_from": f"runs of {costs.preset} on {costs.scene} ({costs.machine}), by pixels and a matrix product",
    }
    said = (
        f"`moegs train --preset {costs.preset}` takes about {_words(total)} on one CPU thread here, {_size(memory)} of "
        f"memory and {_size(disk)} of disk for decoded frames ({_size(free_disk)} free); estimated from runs on "
        f"{costs.scene}, within a factor of two or so"
    )
    if disk > free_disk:
        return CheckResult(
            NAME,
            Verdict.UNUSABLE,
            f"{said}: the frames do not fit; set MOEGS_CACHE_DIR to a larger disk, or pass a larger --downscale.",
            numbers=numbers,
        )
    if free_memory is not None and memory > free_memory:
        return CheckResult(
            NAME,
            Verdict.DOUBTFUL,
            f"{said}: only {_size(free_memory)} of memory are free; close other programs.",
            numbers=numbers,
        )
    return fine(NAME, f"{said}.", **numbers)


def _free_memory() -> int | None:
    """Bytes that programs can have without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("utf8").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def _words(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"
