"""Suites: what is trained, what is kept of it, and the page written from what was kept."""

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


@pytest.mark.parametrize("name", ["basketball_quick", "basketball_five", "mixed_demo"])
def test_shipped_suites_name_what_exists(scripts: dict[str, ModuleType], name: str, tmp_path: Path) -> None:
    suite = scripts["suites"].read_suite(name)
    if suite.data.startswith("examples"):
        plans = suite.plans(tmp_path)
        assert len(plans) == len(suite.seeds)
        methods = {stage.method for stage in plans[0]}
        assert {f"moegs-{name}" for names in suite.experts for name in names} <= methods
    for experts in suite.experts:
        for expert in (*experts, *(["router"] if len(experts) > 1 else [])):
            from moegs_ns.experts.recipes import load_recipe

            assert load_recipe(expert, suite.preset).steps > 0


def test_runs_of_a_suite_with_options_lie_apart(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    usual = scripts["suites"].Suite("usual", "", "examples/mixed", (("stg",),), (1,), "demo")
    other = scripts["suites"].Suite("other", "", "examples/mixed", (("stg",),), (1,), "demo", options=("--x", "y"))
    (mine,), (theirs,) = usual.plans(tmp_path)[0], other.plans(tmp_path)[0]
    assert mine.run == tmp_path / "mixed" / "moegs-stg" / "demo-seed1"
    assert theirs.run == tmp_path / "other" / "mixed" / "moegs-stg" / "demo-seed1"


def test_experts_that_sets_share_are_one_stage(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    sets = (("stg", "4dgaussians"), ("stg", "ed3dgs", "4dgaussians"), ("stg",))
    suite = scripts["suites"].Suite("try", "", "examples/mixed", sets, (1, 2), "demo")
    for seed, stages in zip((1, 2), suite.plans(tmp_path), strict=True):
        assert [f"{stage.run.parent.name}/{stage.run.name}" for stage in stages] == [
            f"moegs-stg/demo-seed{seed}",
            f"moegs-4dgaussians/demo-seed{seed}",
            f"moegs-router/demo-seed{seed}-stg+4dgaussians",
            f"moegs-ed3dgs/demo-seed{seed}",
            f"moegs-router/demo-seed{seed}-stg+ed3dgs+4dgaussians",
        ]
        names = {stage.run: stage.method for stage in stages}
        assert [[names[run] for run in stage.needs] for stage in stages if stage.needs] == [
            ["moegs-stg", "moegs-4dgaussians"],
            ["moegs-stg", "moegs-ed3dgs", "moegs-4dgaussians"],
        ]


def test_a_suite_that_does_not_exist_is_refused_with_those_that_do(scripts: dict[str, ModuleType]) -> None:
    with pytest.raises(ValueError, match="unknown suite 'nothing'; known: .*basketball_quick"):
        scripts["suites"].read_suite("nothing")


def test_a_suite_with_an_unknown_key_is_refused(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    file = tmp_path / "odd.toml"
    file.write_text('description = ""\ndata = "x"\nexperts = [["stg"]]\nseeds = [1]\npresets = "quick"\n')
    with pytest.raises(ValueError, match="presets"):
        scripts["suites"].read_suite(str(file))


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


def test_further_routers_share_the_experts_of_the_last_set(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    suite = scripts["suites"].Suite(
        name="some",
        description="a scene",
        data="examples/mixed",
        experts=(("stg", "4dgaussians"), ("stg", "ed3dgs")),
        seeds=(1,),
        preset="demo",
        routers=("pixel-router",),
    )
    (stages,) = suite.plans(tmp_path)
    assert [stage.run.relative_to(tmp_path / "mixed").as_posix() for stage in stages] == [
        "moegs-stg/demo-seed1",
        "moegs-4dgaussians/demo-seed1",
        "moegs-router/demo-seed1-stg+4dgaussians",
        "moegs-ed3dgs/demo-seed1",
        "moegs-router/demo-seed1-stg+ed3dgs",
        "moegs-router/demo+pixel-router-seed1-stg+ed3dgs",
    ]
