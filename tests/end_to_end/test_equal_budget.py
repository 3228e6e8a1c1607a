"""The equal-budget single expert: what it is given, that it is trained once, and its row beside the mixture's."""

import dataclasses
import importlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from moegs_ns.benching.suite_files import read_suite
from moegs_ns.experts.recipes import Recipe
from moegs_ns.runs.record import read_run_record, write_run_record
from moegs_ns.training.stages import Stage
from tests.reporting.runs import protocol
from tests.training.fake_processes import FakeProcesses, value_of

EXPERTS = ("stg", "4dgaussians")
PRESET = """
[data]
downscale = 8
[stg]
steps = 60
motion_seeds = 400
[stg.model]
max_gaussians = 1000
densify_stop = 40
[4dgaussians]
steps = 60
[4dgaussians.model]
max_gaussians = 2000
[router]
steps = 40
"""


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return {name: importlib.import_module(name) for name in ("suites", "write_results", "equal_budget")}


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    (tmp_path / "preset.toml").write_text(PRESET)
    file = tmp_path / "try.toml"
    file.write_text(
        f'description = "A scene to try."\ndata = "examples/mixed"\npreset = "{tmp_path}/preset.toml"\n'
        'experts = [["stg", "4dgaussians"]]\nseeds = [1, 2]\n'
    )
    return file


def kept(stage: Stage, record: dict[str, Any], scores: dict[str, Any], seed: int) -> dict[str, Any]:
    """What run_suite keeps of a run, by hand."""
    machine = {"processor": "A Processor", "cores": 2, "memory_gib": 24, "system": "Linux", "vector_extensions": "AVX2"}
    common = {
        "method": stage.method,
        "seed": seed,
        "device": {"name": "A Processor"},
        "source": {"commit": "0123456789abcdef", "modified": False},
        "num_parameters": 1000,
        "scene": {"scene": "mixed"},
    }
    return {
        "schema_version": 1,
        "run": "/".join(stage.run.parts[-3:]),
        "command": stage.shown(),
        "record": {**common, **record},
        "scores": {"ssim": 0.9, "fps": 50.0, "protocol": protocol(59), **scores},
        "per_image": [],
        "suite": {"name": "try", "description": "A scene to try.", "preset": "quick", "seeds": [1, 2]},
        "measurement": {
            "machine": machine,
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "measured": "2026-01-02T03:04:05+00:00",
        },
        "temporal_mean": {"psnr": 20.0, "images": 24},
    }


def keep_suite(scripts: dict[str, ModuleType], suite_file: Path, folder: Path) -> Path:
    """Two seeds of a mixture. stg wins in seed 1, 4dgaussians in seed 2 and on average (29.2 against 29.0)."""
    plans = read_suite(str(suite_file)).plans(folder / "runs")
    psnr = {1: (29.5, 29.0), 2: (28.5, 29.4)}
    for seed, stages in zip((1, 2), plans, strict=True):
        experts = zip(EXPERTS, stages, psnr[seed], (900, 1600), (100.0, 50.0), strict=False)
        files = [
            kept(
                stage,
                {
                    "expert": {"name": name, "config": {}},
                    "model": {"num_gaussians": count},
                    "progress": {"steps_done": 60, "training_seconds": seconds},
                },
                {"psnr": score},
                seed,
            )
            for name, stage, score, count, seconds in experts
        ]
        runs = [str(stage.run) for stage in stages[:2]]
        scores = {f"expert_{name}/{metric}": v for name, s in zip(EXPERTS, psnr[seed], strict=True)
                  for metric, v in (("psnr", s), ("ssim", 0.8))}  # fmt: skip
        model = {"experts": list(EXPERTS), "num_gaussians": 2500}
        progress = {"steps_done": 40, "training_seconds": 6.0}
        expert = {"name": "router", "config": {"experts": runs}}
        record = {"expert": expert, "model": model, "progress": progress}
        files.append(kept(stages[-1], record, {"psnr": 30.0, **scores}, seed))
        for number, file in enumerate(files):
            target = folder / "results" / "try" / f"{seed}-{number}.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(file))
    return folder / "results"


@pytest.fixture
def arguments(scripts: dict[str, ModuleType], suite_file: Path, tmp_path: Path) -> Any:
    results = keep_suite(scripts, suite_file, tmp_path)
    return scripts["equal_budget"].Arguments(
        str(suite_file), slowdown=1.2, output_dir=tmp_path / "runs", results=results
    )


class Trained(FakeProcesses):
    """Leaves a record and scores a suite can keep."""

    def run(self, command: Sequence[str], log: Path, device: str | None = None, append: bool = False) -> None:
        super().run(command, log, device, append)
        if command[0] != "ns-train":
            return
        record = read_run_record(log.parent)
        steps = int(value_of(command, "--max-num-iterations"))
        record |= {
            "expert": {"name": command[1].removeprefix("moegs-"), "config": {}},
            "seed": int(value_of(command, "--machine.seed")),
            "model": {"num_gaussians": 2400},
            "num_parameters": 1000,
            "device": {"name": "A Processor"},
            "source": {"commit": "0123456789abcdef", "modified": False},
            "datamanager": {"dataparser": {}},
            "scene": {"scene": "mixed", "data": "without masks", "num_frames": 24},
            "progress": {"steps_done": steps, "training_seconds": 160.0},
        }
        write_run_record(log.parent / "run.json", record)

    def _evaluate(self, command: Sequence[str]) -> None:
        run = Path(value_of(command, "--load-config")).parent
        step = read_run_record(run)["progress"]["steps_done"] - 1
        scores = {"psnr": 29.75, "ssim": 0.9, "fps": 40.0, "protocol": protocol(step), "per_image": []}
        Path(value_of(command, "--output-path")).write_text(json.dumps({"results": scores}))


# -- what it is given ------------------------------------------------------------------------------------------------


def test_the_best_expert_over_all_seeds_gets_the_mixtures_gaussians_and_time(
    scripts: dict[str, ModuleType], arguments: Any
) -> None:
    suite = read_suite(arguments.suite)
    planned = scripts["equal_budget"].plan_rivals(suite, arguments)
    assert [stage.run.name for stage, _ in planned] == ["equal-budget-seed1", "equal-budget-seed2"]
    for seed, (stage, about) in zip((1, 2), planned, strict=True):
        command = stage.command()
        assert stage.method == "moegs-4dgaussians"
        assert value_of(command, "--pipeline.model.max-gaussians") == "2500"
        # 100 + 50 + 6 seconds, of which 60 steps took 50, a step taking 1.2 times as long: 60 * 156 / 50 / 1.2
        assert value_of(command, "--max-num-iterations") == "156" and stage.steps == 156
        assert value_of(command, "--pipeline.model.coarse-steps") == "7800"  # 3000 * 2.6
        assert value_of(command, "--machine.seed") == str(seed)
        assert value_of(command, "--downscale") == "8"
        assert about["own_run"] == f"mixed/moegs-4dgaussians/preset-seed{seed}"
        assert about["rival_of"] == f"mixed/moegs-router/preset-seed{seed}-stg+4dgaussians"
        assert (about["gaussians"], about["seconds"], about["own_seconds"]) == (2500, 156.0, 50.0)


@pytest.mark.parametrize(("limit", "seeds"), [({"max_gaussians": 1000}, 1000), ({}, 1250)])
def test_seeds_from_motion_grow_with_the_number_of_gaussians(
    scripts: dict[str, ModuleType], limit: dict[str, int], seeds: int
) -> None:
    """400 seeds at a limit of 1000, or without a limit at the 800 Gaussians the expert ended with."""
    budget = scripts["equal_budget"].Budget(
        rival_of="", seed=1, family="stg", gaussians=2500, clock="wall", seconds=200.0, own_run="", own_gaussians=800,
        own_seconds=100.0, own_steps=60, slowdown=1.0, router="volume-aware pixel router",
    )  # fmt: skip
    own = Recipe(60, 2, True, motion_seeds=400, model={**limit, "densify_stop": 40, "densify_interval": 10})
    recipe = budget.recipe(own)
    assert (recipe.steps, recipe.motion_seeds) == (120, seeds)
    assert recipe.model == {"max_gaussians": 2500, "densify_stop": 80, "densify_interval": 10}
    assert budget.recipe(dataclasses.replace(own, motion_seeds=0)).motion_seeds == 0
    thinned = dataclasses.replace(own, model={**own.model, "max_seeds": 4})
    assert budget.recipe(thinned).model["max_seeds"] == round(4 * seeds / 400)


def test_results_of_another_recipe_are_refused(
    scripts: dict[str, ModuleType], arguments: Any, suite_file: Path
) -> None:
    preset = suite_file.with_name("preset.toml")
    preset.write_text(preset.read_text().replace("max_gaussians = 2000", "max_gaussians = 3000"))
    suite = read_suite(arguments.suite)
    with pytest.raises(ValueError, match=r"--pipeline.model.max-gaussians 2000 instead of 3000.*run_suite"):
        scripts["equal_budget"].plan_rivals(suite, arguments)


def test_results_that_are_missing_are_named(scripts: dict[str, ModuleType], arguments: Any) -> None:
    plan_rivals, suite = scripts["equal_budget"].plan_rivals, read_suite(arguments.suite)
    with pytest.raises(ValueError, match="mixture of stg stg, found mixtures of: stg 4dgaussians"):
        plan_rivals(suite, dataclasses.replace(arguments, experts=("stg", "stg")))
    (arguments.results / "try" / "1-1.json").unlink()
    with pytest.raises(ValueError, match="preset-seed1 was not kept; run benchmarks/run_suite"):
        plan_rivals(suite, arguments)
    for file in (arguments.results / "try").glob("*-2.json"):
        file.unlink()
    with pytest.raises(ValueError, match="one set of experts, found sets: none"):
        plan_rivals(suite, arguments)


def test_with_several_mixtures_one_must_be_named(scripts: dict[str, ModuleType], arguments: Any) -> None:
    results = [result for _, result in scripts["suites"].read_results(arguments.results / "try")]
    mixture = next(result for result in results if result.expert_names)
    record = {**mixture.record, "model": {**mixture.record["model"], "experts": ["stg", "stg_2"]}}
    other = dataclasses.replace(mixture, record=record)
    chosen = scripts["equal_budget"].mixtures_of
    with pytest.raises(ValueError, match="found sets: stg 4dgaussians; stg stg_2"):
        chosen([mixture, other])
    assert chosen([mixture, other], ("stg", "stg_2")) == [other]


# -- trained once and shown ------------------------------------------------------------------------------------------


def test_it_is_trained_evaluated_kept_and_shown_beside_the_mixture(
    scripts: dict[str, ModuleType], arguments: Any
) -> None:
    processes = Trained()
    scripts["equal_budget"].main(arguments, processes)
    assert [command[0] for command in processes.calls] == ["ns-train", "ns-eval"] * 2
    again = Trained()
    scripts["equal_budget"].main(arguments, again)
    assert again.calls == []

    files = sorted((arguments.results / "try").glob("*equal-budget*"))
    assert len(files) == 2
    kept_file = json.loads(files[0].read_text())
    assert kept_file["equal_budget"]["steps"] == 156
    text = scripts["write_results"].page(arguments.results)
    lines = text.splitlines()
    rows = [line.split("|")[1].strip(" *") for line in lines if line.startswith("|")]
    assert rows[-2:] == ["mixture", "4dgaussians (equal-budget)"]
    row = next(line for line in lines if line.startswith("| 4dgaussians (equal-budget)"))
    assert "| 29.75 ± 0.00 | 0.9000 ± 0.0000 |" in row
    assert "| 2,400 ± 0 |" in row and row.endswith("| 160 ± 0 |")
    mixture = next(line for line in lines if line.startswith("| **mixture**"))
    assert "**2,500 ± 0**" in mixture and "**6 ± 0 (156 ± 0)**" in mixture
    assert (
        "It has 2,400 ± 0 Gaussians after 160 ± 0 s of training (wall time); the mixture with its experts has 2,500 ± 0"
        in text
    )
    assert "The mixture is +0.25 ± 0.00 dB from it (seeds 1, 2)." in text and "a choice that favours it" in text
    assert "2.60 ± 0.00 times its steps" in text
    # The expert that is mixed and the one that is not are two: 29.2 and 29.75 above 20.
    assert "4dgaussians +9.20 ± 0.28 dB, mixture +10.00 ± 0.00 dB" in text
    assert "4dgaussians (equal-budget) +9.75 ± 0.00 dB" in text
    again = "equal_budget.py try --slowdown 1.2 --experts stg 4dgaussians --name equal-budget`, which run"
    assert f"`python benchmarks/run_suite.py try` and `python benchmarks/{again}" in text
    assert any(shlex.split(line)[5] == "equal-budget-seed2" for line in lines if line.startswith("ns-train"))


def test_a_rival_that_is_no_longer_the_best_is_said_so(scripts: dict[str, ModuleType], arguments: Any) -> None:
    """The mixture was trained again after its rival, and another expert is ahead in it."""
    scripts["equal_budget"].main(arguments, Trained())
    best = "the expert with the highest mean score on these very test images"
    assert f"4dgaussians (equal-budget): {best}" in scripts["write_results"].page(arguments.results)
    for file in (arguments.results / "try").glob("*-2.json"):
        mixture = json.loads(file.read_text())
        mixture["scores"]["expert_stg/psnr"] = 29.6
        file.write_text(json.dumps(mixture))
    text = scripts["write_results"].page(arguments.results)
    other = "not the expert with the highest mean score on these test images, which is stg, trained alone"
    assert f"4dgaussians (equal-budget): {other}" in text and best not in text


def test_a_plan_trains_nothing(
    scripts: dict[str, ModuleType], arguments: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    processes = Trained()
    scripts["equal_budget"].main(dataclasses.replace(arguments, plan=True), processes)
    assert processes.calls == []
    said = capsys.readouterr().out
    assert "4dgaussians had 1,600 and 60 steps in 50 s; it gets 2,500 and 156 steps" in said
    assert said.count("ns-train moegs-4dgaussians") == 2 and said.count("# missing") == 2
    assert not list((arguments.results / "try").glob("*equal-budget*"))
