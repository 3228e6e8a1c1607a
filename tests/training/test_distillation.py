"""The distill stage through nerfstudio's commands: an ordinary expert run, resumed, refused, and what it reduces to."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.router.experts import read_expert
from moegs_ns.router.fused import FusedModel
from moegs_ns.runs.record import read_run_record
from moegs_ns.training.fusion import make_finetuned, make_fused, plan_fusion
from moegs_ns.training.load_run import load_model
from tests.training.inprocess import evaluate, train
from tests.training.test_fusion import InProcess
from tests.training.test_trainer import assert_equal_state, load

pytestmark = pytest.mark.slow

SMALL = ["--vis", "tensorboard", "--pipeline.lpips"]
SCENE = ["n3v-data", "--downscale", "8", "--first-frame", "2", "--num-frames", "4", "--test-cams", "cam03"]
STEPS = 12
FAMILIES = {
    "stg": ("--pipeline.model.initial-log-time-scale", -2.3, "--pipeline.model.camera-gains", True),
    "ex4dgs": ("--pipeline.model.keyframe-interval", 2, "--pipeline.model.window-interval", 3),
    "ed3dgs": ("--pipeline.model.width", 8, "--pipeline.model.periodic-ssim-start", 3,
               "--pipeline.model.periodic-ssim-interval", 2, "--pipeline.model.periodic-ssim-steps", 1),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Teachers' views of this module alone; compiled kernels stay where they are."""
    from moegs_ns.distill import teacher_cache

    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher_cache, "user_cache_dir", lambda: folder)
        yield folder


@pytest.fixture(scope="module")
def outputs(sample_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experts and the mixture that will teach; the experts' runs but that of STG are gone."""
    folder = tmp_path_factory.mktemp("outputs")

    def run(method: str, *options: object) -> Path:
        place = ["--output-dir", folder, "--timestamp", "run", "--data", sample_scene]
        return train([method, *SMALL, *options, *place, *SCENE])

    steps = ("--max-num-iterations", STEPS, "--pipeline.model.max-gaussians", 400)
    experts = [run(f"moegs-{name}", *steps, *options) for name, options in FAMILIES.items()]
    run("moegs-router", "--max-num-iterations", 6, "--pipeline.model.background", "black", "--experts", *experts)
    for expert in experts[1:]:
        shutil.rmtree(expert)
    return folder


def distill(outputs: Path, scene: Path, student: str, name: str, *options: object) -> Path:
    teacher = outputs / "mixed" / "moegs-router" / "run"
    place = ["--output-dir", outputs, "--timestamp", name, "--data", scene]
    return train(["moegs-distill", *SMALL, "--teacher", teacher, "--student", student, *options, *place, *SCENE])


@pytest.mark.parametrize("student", [*FAMILIES])
def test_a_student_is_an_ordinary_expert_run(outputs: Path, sample_scene: Path, student: str) -> None:
    run = distill(outputs, sample_scene, student, f"taught-{student}")
    record = read_run_record(run)
    assert run.parent.name == record["method"] == "moegs-distill"
    assert record["expert"]["name"] == student and record["progress"]["steps_done"] == STEPS
    taught = record["distilled"]
    assert (taught["student"], taught["variant"], taught["views_from"]) == (student, "weighted", "live")
    spec, state = read_expert(run)
    assert spec.family == student
    spec.build().load_state_dict(state)
    evaluate(run, run / "eval_test.json")
    assert read_result(run).scores["psnr"] > 5.0


def test_variant_gt_is_plain_training(outputs: Path, sample_scene: Path) -> None:
    plain = load(outputs / "mixed" / "moegs-stg" / "run")["pipeline"]
    again = load(distill(outputs, sample_scene, "stg", "gt", "--variant", "gt"))["pipeline"]
    assert set(plain) == set(again)
    for key, value in plain.items():
        assert torch.equal(value, again[key]), key
    taught = load(distill(outputs, sample_scene, "stg", "other"))["pipeline"]
    assert not torch.equal(plain["_model.gaussians.params.means"], taught["_model.gaussians.params.means"])


def test_kept_views_teach_what_live_ones_do_and_resume_bit_for_bit(
    outputs: Path, sample_scene: Path, own_cache: Path
) -> None:
    options = ("--teacher-views", "cache", "--steps-per-save", 4, "--save-only-latest-checkpoint", False)
    whole = distill(outputs, sample_scene, "stg", "kept", *options)
    (entry,) = {file.parent for file in (own_cache / "teacher_views").glob("*/facts.json")}
    facts = json.loads((entry / "facts.json").read_text("utf8"))
    errors = facts["quantisation"]
    assert errors["views"] == facts["shape"]["views"] == 11 * 4
    assert 0 < errors["image_max"] <= 0.5 / 255 + 1e-6 and 0 < errors["gate_max"] <= 0.5 / 255 + 1e-6
    assert read_run_record(whole)["distilled"]["quantisation"] == errors
    resumed = distill(outputs, sample_scene, "stg", "resumed", *options, "--load-dir",
                      whole / "nerfstudio_models", "--load-step", 8)  # fmt: skip
    assert_equal_state(load(whole), load(resumed))
    live = distill(outputs, sample_scene, "stg", "live", "--teacher-views", "live")
    key = "_model.gaussians.params.means"
    torch.testing.assert_close(
        load(whole)["pipeline"][key], load(live)["pipeline"][key], rtol=0, atol=0.05, msg="rounding is not that large"
    )


def test_pseudo_views_teach_and_resume_bit_for_bit(outputs: Path, sample_scene: Path) -> None:
    options = (
        "--pseudo-views",
        2,
        "--pseudo-views-every",
        3,
        "--steps-per-save",
        4,
        "--save-only-latest-checkpoint",
        False,
    )
    for student in ("ed3dgs", "stg"):
        whole = distill(outputs, sample_scene, student, f"between-{student}", *options)
        without = load(outputs / "mixed" / "moegs-distill" / f"taught-{student}")["pipeline"]
        key = "_model.gaussians.params.means"
        assert not torch.equal(load(whole)["pipeline"][key], without[key])
    again = distill(outputs, sample_scene, "stg", "again", *options, "--load-dir", whole, "--load-step", 8)
    assert_equal_state(load(whole), load(again))


def test_a_student_is_not_gone_on_with_under_another_teacher(outputs: Path, sample_scene: Path) -> None:
    options = ("--steps-per-save", 4, "--save-only-latest-checkpoint", False)
    run = distill(outputs, sample_scene, "stg", "begun", *options)
    record = json.loads((run / "run.json").read_text("utf8"))
    record["distilled"]["checkpoint_sha256"] = "of another content"
    (run / "run.json").write_text(json.dumps(record), "utf8")
    with pytest.raises(ValueError, match="found other content in step-000000005.ckpt .* train the student anew"):
        distill(outputs, sample_scene, "stg", "resumed-otherwise", *options, "--load-dir", run, "--load-step", 4)


def test_an_expert_can_be_gone_on_with_under_a_teacher(outputs: Path, sample_scene: Path) -> None:
    stg = outputs / "mixed" / "moegs-stg" / "run"
    run = distill(outputs, sample_scene, "stg", "warm", "--load-dir", stg, "--max-num-iterations", STEPS + 4)
    record = read_run_record(run)
    assert (
        record["progress"]["steps_done"] == STEPS + 4
        and record["learning_rates"] == read_run_record(stg)["learning_rates"]
    )
    key = "_model.gaussians.params.means"
    moved = (load(run)["pipeline"][key] - load(stg)["pipeline"][key]).abs().max()
    assert 0 < moved < 0.5


@pytest.mark.parametrize("views", ["live", "cache"])
def test_a_student_of_a_family_the_teacher_lacks(outputs: Path, sample_scene: Path, views: str) -> None:
    place = ["--output-dir", outputs, "--timestamp", f"outside-{views}", "--data", sample_scene]
    own = ("--max-num-iterations", STEPS, "--pipeline.model.max-gaussians", 400, "--pipeline.model.width", 8)
    model = train(["moegs-4dgaussians", *SMALL, *own, "--pipeline.model.coarse-steps", 4, *place, *SCENE])
    with pytest.raises(ValueError, match="for --variant weighted, found the run .* give --variant unweighted"):
        distill(outputs, sample_scene, str(model), "refused")
    taught = ("--variant", "unweighted", "--teacher-views", views)
    run = distill(outputs, sample_scene, str(model), f"other-{views}", *taught, "--ground-truth-weight", 0)
    record, of_model = read_run_record(run), read_run_record(model)
    assert record["expert"] == of_model["expert"] and record["learning_rates"] == of_model["learning_rates"]
    assert record["progress"]["steps_done"] == STEPS and record["distilled"]["student"] == str(model)
    states = [load(folder)["pipeline"]["_model.gaussians.params.means"] for folder in (run, model)]
    assert states[0].shape != states[1].shape or not torch.equal(*states)


def test_a_fused_model_can_be_gone_on_with_under_its_mixture(outputs: Path, sample_scene: Path) -> None:
    plan = plan_fusion(outputs / "mixed" / "moegs-router" / "run", finetune_steps=2, finetune=("all",))
    make_fused(plan, InProcess().run)
    make_finetuned(plan, "all", InProcess().run)
    fused = plan.finetuned["all"].run
    steps = read_run_record(fused)["progress"]["steps_done"]
    onwards = ("--load-dir", fused, "--max-num-iterations", steps + 3)
    with pytest.raises(ValueError, match="found a fused model, for which it has no gate"):
        distill(outputs, sample_scene, "", "refused", *onwards)
    pictures = ("--variant", "unweighted", "--ground-truth-weight", 0, "--teacher-views", "live")
    run = distill(outputs, sample_scene, "", "fused", *onwards, *pictures)
    record = read_run_record(run)
    assert record["expert"]["name"] == "fused" and record["progress"]["steps_done"] == steps + 3
    key = "_model.experts.0.gaussians.params.means"
    assert 0 < (load(run)["pipeline"][key] - load(fused)["pipeline"][key]).abs().max() < 0.5
    shown = load_model(run)
    assert isinstance(shown, FusedModel) and shown.expert_names == ["stg", "ex4dgs", "ed3dgs"]
    evaluate(run, run / "eval_test.json")
    assert read_result(run).scores["psnr"] > 5.0


def test_a_student_goes_into_a_new_mixture(outputs: Path, sample_scene: Path) -> None:
    student = distill(outputs, sample_scene, "ex4dgs", "member")
    stg = outputs / "mixed" / "moegs-stg" / "run"
    place = ["--output-dir", outputs, "--timestamp", "second", "--data", sample_scene]
    run = train(["moegs-router", *SMALL, "--max-num-iterations", 2, "--experts", stg, student, *place, *SCENE])
    assert read_run_record(run)["model"]["experts"] == ["stg", "ex4dgs"]


def test_what_cannot_teach_is_refused_before_anything_is_written(outputs: Path, sample_scene: Path) -> None:
    with pytest.raises(
        ValueError, match="the name of one of the teacher's experts .stg, ex4dgs, ed3dgs. behind --student, found no"
    ):
        distill(outputs, sample_scene, "", "refused")
    with pytest.raises(ValueError, match=r"found '4dgaussians'"):
        distill(outputs, sample_scene, "4dgaussians", "refused")
    with pytest.raises(ValueError, match="at most 0.0001 GB for the teacher's 44 views"):
        distill(outputs, sample_scene, "ed3dgs", "refused", "--teacher-views", "cache", "--teacher-cache-gb", 1e-4,
                "--gate-precision", "half")  # fmt: skip
    with pytest.raises(ValueError, match="--pseudo-views-every of at least 2, found 1: some steps must show the video"):
        distill(outputs, sample_scene, "stg", "refused", "--pseudo-views", 1, "--pseudo-views-every", 1)
    assert not (outputs / "mixed" / "moegs-distill" / "refused" / "nerfstudio_models").exists()
    stg = outputs / "mixed" / "moegs-stg" / "run"
    place = ["--output-dir", outputs, "--timestamp", "refused", "--data", sample_scene]
    with pytest.raises(
        ValueError, match="the run of a mixture .moegs-router. behind --teacher, found one of 'moegs-stg'"
    ):
        train(["moegs-distill", *SMALL, "--teacher", stg, "--student", "stg", *place, *SCENE])


def test_what_students_learnt_is_measured_on_training_views(
    outputs: Path, sample_scene: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(project_root / "benchmarks"))
    from student_fit import training_fit

    teacher, stg = (outputs / "mixed" / method / "run" for method in ("moegs-router", "moegs-stg"))
    taught = distill(outputs, sample_scene, "stg", "fit", "--ground-truth-weight", 0.0, "--variant", "unweighted")
    fit = training_fit(teacher, {"alone": stg, "taught": taught}, images=10)
    assert set(fit) == {"mixture", "alone", "taught"} and set(fit["mixture"]) == {"video"}
    assert fit["taught"]["teacher"] > fit["alone"]["teacher"] > 5.0
    same = training_fit(teacher, {"alone": stg}, images=44)
    assert same["alone"]["video"] == pytest.approx(training_fit(teacher, {"alone": stg}, images=500)["alone"]["video"])
    with pytest.raises(ValueError, match="expected the run of a mixture"):
        training_fit(stg, {})
