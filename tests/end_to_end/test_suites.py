"""Suites as benchmarks run them: what is kept, and the page written from what was kept."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TINY_PRESET = """
[data]
downscale = 8
[stg]
steps = 12
[stg.model]
max_gaussians = 200
seed_copies = 1
sh_degree = 0
"""


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    """The benchmark scripts as modules; they find one another as scripts of one folder do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return {name: importlib.import_module(name) for name in ("suites", "write_results", "run_suite")}


def kept_run(seed: int, psnr: float, fps: float = 100.0) -> dict[str, Any]:
    """What a run leaves behind, by hand."""
    protocol = {
        "split": "test",
        "images": 24,
        "cameras": ["cam00"],
        "frames": {"first": 0, "last": 23, "distinct": 24},
        "resolution": [160, 120],
        "metrics": {"psnr": "a definition", "ssim": "another"},
        "device": "cpu, 2 threads",
        "step": 11,
    }
    return {
        "schema_version": 1,
        "run": f"mixed/moegs-stg/quick-seed{seed}",
        "command": f"ns-train moegs-stg --machine.seed {seed} --data examples/mixed n3v-data",
        "record": {
            "method": "moegs-stg",
            "expert": {"name": "stg", "config": {}},
            "seed": seed,
            "device": {"type": "cpu", "name": "A Processor"},
            "source": {"commit": "0123456789abcdef", "modified": False},
            "model": {"num_gaussians": 15000},
            "num_parameters": 15000 * 38,
            "scene": {"scene": "mixed"},
            "progress": {"steps_done": 12, "training_seconds": 60.0},
        },
        "scores": {"psnr": psnr, "ssim": 0.9, "fps": fps, "protocol": protocol},
        "per_image": [],
        "suite": {"name": "try", "description": "A scene to try.", "preset": "quick", "seeds": [1, 2]},
        "measurement": {
            "machine": {
                "processor": "A Processor",
                "cores": 2,
                "memory_gib": 24,
                "system": "Linux x86_64",
                "vector_extensions": "AVX2",
            },
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "measured": "2026-01-02T03:04:05+00:00",
        },
        "temporal_mean": {"psnr": 26.5, "images": 24},
    }


def test_what_is_kept_names_no_folder_of_this_machine(
    scripts: dict[str, ModuleType], project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suites = scripts["suites"]
    home = Path.home()
    told = {"a": [f"--data {project_root}/examples/mixed", f"{suites.data_dir()}/basketball"], "b": f"{home}/weights"}
    said = suites.portable(told)
    assert said["a"][0] == "--data examples/mixed"
    assert said["a"][1] in ("../shared/data/basketball", "$MOEGS_DATA_DIR/basketball")
    assert said["b"] == "~/weights"


def test_the_page_states_means_seeds_commands_and_machine(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / "try").mkdir()
    for seed, psnr in ((1, 28.0), (2, 29.0)):
        (tmp_path / "try" / f"{seed}.json").write_text(json.dumps(kept_run(seed, psnr)))
    text = scripts["write_results"].page(tmp_path)
    assert "## try" in text
    assert "| temporal mean | 26.50 |" in text
    assert "28.50 ± 0.71" in text  # mean of 28 and 29, sample standard deviation 0.7071
    assert "stg +2.00 ± 0.71 dB" in text
    assert "15,000" in text
    assert "seeds 1, 2" in text
    for seed in (1, 2):
        assert f"ns-train moegs-stg --machine.seed {seed} --data examples/mixed n3v-data  # seed {seed}" in text
    assert "A Processor, 2 cores (AVX2), 24 GiB" in text
    assert "commit 012345678;" in text


def test_results_of_another_version_are_refused(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / "try").mkdir()
    (tmp_path / "try" / "1.json").write_text(json.dumps({**kept_run(1, 28.0), "schema_version": 0}))
    with pytest.raises(ValueError, match="schema version 1"):
        scripts["write_results"].page(tmp_path)


def test_the_page_in_the_repository_is_what_the_script_writes(
    scripts: dict[str, ModuleType], project_root: Path
) -> None:
    """Whoever keeps new results, or edits the page by hand, must write it anew."""
    page = project_root / "docs" / "results.md"
    assert page.read_text("utf8") == scripts["write_results"].page(project_root / "benchmarks" / "results")


@pytest.mark.slow
def test_a_suite_is_trained_evaluated_and_kept_once(project_root: Path, tmp_path: Path) -> None:
    (tmp_path / "preset.toml").write_text(TINY_PRESET)
    (tmp_path / "tiny.toml").write_text(
        f'description = "Tiny."\ndata = "examples/mixed"\npreset = "{tmp_path}/preset.toml"\n'
        'experts = [["stg"]]\nseeds = [7]\n'
    )

    def run() -> str:
        script = [sys.executable, str(project_root / "benchmarks" / "run_suite.py"), str(tmp_path / "tiny.toml")]
        folders = ["--output-dir", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
        done = subprocess.run([*script, *folders], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    assert "trained: mixed/moegs-stg/preset-seed7" in run()
    (file,) = (tmp_path / "results" / "tiny").glob("*.json")
    text = file.read_text()
    kept = json.loads(text)
    assert kept["scores"]["protocol"]["resolution"] == [40, 30]
    assert kept["record"]["progress"]["steps_done"] == 12
    assert kept["temporal_mean"]["images"] == len(kept["per_image"]) == 24
    assert {one["object"] for one in kept["motion"]["tracks"]} == {"rotor", "ball", "cloth"}
    assert kept["objects"]["appearing"]["popup"]["phases"] == [[0, 7, False], [8, 16, True], [17, 23, False]]
    assert set(kept["objects"]["objects"]) == {"static", "rotor", "ball", "cloth", "popup"}
    # A sharper picture has a lower temporal mean: at full size it is 26.2 dB.
    assert 26.2 < kept["temporal_mean"]["psnr"] < 33
    assert str(project_root) not in text
    assert "skipped: mixed/moegs-stg/preset-seed7" in run()
    assert file.read_text() == text
