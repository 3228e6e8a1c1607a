"""Routers side by side: which runs make a row, and what stands in it."""

import json
from pathlib import Path
from typing import Any

import pytest

from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.reporting.router_tables import router_tables
from moegs_ns.reporting.tables import build_tables
from tests.reporting.runs import leave_expert, leave_mixture

EXPERTS = {"stg": 29.0, "4dgaussians": 28.0}


def leave(outputs: Path, psnr: float, seed: int, **router: Any) -> Path:
    """A mixture's run with options of its router, under a folder of its own."""
    run = leave_mixture(outputs / "_".join([*map(str, router.values()), str(seed)]), EXPERTS, psnr, seed)
    record = json.loads((run / "run.json").read_text())
    record["expert"]["config"] |= router
    (run / "run.json").write_text(json.dumps(record))
    return run


def test_a_row_per_router_with_its_seeds(tmp_path: Path) -> None:
    runs = [
        leave(tmp_path, 30.0, 1, router="pixel"),
        leave(tmp_path, 29.5, 1, router="volume"),
        leave(tmp_path, 31.0, 1),
        leave(tmp_path, 32.0, 2),
        leave(tmp_path, 33.0, 1, compare=["alpha", "color"], kernel_size=3, hidden=[16]),
    ]
    (table,) = router_tables([read_result(run) for run in runs])
    assert table.title == "mixed: routers over stg + 4dgaussians, mean ± sd of seeds 1, 2"
    assert table.header[:6] == ["router", "PSNR", "dyn. PSNR", "SSIM", "LPIPS (Alex)", "flicker"]
    labels = [row[0] for row in table.rows]
    assert labels == [
        "pixel router",
        "volume router",
        "volume-aware pixel router",
        "volume-aware pixel router, 3x3 kernels, hidden 16, compares alpha-color",
    ]
    assert [row[1] for row in table.rows] == ["30.00", "29.50", "31.50 ± 0.71", "33.00"]
    assert [row[6] for row in table.rows] == ["+1.00", "+0.50", "+2.50 ± 0.71", "+4.00"]
    assert any(note.startswith("Seeds: pixel router 1; ") for note in table.notes)


def test_single_experts_have_no_router(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected runs of mixtures .* found one of 'stg'"):
        router_tables([read_result(leave_expert(tmp_path, "stg", 29.0))])


def test_other_routers_are_no_seeds_of_a_mixture(tmp_path: Path) -> None:
    runs = [leave(tmp_path, 31.0, 1), leave(tmp_path, 32.0, 2), leave(tmp_path, 30.0, 1, router="pixel")]
    usual, pixel = build_tables([read_result(run) for run in runs])
    assert usual.title == "mixed: stg + 4dgaussians, mean ± sd of seeds 1, 2"
    assert pixel.title == "mixed: stg + 4dgaussians, pixel router, seed 1"


@pytest.mark.parametrize("router", [{"experts_learn_from": 5}, {"router": "volume"}], ids=["learning", "volume"])
def test_experts_that_a_mixture_changes_are_shown_as_they_were_trained(tmp_path: Path, router: dict) -> None:
    run = leave(tmp_path, 31.0, 1, **router)
    record = json.loads((run / "run.json").read_text())
    record["model"]["expert_origins"] = {name: {"step": 100} for name in EXPERTS}
    (run / "run.json").write_text(json.dumps(record))
    scores = json.loads((run / "eval_test.json").read_text())
    scores["results"] |= {"expert_stg/psnr": 20.0, "expert_4dgaussians/psnr": 30.5}
    (run / "eval_test.json").write_text(json.dumps(scores))
    (table,) = build_tables([read_result(run)])
    assert [row[:2] for row in table.rows] == [
        ["stg", "29.00"],
        ["4dgaussians", "28.00"],
        ["best expert (stg)", "29.00"],
        ["mixture", "31.00"],
    ]
    assert any(note.startswith("The mixture is +2.00 dB from the best expert.") for note in table.notes)

    record["model"]["expert_origins"]["4dgaussians"]["step"] = 50
    (run / "run.json").write_text(json.dumps(record))
    (table,) = build_tables([read_result(run)])
    assert [row[:2] for row in table.rows][:3] == [
        ["stg", "29.00"],
        ["4dgaussians (inside the mixture)", "30.50"],
        ["best expert (4dgaussians)", "30.50"],
    ]
    assert any("4dgaussians has 100 steps, the mixture began with 50" in note for note in table.notes)


def test_speeds_of_different_devices_are_not_to_be_compared(tmp_path: Path) -> None:
    runs = [leave(tmp_path, 31.0, 1), leave(tmp_path, 30.0, 1, router="pixel")]
    (table,) = router_tables([read_result(run) for run in runs])
    assert not any("do not compare" in note for note in table.notes)
    scores = json.loads((runs[1] / "eval_test.json").read_text())
    scores["results"]["protocol"]["device"] = "cuda, a GPU"
    (runs[1] / "eval_test.json").write_text(json.dumps(scores))
    (table,) = router_tables([read_result(run) for run in runs])
    (note,) = (note for note in table.notes if note.startswith("FPS: "))
    assert "measured on different devices, do not compare: volume-aware pixel router on" in note
    assert "pixel router on cuda, a GPU" in note


def test_runs_that_were_moved_together_are_found(tmp_path: Path) -> None:
    run, outputs = leave(tmp_path / "outputs", 31.0, 1), tmp_path / "outputs"
    moved = outputs.rename(tmp_path / "elsewhere") / run.relative_to(outputs)
    found = read_result(moved).experts()
    assert [one if isinstance(one, str) else one.folder.relative_to(tmp_path).parts[0] for one in found] == [
        "elsewhere",
        "elsewhere",
    ]
