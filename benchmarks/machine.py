"""What every benchmark states beside its numbers: the machine, the source, the command, and a fixed yardstick.

The yardstick makes runs on two machines, or on a machine that was busy, comparable: a float32 matrix product that
depends on arithmetic alone, and a copy that depends on memory alone.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import torch

from moegs_ns.runs.record import describe_command_line, describe_device, describe_source, describe_versions

MATMUL_SIZE = 1024
COPY_MEGABYTES = 64


def describe_measurement(seed: int | None = None) -> dict[str, Any]:
    """Command, seed, time, machine, versions and commit, as plain data."""
    return {
        "command": f"python benchmarks/{describe_command_line()}",
        "seed": seed,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": describe_versions(),
        "source": describe_source(),
    }


def describe_machine() -> dict[str, Any]:
    """Processor, number of usable cores, memory and system."""
    pages, page_size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": describe_device("cpu")["name"],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages * page_size / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "vector_extensions": torch.backends.cpu.get_cpu_capability(),
    }


def timings(function: Callable[[], Any], repetitions: int, warm_up: int = 2) -> dict[str, float]:
    """Median and minimum duration of a call in milliseconds."""
    for _ in range(warm_up):
        function()
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return summary(seconds)


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and minimum of durations, in milliseconds."""
    return {"median_ms": round(1e3 * statistics.median(seconds), 3), "min_ms": round(1e3 * min(seconds), 3)}


def yardstick(repetitions: int = 15) -> dict[str, dict[str, float]]:
    """The matrix product (2.1 GFLOP) and the copy (64 MB read, 64 MB written) with torch's present threads."""
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(MATMUL_SIZE, MATMUL_SIZE, generator=generator)
    right = torch.rand(MATMUL_SIZE, MATMUL_SIZE, generator=generator)
    product = torch.empty_like(left)
    source = torch.rand(COPY_MEGABYTES * 1_000_000 // 4, generator=generator)
    target = torch.empty_like(source)
    return {
        "matmul": timings(lambda: torch.mm(left, right, out=product), repetitions),
        "copy": timings(lambda: target.copy_(source), repetitions),
    }


def machine_sentence(measurement: dict[str, Any]) -> str:
    """One line for a document: machine, versions, commit, date."""
    machine, versions, source = measurement["machine"], measurement["versions"], measurement["source"]
    commit = "unknown commit" if source is None else f"commit {source['commit'][:9]}"
    if source is not None and source["modified"]:
        commit += " with local changes"
    return (
        f"{machine['processor']}, {machine['cores']} cores ({machine['vector_extensions']}), "
        f"{machine['memory_gib']} GiB, {machine['system']}; Python {versions['python']}, torch {versions['torch']}; "
        f"{commit}; {measurement['measured'][:10]}"
    )
