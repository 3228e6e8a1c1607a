"""The benchmark scripts for real, as small as can be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.sweeping import SWEEP, TINY


@pytest.mark.slow
def test_a_sweep_and_an_equal_budget_expert_end_to_end(project_root: Path, tmp_path: Path) -> None:
    preset = tmp_path / "preset.toml"
    preset.write_text(TINY.read_text())
    (tmp_path / "try.toml").write_text(SWEEP.replace(str(TINY), str(preset)).replace("= 2", "= 12"))
    (tmp_path / "suite.toml").write_text(
        f'description = "Tiny."\ndata = "examples/mixed"\npreset = "{preset}"\nseeds = [7]\n'
        'options = ["--num-frames", "6"]\nexperts = [["stg", "4dgaussians"]]\n'
    )

    def run(script: str, file: str, *options: object) -> str:
        command = [sys.executable, project_root / "benchmarks" / script, tmp_path / file, *options]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    places = ("--output-dir", tmp_path / "runs", "--results")
    swept = run("run_sweep.py", "try.toml", *places, tmp_path / "results" / "sweeps", "--device", "cpu")
    assert "training: mixed/moegs-router/sweep-try-seed7-soft" in swept
    content = json.loads((tmp_path / "results" / "sweeps" / "try.json").read_text())
    assert {row["scores"]["protocol"]["images"] for row in content["rows"]} == {4}  # frames 0 and 12 of two cameras
    for row in content["rows"]:
        scores = row["scores"]
        assert scores["pixel_oracle/psnr"] >= max(scores["expert_stg/psnr"], scores["expert_4dgaussians/psnr"])
        assert row["record"]["scene"]["cameras"]["val"] == ["cam05", "cam08"]
        assert not {"cam00", "cam05", "cam08"} & {*row["record"]["scene"]["cameras"]["train"]}
        for name in ("expert_stg/psnr", "mean_of_experts/psnr"):
            assert scores[name] == content["rows"][0]["scores"][name]
    assert "training" not in run(
        "run_sweep.py", "try.toml", *places, tmp_path / "results" / "sweeps", "--device", "cpu"
    )

    run("run_suite.py", "suite.toml", *places, tmp_path / "results", "--devices", "cpu")
    said = run("equal_budget.py", "suite.toml", "--slowdown", "1.5", *places, tmp_path / "results", "--devices", "cpu")
    assert "/equal-budget-seed7" in said
    page = tmp_path / "page.md"
    command = [sys.executable, project_root / "benchmarks" / "write_results.py", "--results", tmp_path / "results"]
    subprocess.run([*map(str, command), "--output", str(page)], check=True, capture_output=True)
    assert "motion" in (tmp_path / "experts.md").read_text()
    assert "(equal-budget) |" in page.read_text() and "### try" in page.read_text()
