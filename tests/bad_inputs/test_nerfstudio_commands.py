"""What nerfstudio's own commands say of bad input: a traceback, whose last line is the project's sentence; what was
refused leaves no run folder behind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bad_inputs.bench import Bench, cut, entry, removed, written
from tests.bad_inputs.conftest import FEW, SMALL
from tests.training.inprocess import evaluate, render_dataset, train_of_method

pytestmark = pytest.mark.slow
EXPERT, ROUTER, STUDENT = ("moegs-stg", *FEW), ("moegs-router",), ("moegs-distill",)
TAUGHT = (*STUDENT, "--teacher", "{mixture}", "--student", "stg")
GATE = "--pipeline.model"
#: Method and options (names in braces are runs), options of the data parser, what the sentence says.
REFUSED: list[tuple[Sequence[Any], Sequence[Any], str]] = [
    ((*EXPERT, "--pipeline.model.max-gaussians", 0), (), "max-gaussians of 1 or more, found 0"),
    ((*EXPERT, "--pipeline.model.seed-copies", 0), (), "seed-copies of 1 or more, found 0"),
    ((*EXPERT, "--pipeline.model.clip-frames", -1), (), "clip-frames of 1 or more, found -1"),
    ((*EXPERT, "--pipeline.model.ssim-weight", "nan"), (), "ssim-weight from 0 to 1, found nan"),
    ((*EXPERT, "--pipeline.datamanager.cameras-per-step", 0), (), "cameras_per_step >= 1, found 0"),
    ((*EXPERT, "--max-num-iterations", -1), (), "max-num-iterations of 0 or more, found -1"),
    ((*EXPERT, "--steps-per-save", -1), (), "steps-per-save of 0 or more, found -1"),
    ((*EXPERT, "--machine.seed", -1), (), "machine.seed of 0 or more, found -1"),
    ((*EXPERT, "--machine.seed", 2**32), (), "machine.seed of at most 4294967295, found 4294967296"),
    ((*EXPERT, "--optimizers.means.optimizer.lr", "nan"), (), "means.optimizer.lr of 0 or more, found nan"),
    ((*EXPERT, "--load-checkpoint", "/nowhere.ckpt"), (), "checkpoint file at /nowhere.ckpt, found nothing"),
    ((*EXPERT, "--load-checkpoint", "{other checkpoint}"), (), "expected the optimizer groups"),
    ((*EXPERT, "--load-dir", "{scene}"), (), r"expected step-\*.ckpt files in .*scene"),
    ((*EXPERT, "--load-dir", "/nowhere"), (), "/nowhere, found nothing"),
    (EXPERT, ("--downscale", 0), "--downscale >= 1, found 0"),
    (EXPERT, ("--fps", "nan"), "--fps > 0, found nan"),
    (EXPERT, ("--test-cams", "cam77"), "--test-cams .*'cam77'"),
    (ROUTER, (), "runs of trained experts, found none"),
    ((*ROUTER, "--experts", "{stg}", "{mixture}"), (), "run of an expert at .*'moegs-router'"),
    ((*ROUTER, "--experts", "{stg}", "/nowhere"), (), "run record /nowhere, found none"),
    ((*ROUTER, "--experts", "{stg}", "{empty}"), (), r"expected step-\*.ckpt files in .*found none"),
    ((*ROUTER, "--experts", "{stg}", "{4dgaussians}"), ("--num-frames", 4), "num_frames 6 instead of 4"),
    ((*ROUTER, "--experts", "{stg}", f"{GATE}.top-k", 9), (), "top_k from 0 .* experts 1, found 9"),
    ((*ROUTER, "--experts", "{stg}", f"{GATE}.eval-temperature", "nan"), (), "temperature above 0, found nan"),
    ((*ROUTER, "--experts", "{stg}", f"{GATE}.kernel-size", 2), (), "odd kernel size .* found 2"),
    ((*ROUTER, "--experts", "{stg}", f"{GATE}.distrust", -1), (), "distrust of 0 or more, found -1"),
    (STUDENT, (), "behind --teacher, found none"),
    ((*STUDENT, "--teacher", "{mixture}"), (), "behind --student, found no --student"),
    ((*STUDENT, "--teacher", "{mixture}", "--student", "gan"), (), "stg, 4dgaussians.* found 'gan'"),
    ((*STUDENT, "--teacher", "{stg}", "--student", "stg"), (), "run of a mixture .* found one of 'moegs-stg'"),
    ((*STUDENT, "--teacher", "{mixture}", "--student", "{stg}"), (), "has no gate; give --variant unweighted"),
    (TAUGHT, ("--num-frames", 4), "num_frames 6 instead of 4"),
    ((*TAUGHT, "--ground-truth-weight", 2), (), r"weight in \[0,1\], found 2"),
    ((*TAUGHT, "--pseudo-views", -1), (), "--pseudo-views of 0 or more, found -1"),
    ((*TAUGHT, "--teacher-cache-gb", "nan"), (), "--teacher-cache-gb of 0 or more, found nan"),
]


@pytest.mark.parametrize(("words", "parser", "says"), REFUSED, ids=[one[-1] for one in REFUSED])
def test_ns_train_refuses_before_there_is_a_run(
    words: Sequence[Any], parser: Sequence[Any], says: str, good: dict[str, Path], tmp_path: Path
) -> None:
    places = {**good, "empty": Bench(tmp_path, good["scene"], good).run("4dgaussians", removed("nerfstudio_models"))}
    (places["other checkpoint"],) = (good["4dgaussians"] / "nerfstudio_models").iterdir()
    method, *options = [places[str(word)[1:-1]] if str(word).startswith("{") else word for word in words]
    place = ("--output-dir", tmp_path / "made", "--timestamp", "run", "--data", good["scene"], "n3v-data", *parser)
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        train_of_method([method, *SMALL, *options, *place])
    assert not list((tmp_path / "made").rglob("*"))


@pytest.mark.parametrize("method", [ROUTER, STUDENT], ids=lambda method: method[0])
def test_experts_and_teachers_of_another_scene_are_refused(
    method: Sequence[Any], good: dict[str, Path], tmp_path: Path
) -> None:
    other = Bench(tmp_path, good["scene"], good).scene(entry(slice(None), 15, 0.5), name="other")
    taken = ("--experts", good["stg"]) if method == ROUTER else ("--teacher", good["mixture"], "--student", "stg")
    with pytest.raises(ValueError, match="expected experts of the scene 'other', found expert 'stg' .* 'scene'; name"):
        train_of_method([*method, *SMALL, *taken, "--output-dir", tmp_path / "made", "--data", other, "n3v-data"])
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("parser", "says"),
    [
        (("--downscale", 2), "was trained at 64x48, the router's images have 32x24"),
        (("--test-cams", "cam01"), "was trained on cam01, which this router does not train on"),
    ],
    ids=["resolution", "test camera"],
)
def test_experts_of_another_resolution_or_of_the_test_camera_are_told(
    parser: Sequence[Any], says: str, good: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = ("--output-dir", tmp_path / "made", "--timestamp", "run", "--data", good["scene"], "n3v-data", *parser)
    train_of_method(["moegs-router", *SMALL, "--experts", good["stg"], *place])
    assert says in " ".join(capfd.readouterr().out.split())


@pytest.mark.parametrize("spoil", [cut, written], ids=["cut off", "no checkpoint"])
def test_ns_eval_and_ns_render_name_a_damaged_checkpoint(spoil: Any, good: dict[str, Path], tmp_path: Path) -> None:
    file = "nerfstudio_models/step-000000001.ckpt"
    damaged = Bench(tmp_path, good["scene"], good).run("stg", spoil(file, 0.5 if spoil is cut else "no" * 99))
    config = damaged / "config.yml"
    # nerfstudio looks for checkpoints where the config says that the run was trained.
    trained, here = ("\n".join(f"- {part}" for part in run.parents[2].parts[1:]) for run in (good["stg"], damaged))
    assert trained in config.read_text()
    config.write_text(config.read_text().replace(trained, here, 1))
    with pytest.raises(ValueError, match=f"whole checkpoint .*{file}"):
        evaluate(damaged, tmp_path / "scores.json")
    with pytest.raises(ValueError, match=f"whole checkpoint .*{file}"):
        render_dataset(damaged, tmp_path / "pictures")
    assert not (tmp_path / "scores.json").exists() and not list(tmp_path.glob("pictures/**/*.*"))
