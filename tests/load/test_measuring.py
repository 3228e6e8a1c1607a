"""What `make load` keeps, how it is judged, and the section of docs/performance.md written of it."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.load.growth import MEASURES, Sample

MEASUREMENT = {
    "command": "python benchmarks/load.py",
    "seed": 0,
    "measured": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "A Processor", "cores": 2, "memory_gib": 24, "system": "Linux", "vector_extensions": "X"},
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "source": {"commit": "0123456789abcdef", "modified": False},
}


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return {name: importlib.import_module(name) for name in ("load", "load_section")}


def growing(name: str, slope: float) -> list[Sample]:
    return [Sample(at, {**dict.fromkeys(MEASURES, 100.0), name: 100 + slope * at / 1000}) for at in range(0, 5000, 500)]


def kept(found: Any, **more: Any) -> dict[str, Any]:
    return {**found.numbers, "seconds": 12.3, "measurement": MEASUREMENT, **more}


def test_what_grows_too_fast_is_a_fault(scripts: dict[str, ModuleType]) -> None:
    load = scripts["load"]
    assert not load.of_samples(growing("memory", 0.05), load.STEPS, "step").faults
    (fault,) = load.of_samples(growing("tensors", 500), load.STEPS, "step").faults
    assert "tensors grow by 500 tensors per 1,000" in fault


def test_figures_become_a_section(scripts: dict[str, ModuleType]) -> None:
    load = scripts["load"]
    steps = kept(load.of_samples(growing("memory", 0.05), load.STEPS, "step"))
    visits = {"visitors": 4, "visits": 30, "received": [250, 251, 252, 253]}
    pictures = kept(load.of_samples(growing("blocks", 3), load.PICTURES, "picture"), **visits)
    row = {"downscale": 4, "budget": 1_000_000, "frames": 4_147_200, "most": 270_336, "draws": 1288, "wrong": 0}
    budget = {"rows": [row], "seconds": 3.0, "measurement": MEASUREMENT}
    text = scripts["load_section"].load_section({"stg": steps, "viewer": pictures, "ram budget": budget})
    assert "| stg, steps | 0 | 4,500 | 100.0 to 100.2 | +0.05 | +0 | +0 | +0 | +0 |" in text
    assert "4 windows at once, opened and closed 30 times; pictures that came: 250, 251, 252, 253;" in text
    assert "`--ram-budget 0.001`, 4.1 MB of frames (`--downscale 4`), 1,288 drawn: at most 0.27 MB in memory" in text
    assert "- stg: `python benchmarks/load.py`, seed 0, 12 s; A Processor, 2 cores" in text


def test_frame_stores_are_measured_as_the_section_reads_it(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    load = scripts["load"]
    found = load.frame_stores(load.Arguments(cycles=8), tmp_path)
    assert not found.faults
    assert "| frame stores, cycles | 1 | 8 |" in scripts["load_section"].load_section({"frame stores": kept(found)})


def test_unknown_measurements_are_refused(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    load = scripts["load"]
    with pytest.raises(ValueError, match="expected some of .* found .'nothing'"):
        load.main(load.Arguments(only=("nothing",), output=tmp_path / "none.json"))
