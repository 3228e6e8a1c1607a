"""What a sweep trains, and how a mixture is scored."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.end_to_end.sweeping import SWEEP, loaded
from tests.training.fake_processes import value_of


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return {name: importlib.import_module(name) for name in ("sweeps", "mixture_scores")}


# -- what is planned -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["router_temperatures_basketball", "router_temperatures_mixed"])
def test_shipped_sweeps_train_everything_without_their_val_cameras(
    scripts: dict[str, ModuleType], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts["sweeps"], "find_data", lambda data: tmp_path / data)
    sweep = scripts["sweeps"].read_sweep(name)
    assert "cam00" not in sweep.val_cams
    experts, routers = sweep.stages(42, tmp_path / "runs")
    assert [stage.method for stage in experts] == ["moegs-stg", "moegs-4dgaussians"]
    stages = [*experts, *(stage for _, stage in routers)]
    assert all(stage.run.name.startswith(f"sweep-{name}-seed42") for stage in stages)
    assert len({stage.run for stage in stages}) == len(stages)
    for stage in stages:
        command = stage.command()
        position = command.index("--val-cams") + 1
        assert tuple(command[position : position + len(sweep.val_cams)]) == sweep.val_cams
        assert command.index("n3v-data") < position
    for _, stage in routers:
        assert stage.needs == tuple(expert.run for expert in experts)
    temperatures = set()
    for choice, stage in routers:
        train, own = (value_of(stage.command(), f"--pipeline.model.{when}-temperature") for when in ("train", "eval"))
        for scoring in choice.scorings:
            at = own if scoring.eval_temperature is None else f"{scoring.eval_temperature:g}"
            assert scoring.label.startswith(f"train {train}, evaluate {at}"), "the label says what is done"
            temperatures.add((train, at))
    assert temperatures == {("1", "1"), ("0.1", "0.1"), ("0.01", "1"), ("0.01", "0.01")}


def test_the_routers_options_are_those_ns_train_knows(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    import tyro

    from moegs_ns.method_configs import moegs_router

    _, routers = scripts["sweeps"].read_sweep("router_temperatures_mixed").stages(42, tmp_path)
    config = tyro.cli(
        type(moegs_router.config),
        default=moegs_router.config,
        args=routers[-1][1].command()[2:],
        config=(tyro.conf.FlagConversionOff,),
    )
    assert (config.pipeline.model.train_temperature, config.pipeline.model.eval_temperature) == (0.1, 0.1)
    rates = {group: config.optimizers[group]["optimizer"].lr for group in ("weights", "time_weights", "network")}
    assert rates == {"weights": 0.1, "time_weights": 0.01, "network": 0.01}
    assert config.optimizers["weights"]["scheduler"].lr_final == 0.001
    assert config.pipeline.datamanager.dataparser.val_cams == ("cam05", "cam08")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("val_cams = [", "val_cam = ["), "val_cams"),
        (('val_cams = ["cam05", "cam08"]', "val_cams = []"), "at least one val camera"),
        (('label = "hard / 0.5"', 'label = "soft"'), "labels that differ"),
        (('label = "hard, 1"', 'label = "soft"'), "labels of rows that differ"),
        (("frame_step = 2", 'options = ["--val-cams", "cam01"]'), "not as --val-cams"),
        (("frame_step = 2", "frame_step = 0"), "frame_step of at least 1"),
        (('["stg", "4dgaussians"]', '["stg"]'), "at least two experts"),
        (("evaluate =", "evaluations ="), "a choice has no evaluations"),
    ],
)
def test_sweeps_that_cannot_be_meant_are_refused(
    scripts: dict[str, ModuleType], tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    text = SWEEP.replace(*change)
    assert text != SWEEP
    sweep_file = tmp_path / "try.toml"
    sweep_file.write_text(text)
    with pytest.raises(ValueError, match=message):
        scripts["sweeps"].read_sweep(str(sweep_file))


def test_a_sweep_that_does_not_exist_is_refused_with_those_that_do(scripts: dict[str, ModuleType]) -> None:
    with pytest.raises(ValueError, match="unknown sweep 'nothing'; known: .*router_temperatures_mixed"):
        scripts["sweeps"].read_sweep("nothing")


# -- scores ----------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_chosen_frames_at_each_temperature(scripts: dict[str, ModuleType]) -> None:
    scores = scripts["mixture_scores"].score(loaded(), [1.0, 0.5], 2, "val")
    truth = np.full((12, 16, 3), 0.2)
    truth[:, :4] = 0.0

    def decibel(*pictures: np.ndarray) -> float:
        return float(np.mean([-10 * np.log10(np.square(picture - truth).mean()) for picture in pictures]))

    bright = (0.5, 0.7)  # frames 0 and 2 of three, of both cameras
    black = np.zeros_like(truth)
    flat = [np.full_like(truth, value) for value in bright]
    for temperature, found in zip((1.0, 0.5), scores, strict=True):
        weight = 1 / (1 + np.exp(1 / temperature))  # of the second expert
        assert found["psnr"] == pytest.approx(decibel(*(weight * one for one in flat)), abs=1e-4)
        assert found["gate_4dgaussians"] == pytest.approx(weight, abs=1e-6)
        assert found["largest_gate"] == pytest.approx(1 - weight, abs=1e-6)
        assert found["expert_stg/psnr"] == pytest.approx(decibel(black), abs=1e-4)
        assert found["expert_4dgaussians/psnr"] == pytest.approx(decibel(*flat), abs=1e-4)
        assert found["mean_of_experts/psnr"] == pytest.approx(decibel(*(one / 2 for one in flat)), abs=1e-4)
        # 0.2 is nearer to 0 than to 0.5: every oracle takes the black picture everywhere.
        assert found["pixel_oracle/psnr"] == found["smoothed_oracle/psnr"] == found["expert_stg/psnr"]
        assert -1 <= found["ssim"] <= 1
        assert found["protocol"]["cameras"] == ["cam05", "cam08"]
        assert (found["protocol"]["images"], found["protocol"]["split"]) == (4, "val")
        assert [(row["camera"], row["frame"]) for row in found["per_image"]] == [
            (camera, frame) for camera in ("cam05", "cam08") for frame in (3, 5)
        ]
