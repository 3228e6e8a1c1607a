"""The command line as a whole: it answers at once, and says in one line what is wrong."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moegs_ns.cli.devices import chosen_devices
from moegs_ns.cli.main import run
from moegs_ns.training.stages import Scene, plan
from tests.reporting.runs import leave_mixture
from tests.training.fake_processes import leave_run

HEAVY = ("torch", "nerfstudio", "av", "numpy")


def moegs(arguments: list[object], capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = run([str(argument) for argument in arguments])
    return status, *capfd.readouterr()


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["train", "--help"], ["report", "--help"], ["render", "--help"], ["prune", "--help"]),
        *(["report", "motion", "--help"], ["report", "gates", "--help"], ["export", "--help"]),
        *(["render", "fixed", "--help"], ["render", "bullet-time", "--help"], ["render", "path", "--help"]),
        *(["data", "--help"], ["data", "check", "--help"], ["data", "prepare", "--help"]),
    ],
)
def test_help_is_quick_because_it_imports_little(arguments: list[str]) -> None:
    code = (
        "import sys, atexit; from moegs_ns.cli.main import main; "
        f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules])); main({arguments})"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.perf_counter() - start < 3.0  # a fifth of a second where nothing else runs


def test_the_command_is_installed(project_root: Path) -> None:
    import tomllib

    scripts = tomllib.loads((project_root / "pyproject.toml").read_text("utf8"))["project"]["scripts"]
    module, function = scripts["moegs"].split(":")
    code = f"from {module} import {function}; {function}(['--help'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere"], "expected a folder with the scene at nowhere, found none"),
        (["train", ".", "--experts", "stg", "gan"], "unknown experts gan; known: 4dgaussians, ed3dgs, ex4dgs, stg"),
        (["train", ".", "--experts", "stg", "--num-experts", "2"], "expected one of --experts and --num-experts"),
        (["train", ".", "--num-experts", "5"], "expected --num-experts 2, 3 or 4"),
        (
            ["train", ".", "--preset", "slow"],
            "unknown preset 'slow'; known: budget-10, budget-20, budget-50, demo, one-camera, paper, pixel-router",
        ),
        (["report", "nowhere"], "expected the run record nowhere, found none"),
        (["report"], "expected run folders to report on, found none"),
        (["render", "nowhere"], "expected the run record nowhere, found none"),
        (["export", "nowhere"], "expected the run record nowhere, found none"),
        (["export", "first:end:step"], "expected the run record first:end:step, found none"),
        (["export", "nowhere", "--max-mb", "3"], "expected --format html beside --max-mb, found --format ply"),
        (["render", "spiral", "nowhere"], "expected the run record nowhere, found none"),
        (
            ["report", "nowhere", "--", "--downscale", "2"],
            "only `moegs train` and `moegs data check` take options",
        ),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, error = moegs(arguments, capfd)
    assert status == 1
    assert message in error
    assert error.startswith("error: ") and len(error.splitlines()) == 1


def test_errors_nobody_expected_keep_their_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_folder = leave_mixture(tmp_path, {"stg": 30.0, "4dgaussians": 29.0}, 30.5)
    monkeypatch.setattr("moegs_ns.reporting.tables.build_tables", lambda results: int("no number"))
    with pytest.raises(ValueError, match="invalid literal"):
        run(["report", str(run_folder)])


def test_expected_ones_too_where_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected the run record"):
        run(["--debug", "report", str(tmp_path / "nowhere")])


def test_planning_shows_command_lines_and_touches_nothing(
    sample_scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "outputs"
    options = ["--plan", "--output-dir", outputs, "--experts", "stg", "4dgaussians", "--seed", 3]
    status, shown, _ = moegs(["train", sample_scene, *options, "--", "--downscale", 4], capfd)
    assert status == 0
    lines = [line.strip() for line in shown.splitlines() if "ns-train" in line]
    assert [line.split()[1] for line in lines] == ["moegs-stg", "moegs-4dgaussians", "moegs-router"]
    assert all(line.endswith("n3v-data --downscale 4") for line in lines)
    assert all("--machine.seed 3" in line for line in lines)
    assert not outputs.exists()


def test_planning_refuses_what_training_would_refuse(
    sample_scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A run of this name that was trained on another scene, here one of more frames."""
    stage = plan(Scene(sample_scene, output_dir=tmp_path), ["stg"], "demo")[0]
    leave_run(stage.run, stage.command(), stage.steps)
    record = json.loads((stage.run / "run.json").read_text("utf8"))
    scene = {"data": "/elsewhere/mixed", "num_frames": 300, "near": 1.8933537006378174}
    (stage.run / "run.json").write_text(json.dumps({**record, "scene": scene}))
    before = sorted(tmp_path.rglob("*"))
    for options in (["--plan"], []):
        arguments = ["train", sample_scene, "--output-dir", tmp_path, "--experts", "stg", "--preset", "demo", *options]
        status, shown, error = moegs(arguments, capfd)
        assert status == 1
        assert f"ns-train moegs-stg --output-dir {tmp_path}" in shown
        assert "trained on /elsewhere/mixed (num_frames 300 instead of 24)" in error
        assert error.startswith("error: ") and len(error.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
    (stage.run / "run.json").write_text(json.dumps({**record, "scene": {**scene, "num_frames": 24}}))
    status, shown, _ = moegs([*arguments, "--plan"], capfd)
    assert status == 0 and "warning: " in shown and "taken for a copy of it" in shown


def test_presets_and_experts_have_defaults(sample_scene: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, shown, _ = moegs(["train", sample_scene, "--plan"], capfd)
    assert "outputs/mixed/moegs-router/quick-seed42-ex4dgs+stg+ed3dgs+4dgaussians" not in shown
    assert "--timestamp quick-seed42-ex4dgs+stg+ed3dgs+4dgaussians" in shown
    _, shown, _ = moegs(["train", sample_scene, "--plan", "--preset", "paper"], capfd)
    assert "--timestamp paper-seed42 " in shown and "--max-num-iterations" not in shown


def test_reports_go_to_a_file_as_markdown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = leave_mixture(tmp_path, {"stg": 30.0, "4dgaussians": 29.0}, 30.5)
    target = tmp_path / "new" / "table.md"
    status, shown, _ = moegs(["report", folder, "--format", "markdown", "--output", target], capfd)
    assert (status, shown) == (0, "")
    assert "| **mixture** | **30.50** |" in target.read_text("utf8")
    status, shown, _ = moegs(["report", folder, "--format", "markdown"], capfd)
    assert shown == target.read_text("utf8") + "\n"


def test_reports_in_a_file_are_plain_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = leave_mixture(tmp_path, {"stg": 30.0, "4dgaussians": 29.0}, 30.5)
    status, *_ = moegs(["report", folder, "--output", tmp_path / "table.txt"], capfd)
    text = (tmp_path / "table.txt").read_text("utf8")
    assert status == 0
    assert "\x1b" not in text and "8 (208)" in text


def test_scenes_without_masks_have_no_objects(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = leave_mixture(tmp_path, {"stg": 30.0, "4dgaussians": 29.0}, 30.5)
    status, shown, _ = moegs(["report", folder, "--objects"], capfd)
    assert status == 0
    assert "no object masks" in shown


@pytest.mark.parametrize(
    ("wanted", "count", "visible", "devices"),
    [
        ((), 0, None, (None,)),
        ((), 1, None, (None,)),
        ((), 3, None, ("0", "1", "2")),
        ((), 2, "4,6", ("4", "6")),
        (("1", "cpu"), 2, None, ("1", "cpu")),
    ],
)
def test_devices(
    monkeypatch: pytest.MonkeyPatch, wanted: tuple[str, ...], count: int, visible: str | None, devices: tuple
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert chosen_devices(wanted) == devices
