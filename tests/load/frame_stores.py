"""Frame stores opened and closed again and again, and what of the cache a process really holds."""

import mmap
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moegs_ns.scene.frame_cache import CameraFrames
from moegs_ns.scene.frame_store import FrameStore
from tests.load.growth import Sample, Watch


def reopen(cameras: Sequence[CameraFrames], root: Path, cycles: int, frames: int, warm_up: int = 3) -> list[Sample]:
    """Open a store, read frames of every camera, let it go; a sample after each cycle.

    Args:
        cameras: of the store.
        root: cache folder.
        cycles: after the warm-up.
        frames: read of each camera.
        warm_up: cycles before the first sample.
    """

    def cycle() -> None:
        store = FrameStore(cameras, root)
        for camera, one in enumerate(cameras):
            for frame in range(min(frames, one.num_frames)):
                store.frame(camera, frame).sum()

    for _ in range(warm_up):
        cycle()
    with Watch() as watch:
        for number in range(1, cycles + 1):
            cycle()
            watch.sample(number)
    return watch.samples


def mapped_bytes(root: Path) -> int:
    """Bytes of files below a folder that lie in this process's memory now, page by page.

    Raises:
        FileNotFoundError: a system without ``/proc``.
    """
    page, present = mmap.PAGESIZE, 0
    with Path("/proc/self/pagemap").open("rb") as pagemap:
        for line in Path("/proc/self/maps").read_text().splitlines():
            if f" {root}/" in line:
                start, end = (int(address, 16) // page for address in line.split()[0].split("-"))
                pagemap.seek(8 * start)
                entries = np.frombuffer(pagemap.read(8 * (end - start)), dtype=np.uint64)
                present += int((entries >> np.uint64(63)).sum())
    return page * present


@dataclass
class Drawn:
    """What reading frames at random came to.

    Attributes:
        most_bytes: of the cache in this process's memory, after any draw.
        whole_bytes: of all frames.
        wrong: draws of a frame that was not what it had been before.
    """

    most_bytes: int
    whole_bytes: int
    wrong: int


def draw_frames(read: Callable[[int], np.ndarray], count: int, root: Path, draws: int, seed: int) -> Drawn:
    """Read pictures at random, each several times.

    Args:
        read: a picture by its number, a copy.
        count: how many there are.
        root: of the cache.
        draws: how many.
        seed: of the order.
    """
    rng, first, most, wrong = random.Random(seed), {}, 0, 0
    for number in (*range(count), *(rng.randrange(count) for _ in range(draws))):
        picture = read(number)
        most = max(most, mapped_bytes(root))
        wrong += not np.array_equal(first.setdefault(number, picture), picture)
    return Drawn(most, sum(picture.nbytes for picture in first.values()), wrong)
