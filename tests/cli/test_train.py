"""``moegs train`` for real: all stages on the sample scene, killed on the way and run again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moegs_ns.runs.checkpoint_files import list_checkpoints
from moegs_ns.runs.record import read_run_record

TINY = Path(__file__).parents[1] / "training" / "tiny.toml"
PATIENCE = 300.0


def command(scene: Path, outputs: Path, *options: str) -> list[str]:
    moegs = [sys.executable, "-c", "from moegs_ns.cli.main import main; main()"]
    return [*moegs, "train", str(scene), "--preset", str(TINY), "--output-dir", str(outputs), *options]


@pytest.mark.slow
def test_all_stages_survive_a_kill(sample_scene: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    runs = outputs / "mixed"
    stg = runs / "moegs-stg" / "tiny-seed42"
    mixture = runs / "moegs-router" / "tiny-seed42-stg+4dgaussians"
    options = ("--experts", "stg", "4dgaussians", "--objects", "--render")

    killed = subprocess.Popen(command(sample_scene, outputs, *options), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while not list_checkpoints(stg / "nerfstudio_models"):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()

    again = subprocess.run(
        command(sample_scene, outputs, *options), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert re.search(r"moegs-stg: (resuming|finished before)", again.stdout)
    if "moegs-stg: resuming" in again.stdout:
        assert read_run_record(stg)["resumed_from"]
        assert "Resuming after" in (stg / "train.log").read_text("utf8")
    for run, steps in ((stg, 60), (runs / "moegs-4dgaussians" / "tiny-seed42", 60), (mixture, 40)):
        assert read_run_record(run)["progress"]["steps_done"] == steps
        assert json.loads((run / "eval_test.json").read_text("utf8"))["results"]["protocol"]["step"] == steps - 1
        assert f"{run}/train.log" in again.stdout
    pictures = [mixture / "pictures" / name for name in ("comparison-cam00.mp4", "gates-cam00.png")]
    assert all(file.stat().st_size > 1000 and str(file) in again.stdout for file in pictures)
    table = again.stdout[again.stdout.index("mixed: stg + 4dgaussians") :]
    for label in ("best expert", "mean of experts", "9x9-smoothed oracle", "pixel oracle", "mixture", "rotor"):
        assert label in table

    scores = json.loads((mixture / "eval_test.json").read_text("utf8"))["results"]
    objects = json.loads((mixture / "object_psnr_test.json").read_text("utf8"))
    static = objects["psnr"]["rgb"]["static"]
    assert abs(static - scores["psnr"]) < 3.0 and objects["psnr"]["pixel_oracle"]["static"] > static

    before = {file: file.stat().st_mtime_ns for file in runs.rglob("*") if file.is_file()}
    third = subprocess.run(
        command(sample_scene, outputs, *options), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert third.returncode == 0
    assert third.stdout.count("finished before") == 3
    assert {file: file.stat().st_mtime_ns for file in runs.rglob("*") if file.is_file()} == before


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_everything_in_order(sample_scene: Path, tmp_path: Path, number: int, status: int) -> None:
    stg = tmp_path / "mixed" / "moegs-stg" / "tiny-seed42"
    process = subprocess.Popen(
        command(sample_scene, tmp_path, "--experts", "stg"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, this test run perhaps among them, ignore interrupts, and so would their children.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    deadline = time.monotonic() + PATIENCE
    while not (stg / "run.json").is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task")
    ids = {int(child) for task in children.iterdir() for child in (task / "children").read_text().split()}
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status
    assert "The same command goes on where it stopped" in error
    assert ids and not [child for child in ids if Path(f"/proc/{child}").exists()]
    assert read_run_record(stg)["progress"]["status"] in ("interrupted", "finished")


@pytest.mark.slow
def test_a_failing_stage_is_told_in_one_line(sample_scene: Path, tmp_path: Path) -> None:
    scene = tmp_path / "mixed"
    shutil.copytree(sample_scene, scene, ignore=shutil.ignore_patterns("mask", "cam01.mp4"))
    for frame in range(24):  # of sixteen bits, which only decoding finds out
        picture = Image.fromarray(np.zeros((240, 320), np.uint16))
        (scene / "cam01").mkdir(exist_ok=True)
        picture.save(scene / "cam01" / f"{frame:02d}.png")
    done = subprocess.run(
        command(scene, tmp_path, "--experts", "stg"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "8-bit" in done.stderr and "mixed/moegs-stg/tiny-seed42/train.log" in done.stderr
