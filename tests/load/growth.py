"""Does something grow for as long as it runs? Samples of this process, their slopes, and what is too steep.

Memory alone tells little of a short run: allocators keep what is freed and hand it out again. So what keeps memory
alive is counted too, exactly: tensors, blocks of Python's own memory, threads, open files, maps. A leak of one tensor a
step stands out after a few hundred steps, whatever its size; a leak outside Python shows in the memory of a long run.
"""

import ctypes
import gc
import statistics
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import TracebackType

import torch

#: What is counted, and its unit.
MEASURES = {
    "memory": "MiB resident without mapped files",
    "tensors": "tensors",
    "blocks": "blocks of Python's memory",
    "threads": "threads",
    "files": "open files",
    "maps": "memory maps",
}
# Slopes between samples that lie close together say little, and all pairs of many samples take long.
_MOST_SAMPLES = 200
_ARENA_MAX = -8  # of glibc's mallopt


@dataclass(frozen=True)
class Sample:
    """What a process held after ``at`` events.

    Attributes:
        at: how many steps, pictures or cycles there had been.
        held: by name, see `MEASURES`.
    """

    at: int
    held: Mapping[str, float]


class Watch:
    """Samples of this process while something runs; use as a context manager.

    What there is at the first sample is set aside: garbage collection and counting, which would look at every object of
    every import each time, pass over it."""

    def __init__(self) -> None:
        self._rows = array("d")  # one block of memory however many samples: what is counted must not grow by counting

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.unfreeze()

    def sample(self, at: int) -> None:
        """Take one after ``at`` events, garbage aside."""
        gc.collect()
        if not self._rows:
            gc.freeze()
        give_free_memory_back()
        blocks = sys.getallocatedblocks()
        tensors = sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
        held = (
            resident_mib("RssAnon"),
            tensors,
            blocks,
            len([*Path("/proc/self/task").iterdir()]),
            len([*Path("/proc/self/fd").iterdir()]),
            len(Path("/proc/self/maps").read_text().splitlines()),
        )
        self._rows.extend((at, *held))

    @property
    def samples(self) -> list[Sample]:
        """All so far."""
        width = 1 + len(MEASURES)
        rows = [self._rows[start : start + width] for start in range(0, len(self._rows), width)]
        return [Sample(int(at), dict(zip(MEASURES, held, strict=True))) for at, *held in rows]


def give_free_memory_back() -> None:
    """What the C library keeps for later allocations, hundreds of megabytes by `keep_freed_memory`, goes back to the
    system, so that what is resident is in use; where it is not glibc, nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def share_one_heap() -> None:
    """Threads begun from now on allocate from one heap, not from heaps of their own, in which a single block in use
    keeps what is free from being given back. Holds for the process; where it is not glibc, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def resident_mib(kind: str) -> float:
    """Of this process, in MiB: ``RssAnon`` without mapped files, ``RssFile`` those, ``VmRSS`` both and what is shared.

    Raises:
        FileNotFoundError: a system without ``/proc``.
        ValueError: this system does not tell.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 2**10
    raise ValueError(f"expected {kind} in /proc/self/status, found none; Linux 4.5 or newer tells it")


def slopes(samples: Sequence[Sample]) -> dict[str, float]:
    """Growth per 1,000 events by name: the median of the slopes between all pairs of samples (Theil-Sen), so that one
    jump, such as a buffer that was needed for the first time, is no growth, and steps that come again and again are.

    Raises:
        ValueError: fewer than four samples.
    """
    if len(samples) < 4:
        raise ValueError(f"expected at least four samples to find a slope in, found {len(samples)}")
    some = samples[:: max(1, len(samples) // _MOST_SAMPLES)]
    return {
        name: statistics.median(
            1e3 * (late.held[name] - early.held[name]) / (late.at - early.at) for early, late in combinations(some, 2)
        )
        for name in samples[0].held
    }


def too_steep(samples: Sequence[Sample], limits: Mapping[str, float]) -> list[str]:
    """What grows faster than its limit per 1,000 events, a sentence each."""
    found = slopes(samples)
    return [
        f"{name} grow{'s' if name == 'memory' else ''} by {found[name]:.3g} {MEASURES[name]} per 1,000, from "
        f"{samples[0].held[name]:g} to {samples[-1].held[name]:g}; at most {limit:g} were expected"
        for name, limit in limits.items()
        if found[name] > limit
    ]
