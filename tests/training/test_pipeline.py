"""Several cameras a step, and evaluation that is complete, honest and leaves training alone."""

import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from moegs_ns.reporting.metrics import MetricsProtocol
from moegs_ns.training.pipeline import MoegsPipeline, MoegsPipelineConfig
from moegs_ns.training.random_state import capture_random_state, preserved_random_state, restore_random_state
from tests.training.inprocess import start_training
from tests.training.test_trainer import assert_equal_state, load
from tests.training.toy import ToyDataManagerConfig, ToyModelConfig, toy_config


def make_pipeline(test_mode: str = "val", model: dict | None = None, **data: Any) -> MoegsPipeline:
    config = MoegsPipelineConfig(
        datamanager=ToyDataManagerConfig(**data), model=ToyModelConfig(**(model or {})), lpips=()
    )
    return config.setup(device="cpu", test_mode=test_mode)


def draw_numbers() -> tuple[float, float, float]:
    return float(torch.rand(())), random.random(), float(np.random.rand())  # noqa: NPY002  the global generators


def test_losses_and_gradients_are_the_mean_over_the_cameras() -> None:
    pipeline = make_pipeline(cameras_per_step=3, model={"extra_loss_on_even_frames": True})
    model, datamanager = pipeline.model, pipeline.datamanager
    sampler, randomness = datamanager.sampler_state(), capture_random_state()
    _, losses, metrics = pipeline.get_train_loss_dict(step=0)
    sum(losses.values()).backward()
    gradient = model.pixels.grad.clone()

    datamanager.load_sampler_state(sampler)
    restore_random_state(randomness)
    model.zero_grad()
    singles = []
    for camera, batch in datamanager.next_train_group(0):
        outputs = model(camera)
        single = model.get_loss_dict(outputs, batch)
        (sum(single.values()) / 3).backward()
        singles.append((single, outputs["rgb"].detach().mean()))
    assert any("even" in single for single, _ in singles)
    assert not all("even" in single for single, _ in singles)
    for name in ("color", "even"):
        expected = sum(single[name].item() for single, _ in singles if name in single) / 3
        assert losses[name].item() == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(gradient, model.pixels.grad)
    assert float(metrics["brightness"]) == pytest.approx(sum(float(one) for _, one in singles) / 3)
    assert metrics["points"] == 5


def test_the_datamanager_is_told_how_each_image_was_rendered() -> None:
    pipeline = make_pipeline(cameras_per_step=2)
    told: list[tuple[int, torch.Tensor]] = []
    pipeline.datamanager.report_rendering = lambda batch, rgb: told.append((batch["image_idx"], rgb))
    outputs, _, _ = pipeline.get_train_loss_dict(step=0)
    assert len({index for index, _ in told}) == 2
    assert told[-1][1] is outputs["rgb"]


def test_the_model_is_told_all_cameras_of_a_step_before_it_renders_the_first() -> None:
    pipeline = make_pipeline(cameras_per_step=3)
    model, events = pipeline.model, []
    model.expect_cameras = lambda cameras: events.append([id(camera) for camera in cameras])
    model.register_forward_pre_hook(lambda _, args: events.append(id(args[0])))
    pipeline.get_train_loss_dict(0)
    told, *rendered = events
    assert told == rendered and len(rendered) > 1


def test_one_camera_is_passed_through_untouched() -> None:
    pipeline = make_pipeline()
    pipeline.datamanager.next_train_group = None  # a datamanager of nerfstudio's own, with next_train only
    outputs, losses, _ = pipeline.get_train_loss_dict(step=0)
    assert outputs["rgb"].shape == (12, 16, 3)
    assert losses["color"].requires_grad


def test_several_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="one device per run, found 2"):
        MoegsPipelineConfig(datamanager=ToyDataManagerConfig(), model=ToyModelConfig()).setup(
            device="cpu", test_mode="val", world_size=2
        )


def test_evaluation_rows_averages_and_protocol() -> None:
    pipeline = make_pipeline("test")
    results = pipeline.get_average_eval_image_metrics(get_std=True)
    rows = results["per_image"]
    expected = [("cam02", frame) for frame in range(100, 104)] + [("cam03", 100), ("cam03", 101)]
    assert [(row["camera"], row["frame"]) for row in rows] == expected
    assert [row["time"] for row in rows] == pytest.approx([0, 1 / 3, 2 / 3, 1, 0, 1 / 3])
    for row, image in zip(rows, pipeline.datamanager.eval_dataset.images, strict=True):
        truth = image.numpy().astype(np.float64) / 255
        rendering = np.clip(0.5 * (1 + 0.1 * row["time"]) + 0.01 * pipeline.model.points.square().sum().item(), 0, 1)
        assert row["psnr"] == pytest.approx(-10 * np.log10(np.mean((rendering - truth) ** 2)), abs=1e-4)
    values = [row["psnr"] for row in rows]
    assert results["psnr"] == pytest.approx(np.mean(values))
    assert results["psnr_std"] == pytest.approx(np.std(values))
    assert results["render_ms"] == pytest.approx(np.median([row["render_ms"] for row in rows]))
    assert results["fps"] == pytest.approx(1e3 / results["render_ms"])
    assert results["num_rays_per_sec"] == pytest.approx(results["fps"] * 16 * 12)
    assert results["peak_memory_mb"] > 10
    protocol = results["protocol"]
    assert (protocol["split"], protocol["images"], protocol["resolution"]) == ("test", 6, [16, 12])
    assert protocol["cameras"] == ["cam02", "cam03"]
    assert protocol["frames"] == {"first": 100, "last": 103, "distinct": 4}
    assert protocol["model"]["raster_backend"] == "toy"
    assert "data range 1" in protocol["metrics"]["psnr"]
    assert "step that was loaded" in protocol["checkpoint_rule"] and protocol["versions"]["torch"] == torch.__version__
    assert protocol["source"] is None or len(protocol["source"]["commit"]) == 40
    assert "brightness" in rows[0]  # the model's own metrics stay; equal names are the protocol's
    json.dumps(results, allow_nan=False)


def test_scores_of_what_moves_and_flickers() -> None:
    """The left of the cameras' images is noise, the right stands still."""
    pipeline = make_pipeline("test")
    images = pipeline.datamanager.eval_dataset.images
    images[:, :, 6:] = torch.tensor([10, 20, 30], dtype=torch.uint8)
    results = pipeline.get_average_eval_image_metrics(get_std=True)
    rows = results["per_image"]
    moving = np.arange(16) < 6 + 3  # the averaging's pixel and the margin's two
    for row, image in zip(rows, images, strict=True):
        shown = np.clip(0.5 * (1 + 0.1 * row["time"]) + 0.01 * pipeline.model.points.square().sum().item(), 0, 1)
        truth = image.numpy()[:, moving].astype(np.float64) / 255
        assert row["psnr_dynamic"] == pytest.approx(-10 * np.log10(np.mean((shown - truth) ** 2)), abs=1e-4)
    assert ["flicker" in row for row in rows] == [False, True, True, True, False, True]
    assert rows[1]["flicker"] == pytest.approx(255 * 0.05 / 3, rel=1e-3)  # it brightens by a third of 0.1 * 0.5
    assert results["flicker"] == pytest.approx(255 * 0.05 / 3, rel=1e-3)
    assert results["psnr_dynamic"] == pytest.approx(np.mean([row["psnr_dynamic"] for row in rows]))
    regions = results["protocol"]["dynamic_regions"]
    assert {name: (one["share"], one["truth_flicker"], one["frame_step"]) for name, one in regions.items()} == {
        "cam02": (9 / 16, 0.0, 1),
        "cam03": (9 / 16, 0.0, 1),
    }
    json.dumps(results, allow_nan=False)


def test_what_a_moving_camera_cannot_tell_is_said() -> None:
    pipeline = make_pipeline("test")
    pipeline.datamanager.eval_dataset.cameras.camera_to_worlds[:, 0, 3] += torch.arange(6.0)
    results = pipeline.get_average_eval_image_metrics(get_std=True)
    assert not {"psnr_dynamic", "flicker"} & results.keys()
    metrics = results["protocol"]["metrics"]
    assert metrics["psnr_dynamic"] == metrics["flicker"]
    assert metrics["flicker"].startswith("unavailable: no test camera that stands still (cam02 and 1 more: the camera")


def test_the_size_is_that_of_a_file_of_the_model(tmp_path: Path) -> None:
    pipeline = make_pipeline("test")
    pipeline.model.large = nn.Parameter(torch.zeros(100_000))
    torch.save(dict(pipeline.model.state_dict()), tmp_path / "model.pt")
    results = pipeline.get_average_eval_image_metrics(get_std=True)
    # Names inside the file follow its own and are padded.
    assert results["model_mb"] == pytest.approx((tmp_path / "model.pt").stat().st_size / 1e6, abs=2e-4)
    assert results["model_mb"] > 0.4


def test_a_single_image_has_a_finite_deviation() -> None:
    results = make_pipeline("test", num_eval_images=1).get_average_eval_image_metrics(get_std=True)
    assert results["psnr_std"] == 0.0


def test_training_time_evaluation_returns_scalars_only() -> None:
    results = make_pipeline().get_average_eval_image_metrics(step=3)
    assert {name: type(value) for name, value in results.items() if not isinstance(value, float)} == {}
    assert "psnr_std" not in results


def test_only_rendering_is_timed_and_warm_up_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline("test", num_eval_images=3)
    renders = []
    render = pipeline.model.get_outputs_for_camera

    def slow_at_first(camera: Any) -> Any:
        renders.append(camera)
        time.sleep(0.2 if len(renders) <= 2 else 0.02)
        return render(camera)

    def slow_metrics(self: MetricsProtocol, *args: Any, **kwargs: Any) -> dict[str, float]:
        time.sleep(0.1)
        return {"psnr": 1.0}

    monkeypatch.setattr(pipeline.model, "get_outputs_for_camera", slow_at_first)
    monkeypatch.setattr(MetricsProtocol, "measure", slow_metrics)
    results = pipeline.get_average_eval_image_metrics(output_path=tmp_path / "images", get_std=True)
    assert len(renders) == 3 + 2
    assert 20 <= results["render_ms"] < 80
    written = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert written == [f"eval_{name}_{index:04d}.png" for name in ("img", "rgb") for index in range(3)]
    assert Image.open(tmp_path / "images" / written[0]).size == (16, 12)


def test_evaluation_keeps_random_generators_and_modes() -> None:
    pipeline = make_pipeline()
    pipeline.model.frozen = nn.Dropout().eval()  # a frozen part of a model in training
    torch.manual_seed(1)
    random.seed(1)
    state = capture_random_state()
    expected = draw_numbers()
    for evaluate in (
        lambda: pipeline.get_average_eval_image_metrics(),
        lambda: pipeline.get_eval_image_metrics_and_images(step=0),
        lambda: pipeline.get_eval_loss_dict(step=0),
    ):
        restore_random_state(state)
        evaluate()
        assert draw_numbers() == expected
        assert (pipeline.training, pipeline.model.training, pipeline.model.frozen.training) == (True, True, False)
    pipeline.eval()
    pipeline.get_average_eval_image_metrics()
    assert not pipeline.model.training


def test_random_state_survives_a_failure() -> None:
    state = capture_random_state()

    def fail() -> None:
        with preserved_random_state():
            draw_numbers()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert_equal_state(capture_random_state(), state)


def test_single_evaluation_image_feeds_the_training_log() -> None:
    metrics, images = make_pipeline().get_eval_image_metrics_and_images(step=0)
    assert metrics["num_rays"] == 16 * 12
    assert {"psnr", "ssim"} <= metrics.keys()
    assert images["img"].shape == (12, 16, 3)


def test_evaluation_does_not_change_the_training_trajectory(tmp_path: Path) -> None:
    quiet = start_training(toy_config(tmp_path, 15, "quiet"))
    watched = start_training(
        toy_config(tmp_path, 15, "watched", steps_per_eval_image=2, steps_per_eval_batch=3, steps_per_eval_all_images=4)
    )
    assert_equal_state(load(quiet.base_dir), load(watched.base_dir))
    assert quiet.pipeline.model.losses == watched.pipeline.model.losses


def test_evaluation_during_training_reaches_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = start_training(toy_config(tmp_path, 9, steps_per_eval_image=4, steps_per_eval_all_images=4)).base_dir
    events = EventAccumulator(str(run)).Reload()
    tags = events.Tags()["scalars"]
    assert {"Eval Images Metrics/psnr", "Eval Images Metrics Dict (all images)/ssim", "Train Loss Dict/color"} <= set(
        tags
    )
    assert "learning_rate/points" in tags
    assert len(events.Scalars("Eval Images Metrics Dict (all images)/fps")) == 2


def test_an_empty_validation_split_does_not_stop_training(tmp_path: Path) -> None:
    trainer = start_training(
        toy_config(tmp_path, 6, num_eval_images=0, steps_per_eval_image=2, steps_per_eval_all_images=2)
    )
    assert trainer.step == 5
    with pytest.raises(ValueError, match="images in the 'val' split, found none"):
        trainer.pipeline.get_average_eval_image_metrics()


def test_broken_rendering_is_named() -> None:
    pipeline = make_pipeline()
    with torch.no_grad():
        pipeline.model.pixels[0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="found NaN or infinity"):
        pipeline.get_average_eval_image_metrics()


def test_loading_is_strict() -> None:
    pipeline = make_pipeline()
    state = pipeline.state_dict()
    state["_model.pixels"] = state["_model.pixels"] + 1
    pipeline.load_pipeline(state, step=3)
    assert torch.equal(pipeline.model.pixels, state["_model.pixels"])
    missing = {key: value for key, value in state.items() if key != "_model.pixels"}
    with pytest.raises(RuntimeError, match="pixels"):
        pipeline.load_pipeline(missing, step=3)
    with pytest.raises(RuntimeError, match=r"found 'other\.key'"):
        pipeline.load_state_dict({**state, "other.key": torch.zeros(1)})
