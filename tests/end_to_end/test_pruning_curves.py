"""Pruning curves: what a ratio costs, the section of the page, and the script for real, as small as can be."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.end_to_end.sweeping import TINY


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    names = ("suites", "pruning_section", "pruning_curves")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return {name: importlib.import_module(name) for name in names}


def test_the_ratio_that_costs_lies_on_a_straight_line(scripts: dict[str, ModuleType]) -> None:
    ratio_that_costs = scripts["pruning_section"].ratio_that_costs
    assert ratio_that_costs([(0.6, -0.15), (0.3, -0.03)]) == pytest.approx(0.35)
    assert ratio_that_costs([(0.3, -0.1)]) == pytest.approx(0.15)  # from nothing removed
    assert ratio_that_costs([(0.3, 0.02), (0.6, -0.05)]) == pytest.approx(0.6)
    assert ratio_that_costs([(0.3, 0.02), (0.6, -0.04)]) is None
    assert ratio_that_costs([]) is None


def point(criterion: str, ratio: float, steps: int, psnr: float) -> dict[str, Any]:
    scores = {"psnr": psnr, "gaussians": round(1000 * (1 - ratio)), "megabytes": 1.0, "fps": 10.0, "images": 4}
    return {
        "criterion": criterion,
        "ratio": ratio,
        "finetune_steps": steps,
        "winning": {"by_responsibility": ratio / 2},
        "scores": scores,
    }


def test_tables_say_what_each_ratio_changes(scripts: dict[str, ModuleType]) -> None:
    facts = {"scene": "toy", "experts": ["stg", "ed3dgs"], "seed": 1, "split": "val", "view_stride": 3}
    content = {
        "pruning": {**facts, "eval_temperature": 1.0},
        "baseline": {"psnr": 20.0, "gaussians": 1000, "megabytes": 2.0, "fps": 5.0, "images": 4},
        "points": [
            point("gate", 0.3, 0, 19.97),
            point("gate", 0.6, 0, 19.85),
            point("random", 0.3, 0, 19.0),
            point("gate", 0.6, 9, 20.25),
        ],
    }
    raw = scripts["pruning_section"].pruning_table(content, 0)
    assert raw.header == ["criterion", "30%", "60%", "costs 0.05 dB", "winning, pruned"]
    assert raw.rows == [["gate", "-0.03", "-0.15", "35%", "30%"], ["random", "-1.00", "n/a", "2%", "15%"]]
    tuned = scripts["pruning_section"].pruning_table(content, 9)
    assert tuned.rows == [["gate", "+0.25", "over 60%", "30%"]] and "9 further steps" in tuned.title
    assert "one training image in 3" in " ".join(raw.notes)


@pytest.mark.slow
def test_curves_end_to_end(project_root: Path, tmp_path: Path, scripts: dict[str, ModuleType]) -> None:
    (tmp_path / "suite.toml").write_text(
        f'description = "Tiny."\ndata = "examples/mixed"\npreset = "{TINY}"\nseeds = [7]\n'
        'options = ["--num-frames", "6"]\nexperts = [["stg", "4dgaussians"]]\n'
    )

    def run(script: str, *options: object) -> str:
        command = [sys.executable, project_root / "benchmarks" / script, *options]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    results = tmp_path / "results"
    run("run_suite.py", tmp_path / "suite.toml", "--output-dir", tmp_path / "runs", "--results", results)
    curves = ["pruning_curves.py", tmp_path / "suite.toml", "--output-dir", tmp_path / "runs", "--device", "cpu"]
    curves += ["--results", results / "pruning", "--view-stride", "20", "--finetune-steps", "3"]
    few = ["--ratios", "0.5", "--criteria", "contribution", "random"]
    run(*curves, *few)
    kept = results / "pruning" / "suite-seed7.json"
    content = json.loads(kept.read_text())
    points = {(one["criterion"], one["finetune_steps"]): one["scores"] for one in content["points"]}
    assert points.keys() == {(name, steps) for name in ("contribution", "random") for steps in (0, 3)}
    half = round(0.5 * content["baseline"]["gaussians"])
    assert all(abs(scores["gaussians"] - half) <= 1 for scores in points.values())
    assert points["contribution", 0]["psnr"] > points["random", 0]["psnr"]
    before = kept.read_text()
    run(*curves, *few)
    assert json.loads(kept.read_text())["points"] == json.loads(before)["points"]
    missing = run(*curves, "--ratios", "0.5", "0.75", "--criteria", "random", "--plan")
    assert missing.splitlines() == ["missing: random 75%, 0 further steps", "missing: random 75%, 3 further steps"]
    run("write_results.py", "--results", results, "--output", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "## Pruning curves" in page and "3 further steps of the router" in page and "| contribution |" in page
