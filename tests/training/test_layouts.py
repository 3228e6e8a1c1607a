"""Methods on scenes of every layout: they learn, their runs come back without YAML, and what a capture by one camera
cannot have is refused before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moegs_ns.cli.main import run
from moegs_ns.experts.recipes import load_recipe
from moegs_ns.experts.registry import EXPERTS
from moegs_ns.reporting.metrics import psnr
from moegs_ns.runs.record import read_run_record
from moegs_ns.scene.dataparsers.layouts import LAYOUTS
from moegs_ns.scene.frame_store import FrameStore
from moegs_ns.training.fusion import plan_fusion
from moegs_ns.training.load_run import dataparser_of, layout_of, load_run
from tests.scene.layouts.clip import Clip, Distortion, Shot, joined, mixed_clip, moving_capture
from tests.scene.layouts.writers import write_blender, write_hypernerf, write_n3v, write_technicolor, write_transforms
from tests.training.inprocess import evaluate, render_dataset, start_training, train_config
from tests.training.layout_runs import training

FRAMES = 12
#: Two random images a step instead of two of one instant, for captures that have no second.
ONE_CAMERA = {"same_instant": False}
SMALL = {"max_gaussians": 700, "seed_copies": 1, "sh_degree": 1, "initial_log_time_scale": 0.5}


@pytest.fixture(scope="module")
def clip(sample_scene: Path) -> Clip:
    """Five cameras of the bundled scene, 12 frames of 80x60; the first is in the middle of the others."""
    return mixed_clip(sample_scene, (0, 2, 4, 7, 9), FRAMES, shrink=4)


def turns(shot: Shot) -> bool:
    return (shot.frame % 2 == 0) == (shot.camera == "left")


def two_cameras(clip: Clip) -> Clip:
    return joined(moving_capture(clip, 0, "left"), moving_capture(clip, 2, "right"))


def off_centre(shot: Shot) -> Shot:
    return shot.cropped(6, 3, 70, 54)


def object_alone(shot: Shot) -> np.ndarray:
    return np.dstack([shot.image, np.full(shot.image.shape[:2], 255, np.uint8)])


def synthetic(clip: Clip) -> dict[str, Clip]:
    test = moving_capture(clip, 2)
    return {
        "train": joined(*(moving_capture(clip, k) for k in (0, 1, 3))),
        "test": replace(test, shots=test.shots[::3]),
    }


@dataclass(frozen=True)
class Case:
    """A scene in a layout, the parser's options for it, and the data manager's."""

    write: Callable[[Path, Clip], Path]
    parser: dict[str, Any]
    datamanager: dict[str, Any]
    fixed: bool = True


CASES = {
    "n3v": Case(write_n3v, {}, {}),
    "technicolor": Case(
        lambda folder, clip: write_technicolor(folder, clip.changed(off_centre), "Theater", 51),
        {"test_cams": ("0",), "num_frames": FRAMES},
        {},
    ),
    "hypernerf": Case(
        lambda folder, clip: write_hypernerf(folder, two_cameras(clip), turns, Distortion((-0.08, 0.02, 0.0))),
        {"downscale": 1},
        ONE_CAMERA,
        fixed=False,
    ),
    "transforms": Case(write_transforms, {}, {}),
    "blender": Case(
        lambda folder, clip: write_blender(folder, synthetic(clip), object_alone),
        {"half_edge": 2.0, "near": 1.5, "far": 8.0, "random_points": 1500},
        ONE_CAMERA,
        fixed=False,
    ),
}


@pytest.fixture(scope="module")
def scenes(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: case.write(tmp_path_factory.mktemp(name) / "scene", clip) for name, case in CASES.items()}


def test_there_is_a_case_of_every_layout() -> None:
    assert set(CASES) == set(LAYOUTS)


@pytest.mark.filterwarnings("ignore:no seed points")
@pytest.mark.parametrize("layout", CASES)
def test_stg_learns_on_every_layout(layout: str, scenes: dict[str, Path], tmp_path: Path) -> None:
    """A few hundred steps: the held-out images come out far better than they began, through ns-eval and without it."""
    case = CASES[layout]

    def config(name: str, steps: int) -> Any:
        made = training("moegs-stg", layout, scenes[layout], tmp_path, steps, case.parser, SMALL, case.datamanager)
        made.timestamp = name
        made.optimizers["means"]["optimizer"].lr = 1e-3
        return made

    results = {name: evaluate(train_config(config(name, steps))) for name, steps in (("begun", 2), ("done", 250))}
    begun, done = (results[name]["results"]["psnr"] for name in ("begun", "done"))
    assert done > begun + 3, (begun, done)
    folder = tmp_path / "scene" / "moegs-stg" / "done"
    record = read_run_record(folder)
    assert (record["scene"]["layout"], record["scene"]["num_frames"]) == (layout, FRAMES)
    loaded = load_run(folder, device="cpu")
    rows = results["done"]["results"]["per_image"]
    assert [(view.camera_name, view.frame) for view in loaded.views()] == [
        (row["camera"], row["frame"]) for row in rows
    ]
    for view, row in zip(loaded.views(), rows, strict=True):
        assert psnr(loaded.model.get_outputs_for_camera(view.camera)["rgb"], view.truth) == pytest.approx(
            row["psnr"], abs=1e-3
        )
    assert ("train_images" in record["scene"]) is (layout == "hypernerf" or layout == "blender")


@pytest.mark.filterwarnings("ignore:no seed points")
@pytest.mark.parametrize("layout", CASES)
def test_a_runs_data_are_read_again_with_its_options(layout: str, scenes: dict[str, Path], tmp_path: Path) -> None:
    """What the record holds of the parser's options, for every reader of runs."""
    from moegs_ns.runs.record import plain

    options = {**CASES[layout].parser, "val_cams": ("1",), "near": 1.25, "fps": 12.0}
    config = LAYOUTS[layout].config(data=scenes[layout], **options)
    record = {
        "scene": {"layout": layout, "data": str(scenes[layout])},
        "datamanager": {"dataparser": plain(config), "data": str(scenes[layout])},
    }
    assert dataparser_of(record) == config
    assert layout_of(record) is LAYOUTS[layout]
    with pytest.raises(ValueError, match="of one of the layouts n3v, .*found 'colmap'"):
        dataparser_of({**record, "scene": {"layout": "colmap"}})


# -- every method on a capture by one camera ---------------------------------------------------------------------------

FIRST_STEPS: dict[str, dict[str, Any]] = {
    "moegs-stg": {"seed_copies": 1},
    "moegs-4dgaussians": {"coarse_steps": 4, "width": 8, "grid_resolution": 8, "background": "black"},
    "moegs-ed3dgs": {"width": 8, "time_embedding_size": 8, "embedding_size": 8, "background": "black"},
    "moegs-ex4dgs": {"window_interval": 4, "keyframe_interval": 3, "background": "black"},
}


def start(method: str, data: Path, output_dir: Path, steps: int = 12, **model: Any) -> Any:
    """A few steps of a method on the two-camera capture."""
    own = {**FIRST_STEPS.get(method, {}), "max_gaussians": 400} if method in FIRST_STEPS else {}
    sampling = {} if method == "moegs-router" else {**ONE_CAMERA, "error_sampling": False}
    case = CASES["hypernerf"]
    return training(method, "hypernerf", data, output_dir, steps, case.parser, {**own, **model}, sampling)


@pytest.fixture(scope="module")
def expert_runs(scenes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    outputs = tmp_path_factory.mktemp("outputs")
    return {method: train_config(start(method, scenes["hypernerf"], outputs)) for method in FIRST_STEPS}


@pytest.mark.parametrize("method", FIRST_STEPS)
def test_every_expert_trains_on_a_capture_by_moving_cameras(method: str, expert_runs: dict[str, Path]) -> None:
    results = evaluate(expert_runs[method])["results"]
    assert results["protocol"]["cameras"] == ["left", "right"] and len(results["per_image"]) == FRAMES
    assert np.isfinite(results["psnr"])


def test_a_mixture_its_fusion_and_its_student_on_such_a_capture(
    expert_runs: dict[str, Path], scenes: dict[str, Path], tmp_path: Path
) -> None:
    experts = tuple(expert_runs[method] for method in ("moegs-stg", "moegs-4dgaussians"))
    router = train_config(start("moegs-router", scenes["hypernerf"], tmp_path, experts=experts))
    assert np.isfinite(evaluate(router)["results"]["psnr"])
    plan = plan_fusion(router, output_dir=tmp_path)
    assert plan.fused.scene.parser == "hypernerf-data"
    assert plan.fused.scene.options == ("--downscale", "1")
    assert plan.fused.command()[-4:] == [str(scenes["hypernerf"]), "hypernerf-data", "--downscale", "1"]
    taught = start("moegs-distill", scenes["hypernerf"], tmp_path, 6)
    taught.pipeline.teacher, taught.pipeline.student, taught.pipeline.pseudo_views = router, "stg", 1
    assert np.isfinite(evaluate(train_config(taught))["results"]["psnr"])


def test_experts_of_other_validation_frames_are_told(
    expert_runs: dict[str, Path], scenes: dict[str, Path], tmp_path: Path
) -> None:
    """Names of cameras do not tell that the router holds out what its experts were trained on."""
    from moegs_ns.router.experts import read_spec
    from moegs_ns.router.same_scene import check_same_scene, facts_of_training_data

    spec = read_spec(expert_runs["moegs-stg"])
    for val_cams, said in (
        ((), []),
        (("4", "5"), ["2 images that this router does not train on, such as left1_000004"]),
    ):
        config = start("moegs-router", scenes["hypernerf"], tmp_path)
        config.pipeline.datamanager.dataparser.val_cams = val_cams
        manager = config.pipeline.datamanager.setup(test_mode="test", device="cpu")
        warnings = check_same_scene([spec], facts_of_training_data(type("Pipeline", (), {"datamanager": manager})))
        assert len(warnings) == len(said) and all(text in one for text, one in zip(said, warnings, strict=True))


@pytest.mark.slow
def test_what_the_moegs_command_shows_of_such_a_capture(
    expert_runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Test cameras have every second frame; every instant has two views, of which one is held out."""
    import av

    stg = expert_runs["moegs-stg"]
    assert run(["report", "motion", str(stg), "--output", str(tmp_path)]) == 0
    assert (tmp_path / "trajectories-right.png").is_file()  # of frame 6, in the middle, which right shows
    assert run(["render", str(stg), "--output", str(tmp_path)]) == 0
    for camera in ("left", "right"):
        with av.open(str(tmp_path / f"comparison-{camera}.mp4")) as video:
            assert sum(1 for _ in video.decode(video=0)) % (FRAMES // 2) == 0
    written = render_dataset(stg, tmp_path / "dataset", outputs=("rgb", "gt-rgb"))
    assert len(written) == 2 * FRAMES and "left1_000001.jpg" in {path.name for path in written}
    capsys.readouterr()
    assert run(["report", "geometry", str(stg), "--frames", "3", "--pixel-stride", "8"]) == 0
    protocol = json.loads((stg / "geometry.json").read_text("utf8"))["protocol"]
    assert protocol["cameras"] == ["left", "right"] and protocol["frames"] == [0, 6, 11]


@pytest.mark.slow
def test_depth_of_a_single_camera_has_nothing_to_agree_with(
    scenes: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = start("moegs-stg", scenes["hypernerf"], tmp_path, 3)
    config.pipeline.datamanager.dataparser.exclude_cams = ("right",)
    config.pipeline.datamanager.dataparser.test_cams = ("left1_000004",)
    assert run(["report", "geometry", str(train_config(config))]) != 0
    assert "instants that several cameras see, found none of 6" in " ".join(capsys.readouterr().err.split())


# -- what a capture by one camera cannot have --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "datamanager", "message"),
    [
        ({}, {"same_instant": True}, r"cameras_per_step = 2 .*of every instant, found 1; .*same-instant False"),
        ({}, {"motion_seeds": 50}, r"several fixed cameras, found left, which moves.*motion-seeds 0"),
        ({"camera_gains": True}, {}, r"gains per camera: expected at least 2 training cameras, found 1 .left.; set "),
        ({"guided_start": 5}, {}, r"guided sampling: expected at least 2 training cameras, found 1 .left.; set "),
    ],
)
def test_what_one_moving_camera_cannot_have_is_refused_before_anything_is_written(
    model: dict[str, Any],
    datamanager: dict[str, Any],
    message: str,
    scenes: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FrameStore, "prepare", lambda self, *_: pytest.fail("decodes"))
    config = training(
        "moegs-stg",
        "hypernerf",
        scenes["hypernerf"],
        tmp_path / "outputs",
        4,
        {"downscale": 1, "exclude_cams": ("right",)},
        model,
        {**ONE_CAMERA, **datamanager},
    )
    config.pipeline.datamanager.dataparser.test_cams = ("left1_000001",)
    with pytest.raises(ValueError, match=message) as refused:
        start_training(config)
    assert "+one-camera" in str(refused.value)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("expert", EXPERTS)
@pytest.mark.parametrize("preset", ["quick", "demo"])
def test_the_preset_for_one_camera_takes_out_what_it_cannot_have(
    preset: str, expert: str, scenes: dict[str, Path]
) -> None:
    """The quick presets are for rigs; with +one-camera behind them they can begin on a capture by one camera."""
    from moegs_ns.method_configs import expert_method
    from moegs_ns.router.same_scene import scene_facts

    def look(name: str) -> None:
        """What the trainer looks at before it begins."""
        config = expert_method(expert, load_recipe(expert, name)).config.pipeline
        config.datamanager.data = scenes["hypernerf"]
        config.datamanager.dataparser = LAYOUTS["hypernerf"].config(
            downscale=1, exclude_cams=("right",), test_cams=("left1_000001",)
        )
        outputs = config.datamanager.read_scene()
        config.datamanager.check_scene(outputs)
        config.model.prepare_start(scene_facts(outputs.metadata, outputs.cameras))

    with pytest.raises(ValueError, match=r"\+one-camera"):
        look(preset)
    look(f"{preset}+one-camera")


def test_fixed_cameras_of_any_layout_carve_seeds(scenes: dict[str, Path]) -> None:
    """Rigs in every layout give the seeds the same scene gives in the first."""
    counts = {}
    for layout in ("n3v", "transforms"):
        config = training("moegs-stg", layout, scenes[layout], Path(), 4, datamanager={"motion_seeds": 60})
        manager = config.pipeline.datamanager.setup(test_mode="val", device="cpu")
        counts[layout] = manager.train_dataset.metadata["points3D_time"].isfinite().sum().item()
    assert counts["n3v"] == counts["transforms"] > 20


def test_cameras_that_miss_frames_carve_none(clip: Clip, tmp_path: Path) -> None:
    gap = replace(clip, shots=[shot for shot in clip.shots if (shot.camera, shot.frame) != ("cam02", 3)])
    data = write_transforms(tmp_path / "scene", gap)
    config = training("moegs-stg", "transforms", data, tmp_path, 4, datamanager={"motion_seeds": 60})
    with pytest.raises(
        ValueError, match="image of every frame, found 11 images of cam02 in 12 frames; set .*motion-seeds"
    ):
        config.pipeline.datamanager.check_scene(config.pipeline.datamanager.read_scene())


def test_another_background_than_the_experts_is_told(
    scenes: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from moegs_ns.router.same_scene import scene_facts

    case = CASES["blender"]
    for own, told in (("black", True), ("white", False)):
        config = training("moegs-stg", "blender", scenes["blender"], Path(), 4, case.parser, {"background": own})
        outputs = config.pipeline.datamanager.read_scene()
        config.pipeline.model.prepare_start(scene_facts(outputs.metadata, outputs.cameras))
        assert ("composited on white, and this expert renders on black" in capsys.readouterr().out) is told


# -- real captures -----------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:no seed points")
@pytest.mark.parametrize(("name", "downscale", "test"), [("mixed_vrig", 2, 24), ("windmill", 6, 2), ("capture", 4, 5)])
def test_real_captures_train(name: str, downscale: int, test: int, data_dir: Path, tmp_path: Path) -> None:
    if not (data_dir / name).is_dir():
        pytest.skip(f"{name} is not among the real scenes")
    results = {}
    for steps in (1, 60):
        model = {**SMALL, "max_gaussians": 1500}
        config = training(
            "moegs-stg", "hypernerf", data_dir / name, tmp_path, steps, {"downscale": downscale}, model, ONE_CAMERA
        )
        config.timestamp = f"steps{steps}"
        results[steps] = evaluate(train_config(config))["results"]
    assert len(results[60]["per_image"]) == test
    assert results[60]["psnr"] > results[1]["psnr"] + 0.5, {steps: one["psnr"] for steps, one in results.items()}
    assert torch.isfinite(torch.tensor(results[60]["psnr"]))
