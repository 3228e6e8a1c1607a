"""Pruning runs: within training, exactly resumable, and by ``moegs prune`` into a new run."""

import shutil
from pathlib import Path

import pytest
import torch

from moegs_ns.cli.main import run as moegs
from moegs_ns.router.pruning import PruningTarget
from moegs_ns.runs.record import read_run_record
from moegs_ns.training.load_run import load_run
from moegs_ns.training.prune_run import PruningPlan, prune_run
from moegs_ns.training.render_scores import render_scores
from tests.router.test_router_runs import FRAMES, Stages
from tests.training.inprocess import evaluate, with_reset_globals
from tests.training.test_trainer import assert_equal_state, load

pytestmark = pytest.mark.slow

#: Twelve steps, of which 4, 7 and 10 are followed by a round; a checkpoint lies between, after step 6.
SCHEDULE = ("--pipeline.model.prune-ratio", "0.6", "--pipeline.model.prune-criterion", "contribution")
SCHEDULE += ("--pipeline.model.prune-start", "4", "--pipeline.model.prune-interval", "3")
SCHEDULE += ("--pipeline.model.prune-rounds", "3", "--pipeline.model.prune-view-stride", "5")


@pytest.fixture(scope="module")
def stages(sample_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    stages = Stages(sample_scene, tmp_path_factory.mktemp("runs"))
    hidden = stages.output_dir / "hidden"
    for index, expert in enumerate(stages.experts):
        shutil.copytree(hidden / str(index), expert)
    return stages


def gaussians(run: Path) -> int:
    return read_run_record(run)["model"]["num_gaussians"]


@pytest.mark.parametrize("learning", [(), ("--pipeline.model.experts-learn-from", "3")], ids=["frozen", "learning"])
def test_training_that_prunes_resumes_bit_for_bit(stages: Stages, learning: tuple[str, ...]) -> None:
    options, name = (*SCHEDULE, *learning), f"pruning{len(learning)}"
    whole = stages.train_router(name, "--experts", *stages.experts, *options)
    before, record = gaussians(stages.router), read_run_record(whole)
    assert gaussians(whole) == pytest.approx(0.4 * before, abs=10)
    assert [one["step"] for one in record["pruned"]] == [4, 7, 10]
    assert sum(record["pruned"][-1]["after"].values()) == gaussians(whole)
    resumed = stages.train_router(f"{name}-resumed", "--load-dir", whole, "--load-step", "5", *options)
    assert_equal_state(load(whole), load(resumed))
    assert read_run_record(resumed)["pruned"] == record["pruned"]
    assert read_run_record(resumed)["model"] == record["model"]


def test_a_pruned_run_is_a_run(stages: Stages, capfd: pytest.CaptureFixture[str]) -> None:
    source = load(stages.router)
    arguments = [str(stages.router), "--ratio", "0.5", "--criterion", "gate*responsibility", "--view-stride", "4"]
    assert with_reset_globals(moegs, ["prune", *arguments]) == 0
    said = capfd.readouterr().out
    target = stages.router.with_name("whole-gate-responsibility-50")
    assert "before" in said and f"{FRAMES} images of the test split" in said and target.name in said
    assert_equal_state(load(stages.router), source)  # never in place
    (entry,) = read_run_record(target)["pruned"]
    assert entry["source"] == str(stages.router) and entry["ratio"] == 0.5
    assert gaussians(target) == sum(entry["after"].values()) == round(0.5 * gaussians(stages.router))
    scores = evaluate(target)["results"]
    ours = render_scores(target, "test", "cpu")
    assert ours["psnr"] == pytest.approx(scores["psnr"], abs=1e-3) and ours["gaussians"] == gaussians(target)
    kept, moments = load(target)["pipeline"], load(target)["optimizers"]["weights"]["state"]
    for index, state in moments.items():
        assert state["exp_avg"].shape == kept[f"_model.router.weights.{index}.base"].shape
    assert load(target)["moegs"]["sampler"] is not None
    # It can be trained on like any other.
    further = stages.train_router("further", "--load-dir", target, "--max-num-iterations", "14")
    assert gaussians(further) == gaussians(target) and read_run_record(further)["progress"]["steps_done"] == 14
    assert read_run_record(further)["pruned"] == [entry]
    with pytest.raises(ValueError, match="another name"):
        prune_run(stages.router, target, PruningPlan(PruningTarget(0.5)))


@pytest.mark.parametrize("learning", [(), ("--pipeline.model.experts-learn-from", "3")], ids=["frozen", "learning"])
def test_pruning_nothing_and_further_training_is_the_training_itself(stages: Stages, learning: tuple[str, ...]) -> None:
    """Twelve steps and four more in a pruned run that lost nothing, against sixteen at once."""
    source = stages.router
    if learning:
        source = stages.train_router("learning", "--experts", *stages.experts, *learning)
    target = source.with_name(f"{source.name}-longer")
    with_reset_globals(prune_run, source, target, PruningPlan(PruningTarget(0.0), finetune_steps=4))
    sixteen = stages.train_router(
        f"{source.name}-sixteen", "--load-dir", source, "--max-num-iterations", "16", *learning
    )
    assert read_run_record(target)["learning_rates"] == read_run_record(sixteen)["learning_rates"]
    states = [load(run) for run in (target, sixteen)]
    for name in ("pipeline", "optimizers", "schedulers"):
        assert_equal_state(states[0][name], states[1][name])
    pictures = []
    for run in (target, sixteen):
        loaded = load_run(run, device="cpu")
        pictures.append(loaded.model.get_outputs_for_camera(next(loaded.views()).camera)["rgb"])
    assert torch.equal(*pictures)


def test_what_cannot_be_pruned_leaves_no_folder(stages: Stages, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        ([stages.router], "expected --ratio or --threshold"),
        ([stages.experts[0], "--ratio", "0.5"], "expected the run of a mixture"),
        ([stages.router, "--ratio", "0.5", "--output", stages.output_dir / "flat"], "for the new run, found"),
        ([stages.router, "--ratio", "1.5"], "from 0 to below 1"),
    ):
        before = sorted(stages.output_dir.rglob("run.json"))
        assert moegs(["prune", *map(str, arguments)]) == 1
        assert message in " ".join(capfd.readouterr().err.split())
        assert sorted(stages.output_dir.rglob("run.json")) == before
