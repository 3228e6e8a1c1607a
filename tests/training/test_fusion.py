"""From a router run to a fused run through nerfstudio's commands, its fine-tuning, and what is refused."""

import copy
import importlib
import io
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.reporting.tables import build_tables
from moegs_ns.runs.checkpoint_files import list_checkpoints
from moegs_ns.runs.record import read_run_record
from moegs_ns.training.fusion import FusionPlan, make_finetuned, make_fused, plan_fusion
from moegs_ns.training.load_run import load_run
from moegs_ns.training.stages import Scene, Stage
from tests.training.inprocess import evaluate, start_training, train
from tests.training.test_trainer import assert_equal_state, load

pytestmark = pytest.mark.slow

SMALL = ["--vis", "tensorboard", "--pipeline.lpips"]
SCENE = ["n3v-data", "--downscale", "8", "--first-frame", "2", "--num-frames", "4", "--test-cams", "cam03"]


class InProcess:
    """Stands in for `Processes`: nerfstudio's commands, without new interpreters."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    def run(self, command: Sequence[str], log: Path, device: str | None = None, append: bool = False) -> None:
        self.commands.append([*command])
        log.parent.mkdir(parents=True, exist_ok=True)
        if command[0] == "ns-train":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", [*command])  # the record quotes it
                start_training(self.config([*command[1:]]))
        else:
            config, output = (Path(command[command.index(flag) + 1]) for flag in ("--load-config", "--output-path"))
            evaluate(config, output)

    @staticmethod
    def config(arguments: list[str]) -> Any:
        """The method's own config, whether or not the method is installed."""
        import tyro
        from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion  # noqa: F401  loads the plugins

        from moegs_ns.method_configs import moegs_fused

        assert arguments[0] == "moegs-fused"
        default = copy.deepcopy(moegs_fused.config)
        default.pipeline.lpips = ()
        config = tyro.cli(type(default), default=default, args=arguments[1:], config=(tyro.conf.FlagConversionOff,))
        if config.data is not None:  # as ns-train does
            config.pipeline.datamanager.data = config.data
        return config


@pytest.fixture(scope="module")
def mixture(sample_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture after a few steps; the experts' runs are gone."""
    outputs = tmp_path_factory.mktemp("outputs")

    def run(method: str, *options: object) -> Path:
        place = ["--output-dir", outputs, "--timestamp", "run", "--data", sample_scene]
        return train([method, *SMALL, *options, *place, *SCENE])

    steps = ("--max-num-iterations", 12, "--pipeline.model.max-gaussians", 400)
    stg = run("moegs-stg", *steps, "--pipeline.model.initial-log-time-scale", -2.3)
    deformed = run("moegs-4dgaussians", *steps, "--pipeline.model.coarse-steps", 4, "--pipeline.model.width", 8,
                   "--pipeline.model.background", "black")  # fmt: skip
    router = run("moegs-router", "--max-num-iterations", 6, "--experts", stg, deformed)
    shutil.rmtree(deformed)
    evaluate(router, router / "eval_test.json")
    return router


@pytest.fixture(scope="module")
def fusion(mixture: Path) -> tuple[FusionPlan, InProcess]:
    plan = plan_fusion(mixture, finetune_steps=6, finetune=("opacity", "all"), frame_stride=2)
    processes = InProcess()
    make_fused(plan, processes.run)
    return plan, processes


def test_a_fused_run_is_an_ordinary_run(fusion: tuple[FusionPlan, InProcess], mixture: Path) -> None:
    plan, processes = fusion
    run = plan.fused.run
    assert run == mixture.parents[1] / "moegs-fused" / "run"
    assert [command[0] for command in processes.commands] == ["ns-train", "ns-eval"]
    assert list(list_checkpoints(run / "nerfstudio_models")) == [0]
    record = read_run_record(run)
    facts = record["model"]["fused"]
    assert facts["source"] == str(mixture) and facts["checkpoint"] == "step-000000005.ckpt"
    assert (facts["frame_stride"], facts["views"], facts["temperature"]) == (2, 2 * 11, 1.0)
    assert 0 <= facts["unseen_share"] < 1 and facts["unseen"] <= record["model"]["num_gaussians"]
    assert record["expert"]["name"] == "fused" and record["progress"]["steps_done"] == 1
    assert record["scene"] == read_run_record(mixture)["scene"]
    result, before = read_result(run), read_result(mixture)
    assert (result.expert, result.expert_names) == ("fused", [])
    assert result.num_gaussians == before.num_gaussians
    assert result.megabytes < before.megabytes
    (table,) = build_tables([before, result])  # scored without LPIPS
    (cells,) = (cells for cells in table.rows if cells[0].startswith("fused (run)"))
    assert [name for name, cell in zip(table.header, cells, strict=True) if cell == "n/a"] == ["LPIPS"]


def test_it_renders_what_was_fused(fusion: tuple[FusionPlan, InProcess]) -> None:
    plan, _ = fusion
    loaded = load_run(plan.fused.run, device="cpu")
    rows = read_result(plan.fused.run).scores["per_image"]
    assert len(rows) == 4
    for view, row in zip(loaded.views(), rows, strict=True):
        outputs = loaded.model.get_outputs_for_camera(view.camera)
        error = (outputs["rgb"] - view.truth).square().mean()
        assert float(-10 * error.log10()) == pytest.approx(row["psnr"], abs=1e-3)
    mean = {
        name: float(one.mean()) for name, one in zip(loaded.model.expert_names, loaded.model.shares.values, strict=True)
    }
    assert mean == pytest.approx(loaded.model.shares.facts["mean_responsibility"], abs=1e-5)


def test_making_it_again_does_nothing_and_another_fusion_is_refused(
    fusion: tuple[FusionPlan, InProcess], mixture: Path
) -> None:
    plan, _ = fusion
    processes = InProcess()
    make_fused(plan, processes.run)
    assert processes.commands == []
    with pytest.raises(ValueError, match="found another one .frame_stride 2 instead of 1.; give the new run another"):
        make_fused(plan_fusion(mixture), processes.run)
    other = plan_fusion(mixture, name="other", frame_stride=4)
    make_fused(other, processes.run)
    assert other.fused.run.name == "other"


@pytest.mark.parametrize("what", ["opacity", "all"])
def test_fine_tuning_resumes_bit_for_bit(fusion: tuple[FusionPlan, InProcess], what: Any) -> None:
    plan, _ = fusion
    make_finetuned(plan, what, InProcess().run)
    stage = plan.finetuned[what]
    whole, start = load(stage.run), load(plan.fused.run)
    moved = {
        key
        for key, value in whole["pipeline"].items()
        if torch.is_tensor(value) and not torch.equal(value, start["pipeline"][key])
    }
    assert {key for key in moved if ".shares." in key} == {"_model.shares.values.0", "_model.shares.values.1"}
    tensors = {re.sub(r".*\.", "", key) for key in moved if ".experts." in key}
    expected = {"means", "scales", "quats", "opacities", "sh_base"} if what == "all" else set()
    assert expected <= tensors <= expected | {"sh_rest"}
    for key in moved:
        assert whole["pipeline"][key].isfinite().all()
    arguments = stage.named(f"cut-{what}").with_options(("--load-dir", str(plan.fused.run), "--steps-per-save", "3",
                                                         "--save-only-latest-checkpoint", "False"))  # fmt: skip
    config = InProcess.config(arguments.command()[1:])
    cut = start_training(config).base_dir
    resumed = InProcess.config(arguments.named(f"resumed-{what}").command()[1:])
    resumed.load_dir, resumed.load_step = cut, 3
    assert_equal_state(whole, load(start_training(resumed).base_dir))
    facts = read_run_record(stage.run)["model"]["fused"]
    assert facts == read_run_record(plan.fused.run)["model"]["fused"]
    assert read_run_record(stage.run)["progress"]["steps_done"] == 7


def test_what_cannot_be_fused_is_refused_beforehand(mixture: Path, tmp_path: Path) -> None:
    stg = mixture.parents[1] / "moegs-stg" / "run"
    with pytest.raises(ValueError, match="the run of a mixture .moegs-router., found a run of 'moegs-stg'"):
        plan_fusion(stg)
    with pytest.raises(FileNotFoundError, match="expected the run record"):
        plan_fusion(tmp_path)
    with pytest.raises(ValueError, match="0 or more steps"):
        plan_fusion(mixture, finetune_steps=-1)


def test_another_background_is_that_of_the_fused_set(mixture: Path) -> None:
    plan = plan_fusion(mixture, name="white", background="white")
    make_fused(plan, InProcess().run)
    assert read_run_record(plan.fused.run)["expert"]["config"]["background"] == "white"
    assert read_run_record(mixture)["expert"]["config"]["background"] == "own"


def test_the_command_prints_mixture_and_fused_side_by_side(
    fusion: tuple[FusionPlan, InProcess], mixture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from rich.console import Console

    from moegs_ns.cli import console
    from moegs_ns.cli.main import run
    from moegs_ns.training import processes

    shown = io.StringIO()
    monkeypatch.setattr(console, "make_console", lambda: Console(file=shown, width=160))
    monkeypatch.setattr(processes.Processes, "run", lambda self, *arguments: InProcess().run(*arguments))
    options = ["--output-dir", str(tmp_path), "--name", "side", "--frame-stride", "4", "--finetune-steps", "2"]
    assert run(["fuse", str(mixture), *options]) == 0
    text = shown.getvalue()
    assert "Responsibilities from 11 training images" in text
    rows = [line.split() for line in text.splitlines()]
    assert any(row[:1] == ["mixture"] for row in rows)
    assert {"(side)", "(side-opacity)"} <= {row[1] for row in rows if row[:1] == ["fused"]}
    assert (tmp_path / "mixed" / "moegs-fused" / "side-opacity" / "config.yml").is_file()


def test_the_benchmark_keeps_the_comparison_and_writes_its_section(
    fusion: tuple[FusionPlan, InProcess], mixture: Path, project_root: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.syspath_prepend(str(project_root / "benchmarks"))
    script, section, suites = (importlib.import_module(name) for name in ("fusion", "fusion_section", "suites"))
    done = Stage("moegs-router", mixture, 6, (), Scene(project_root / "examples" / "mixed"))
    monkeypatch.setattr(script, "mixtures_of", lambda *arguments: [done])
    arguments = script.Arguments(
        "mixed_demo", finetune_steps=6, frame_stride=2, results=tmp_path / "fusion", device="cpu"
    )
    processes = InProcess()
    script.main(arguments, processes)
    (file,) = (tmp_path / "fusion").glob("*.json")
    kept = json.loads(file.read_text())
    assert list(kept["rows"]) == ["mixture", "fused", "fused, opacity fine-tuned", "fused, all fine-tuned"]
    assert str(project_root) not in file.read_text()
    table = section.fusion_table(suites.read_versioned(tmp_path / "fusion", "fusion.py"))
    scores = {name: row["scores"]["psnr"] for name, row in kept["rows"].items()}
    for cells in table.rows:
        assert cells[1] == f"{scores[cells[0]]:.2f}" and "n/a" not in cells
        lead = scores[cells[0]] - scores["mixture"]
        assert cells[2] == ("-" if cells[0] == "mixture" else f"{lead:+.2f}")
    assert suites.read_suite_results(tmp_path) == {}
    text = importlib.import_module("write_results").page(tmp_path)
    assert "## Fused mixtures" in text and "Again: `python benchmarks/" in text
    before = len(processes.commands)
    script.main(arguments, processes)
    assert len(processes.commands) == before
