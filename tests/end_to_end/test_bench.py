"""A suite for real, as small as can be: interrupted, gone on with by submitit, reported."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("submitit")

TINY = """
[data]
downscale = 8
num_frames = 3
[stg]
steps = 12
[stg.model]
max_gaussians = 200
sh_degree = 0
[4dgaussians]
steps = 12
[4dgaussians.model]
background = "black"
max_gaussians = 200
coarse_steps = 4
grid_resolution = 8
time_resolution = 8
width = 16
[router]
steps = 6
"""
SUITE = """
description: The smallest suite that does everything.
scenes: [examples/mixed]
experts: [[stg, 4dgaussians]]
seeds: [3]
preset: {preset}
prune: {{ratios: [0.5]}}
"""
_PATIENCE_SECONDS = 900.0


@pytest.mark.slow
def test_a_suite_is_interrupted_and_gone_on_with_on_a_cluster(project_root: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "small.yaml").write_text(SUITE.format(preset=tmp_path / "tiny.toml"))
    script = "from moegs_ns.cli.main import main; main()"
    command = [
        sys.executable,
        "-c",
        script,
        "bench",
        str(tmp_path / "small.yaml"),
        "--output-dir",
        str(tmp_path / "runs"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(project_root), "CUDA_VISIBLE_DEVICES": ""}
    runs = tmp_path / "runs" / "mixed"

    first = subprocess.Popen([*command, "--devices", "cpu"], env=environment, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not list((runs / "moegs-stg" / "tiny-seed3" / "nerfstudio_models").glob("*.ckpt")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    told, _ = first.communicate(timeout=_PATIENCE_SECONDS)
    assert first.returncode == 143
    assert "[0/4] mixed/moegs-stg/tiny-seed3: begun" in told
    assert not (runs / "moegs-router").exists()

    def bench(*options: str) -> str:
        done = subprocess.run(
            [*command, *options],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    assert "4 jobs: 0 finished" in bench("--plan")
    said = bench("--cluster", "local")
    assert said.count("submitted as ") == 4
    mixture = runs / "moegs-router" / "tiny-seed3-stg+4dgaussians"
    pruned = mixture.with_name(f"{mixture.name}-gate-50")
    counts = [json.loads((run / "run.json").read_text())["model"]["num_gaussians"] for run in (mixture, pruned)]
    assert counts[1] == round(counts[0] / 2)
    for row in ("stg", "4dgaussians", "stg + 4dgaussians", "stg + 4dgaussians, 50% pruned"):
        assert row in said
    written = (tmp_path / "runs" / "small.md").read_text()
    assert "4 of 4 jobs are finished." in written and "| **stg + 4dgaussians, 50% pruned** |" in written

    log = runs / "moegs-stg" / "tiny-seed3" / "train.log"
    before = log.stat().st_mtime_ns
    assert bench("--cluster", "local").count("finished before: ") == 4
    assert log.stat().st_mtime_ns == before
    assert "4 jobs: 4 finished" in bench("--plan")
    bench("--report")
    assert (tmp_path / "runs" / "small.md").read_text() == written
