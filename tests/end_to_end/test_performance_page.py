"""Sections of docs/performance.md: the rasterizer, judged, and what awaits a GPU."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        names = ("raster_section", "raster_speed", "gpu_section")
        return {name: importlib.import_module(name) for name in names}


def stored(one_thread: float, two_threads: float) -> dict[str, Any]:
    """Measurements by hand: a matrix product takes 18.04 ms on one thread, 119 GFLOP/s, and half of it on two."""
    rows = []
    for threads, ms in ((1, one_thread), (2, two_threads)):
        about = {"threads": threads, "repeats": 3}
        for what, own in (("yardstick: 1024^3 float32 matrix product", 18.046), ("yardstick: copy of 64 MiB", 3.0)):
            rows.append({"what": what, "min_ms": own / threads, "median_ms": 2 * own, **about})
        scene = {"gaussians": 50000, "width": 320, "height": 240, "channels": 3}
        for what, own in (("forward", 0.4 * ms), ("forward + backward", ms)):
            rows.append({"what": what, "min_ms": own, "median_ms": 1.1 * own, **about, **scene})
        rows.append({"what": "training step", "min_ms": 20.0, "median_ms": 21.0, **about, **scene, "gaussians": 20000})
    rows.append({"what": "twin: forward + backward", "min_ms": 100 * two_threads, "median_ms": 0.0, **about, **scene})
    machine = {"processor": "A Processor", "cores": 2, "memory_gib": 24, "system": "Linux", "vector_extensions": "AVX2"}
    return {
        "measurement": {
            "command": "python benchmarks/raster_speed.py",
            "seed": 0,
            "measured": "2026-01-02T03:04:05+00:00",
            "machine": machine,
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "source": {"commit": "0123456789abcdef", "modified": False},
        },
        "kernels": {"compiler": "g++ 12", "flags": "-O3", "vector_width": 8, "parallel": "openmp"},
        "scheduling": "ordinary",
        "load_average": 0.1,
        "scenes": [
            {"gaussians": 50000, "width": 320, "height": 240, "visible": 40000, "intersections": 1, "mean_alpha": 0.9}
        ],
        "rows": rows,
    }


def test_the_rasterizer_is_judged_in_milliseconds_and_through_the_yardstick(scripts: dict[str, ModuleType]) -> None:
    text = scripts["raster_section"].raster_section(stored(20.0, 10.0))
    # 1.2 * 34.8 and 1.2 * 18.8; over 2 * 1024^3 / 238e9 s = 9.02 ms, and half of it. Here 20 / 18.046, 10 / 9.023.
    assert "| 1 thread, ms | 20.0 | 41.8 | within |" in text
    assert "| 2 threads, ms | 10.0 | 22.6 | within |" in text
    assert "| 1 thread, over matrix product | 1.11 | 4.63 | within |" in text
    assert "| 2 threads, over matrix product | 1.11 | 5.00 | within |" in text
    assert "Two threads are 2.00 times as fast as one, at least 1.7 is asked for: met." in text
    # 20 / 14 and 20 / 9; the yardstick halves them, 119 GFLOP/s against 238.
    assert "| 14 | 1.43 | 0.71 |" in text and "| 9 | 2.22 | 1.11 |" in text
    assert "| 50,000 | 320x240 | 3 | 1 | 8.0 (8.8) | 20.0 (22.0) | 1.11 |  | 34.8 / 48.1 |" in text
    assert "1,000, 100 times the native kernels" in text and "2 threads: 20.0 (21.0); the design study: 34.6." in text


def test_what_is_too_slow_is_said_so(scripts: dict[str, ModuleType]) -> None:
    text = scripts["raster_section"].raster_section(stored(90.0, 60.0))
    assert (
        text.count("**not within**") == 4
        and "1.50 times as fast as one, at least 1.7 is asked for: **not met**" in text
    )


def test_the_rasterizer_is_measured_as_the_section_reads_it(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = scripts["raster_speed"]
    monkeypatch.setattr(speed, "CASES", ((300, 32, 24), (50_000, 320, 240)))
    monkeypatch.setattr(speed, "TRAINING_COUNT", 100)
    monkeypatch.setattr(speed.torch, "set_num_threads", lambda count: None)
    kept = tmp_path / "speed.json"
    speed.main(speed.Arguments(rounds=1, twin=False, output=kept))
    report = json.loads(kept.read_text("utf8"))
    assert report["measurement"]["seed"] == 0 and report["kernels"]["compiler"]
    assert {row["threads"] for row in report["rows"]} == {1, 2}
    text = scripts["raster_section"].raster_section(report)
    assert text.count("| 300 | 32x24 |") == 4 and "| 2 threads, ms |" in text


def test_what_awaits_a_gpu_is_what_the_suite_does(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    section = scripts["gpu_section"]
    text = section.gpu_section(tmp_path / "none.txt")
    assert "No machine with an NVIDIA GPU" in text and text.count("\n- ") == len(section.AWAITED)
    results = tmp_path / "results.txt"
    results.write_text(
        "device: A GPU\npassed  tests 3 s\npassed  kernels 1 s\nFAILED  golden no\nskipped sanitizer no\n"
    )
    text = section.gpu_section(results)
    assert "Run on A GPU." in text and text.count("\n- ") == len(section.AWAITED) - 1 and "values" not in text
    results.write_text(
        "device: A GPU\n" + "".join(f"passed {step} 1 s\n" for _, steps in section.AWAITED for step in steps)
    )
    assert section.gpu_section(results).endswith("; nothing is left.\n")


def test_a_step_that_is_no_more_is_noticed(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts["gpu_section"], "AWAITED", (("something", ("dance",)),))
    with pytest.raises(ValueError, match="expected the steps dance"):
        scripts["gpu_section"].gpu_section(tmp_path / "none.txt")
