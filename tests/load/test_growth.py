"""The watch finds what grows, and nothing else."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.load.growth import MEASURES, Sample, Watch, slopes, too_steep

ROOT = Path(__file__).resolve().parents[2]


def samples_of(held: list[float], every: int = 100) -> list[Sample]:
    return [Sample(index * every, {"memory": value}) for index, value in enumerate(held)]


def test_a_slope_is_told_per_thousand_events() -> None:
    assert slopes(samples_of([300 + 0.2 * index for index in range(20)]))["memory"] == pytest.approx(2.0)


def test_a_jump_is_no_slope_and_a_staircase_is_one() -> None:
    jump = samples_of([300.0] * 6 + [350.0] * 14)
    assert slopes(jump)["memory"] == 0 and not too_steep(jump, {"memory": 0.0})
    stairs = samples_of([300.0 + 5 * (index // 4) for index in range(20)])
    assert slopes(stairs)["memory"] == pytest.approx(12.5, rel=0.05)
    (told,) = too_steep(stairs, {"memory": 10.0})
    assert "memory grows by 12.5 MiB" in told and "from 300 to 320; at most 10 were expected" in told


def test_noise_is_no_slope() -> None:
    rng = random.Random(0)
    assert abs(slopes(samples_of([300 + rng.uniform(-3, 3) for _ in range(60)]))["memory"]) < 0.3


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least four samples"):
        slopes(samples_of([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("kept", "measure", "least"),
    [
        (lambda: torch.zeros(1), "tensors", 900),
        (lambda: [object()], "blocks", 900),
        (lambda: open("/dev/null"), "files", 900),  # noqa: SIM115, PTH123  it is to stay open
    ],
)
def test_what_is_kept_is_found(kept: object, measure: str, least: float) -> None:
    leak = []
    with Watch() as watch:
        for step in range(60):
            leak.append(kept())  # type: ignore[operator]
            if step % 6 == 0:
                watch.sample(step)
    assert slopes(watch.samples)[measure] > least
    assert set(watch.samples[0].held) == set(MEASURES)
    del leak


def test_memory_that_is_kept_is_found() -> None:
    """In a fresh process: this one may have so much freed memory at hand that keeping some shows nowhere."""
    program = """
from tests.load.growth import Watch, slopes
leak = []
with Watch() as watch:
    for step in range(60):
        leak.append(bytearray(b"x" * 400_000))
        if step % 6 == 0:
            watch.sample(step)
print(slopes(watch.samples)["memory"])
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(said.stdout) > 300


def test_what_is_let_go_is_not_found() -> None:
    with Watch() as watch:
        for step in range(60):
            _ = torch.zeros(1000), [object()], {"a": step}
            circle: list = []
            circle.append(circle)  # for the collector
            if step % 6 == 0:
                watch.sample(step)
    assert not too_steep(watch.samples, {"tensors": 0, "blocks": 700, "files": 0, "threads": 0, "maps": 0})
