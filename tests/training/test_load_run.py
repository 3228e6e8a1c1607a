"""Runs brought back without their YAML render what ``ns-eval`` scored."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from moegs_ns.reporting.metrics import psnr
from moegs_ns.runs.record import read_run_record
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.training import load_run as load_run_module
from moegs_ns.training import pipeline
from moegs_ns.training.load_run import config_from_plain, load_run
from tests.training.inprocess import evaluate, train

SMALL = ["--vis", "tensorboard", "--pipeline.lpips"]
SCENE = ["n3v-data", "--downscale", "8", "--first-frame", "2", "--num-frames", "5", "--test-cams", "cam03", "cam07"]


@pytest.fixture(scope="module")
def runs(sample_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A mixture of two experts after a few steps; the experts' runs are gone."""
    outputs = tmp_path_factory.mktemp("outputs")

    def run(method: str, *options: object) -> Path:
        place = ["--output-dir", outputs, "--timestamp", "run", "--data", sample_scene]
        return train([method, *SMALL, *options, *place, *SCENE])

    steps = ("--max-num-iterations", 12, "--pipeline.model.max-gaussians", 400)
    stg = run("moegs-stg", *steps, "--pipeline.model.initial-log-time-scale", -2.3)
    deformed = run("moegs-4dgaussians", *steps, "--pipeline.model.coarse-steps", 4, "--pipeline.model.width", 8)
    mixture = run("moegs-router", "--max-num-iterations", 6, "--experts", stg, deformed)
    shutil.rmtree(deformed)
    return {"stg": stg, "mixture": mixture}


@pytest.mark.parametrize("name", ["stg", "mixture"])
def test_views_and_renders_are_those_ns_eval_scored(runs: dict[str, Path], name: str, tmp_path: Path) -> None:
    rows = evaluate(runs[name], tmp_path / "eval.json")["results"]["per_image"]
    (runs[name] / "config.yml").rename(tmp_path / "config.yml")
    try:
        loaded = load_run(runs[name], device="cpu")
    finally:
        (tmp_path / "config.yml").rename(runs[name] / "config.yml")
    assert loaded.step == read_run_record(runs[name])["progress"]["steps_done"] - 1
    views = list(loaded.views())
    assert [(view.camera_name, view.frame) for view in views] == [(row["camera"], row["frame"]) for row in rows]
    assert {view.camera_name for view in views} == {"cam03", "cam07"}
    assert views[0].frame == 2
    for view, row in zip(views, rows, strict=True):
        outputs = loaded.model.get_outputs_for_camera(view.camera)
        assert psnr(outputs["rgb"].clamp(0, 1), view.truth) == pytest.approx(row["psnr"], abs=1e-4)
        assert view.truth.shape == (30, 40, 3)
    assert loaded.fps == 30.0


def test_freed_memory_is_kept_wherever_frames_are_drawn(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for module in (load_run_module, pipeline):
        monkeypatch.setattr(module, "keep_freed_memory", lambda device, where=module: told.append((where, str(device))))
    load_run(runs["stg"], device="cpu")
    evaluate(runs["stg"], tmp_path / "eval.json")
    assert told == [(load_run_module, "cpu"), (pipeline, "cpu")]


def test_a_split_without_cameras_is_refused(runs: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="expected cameras in the val split"):
        load_run(runs["stg"], split="val")


def test_configs_come_back_as_they_were(tmp_path: Path) -> None:
    config = N3VDataParserConfig(
        data=tmp_path, test_cams=("cam03",), num_frames=5, point_cloud=Path("points.ply"), near=0.5
    )
    from moegs_ns.runs.record import plain

    assert config_from_plain(N3VDataParserConfig, plain(config)) == config
    with pytest.raises(ValueError, match=r"found \['colour'\]: another version made the run"):
        config_from_plain(N3VDataParserConfig, {"colour": 1})


@pytest.mark.parametrize("values", [("cam01",), ()])
def test_lists_become_tuples(values: Sequence[str]) -> None:
    assert config_from_plain(N3VDataParserConfig, {"val_cams": list(values)}).val_cams == tuple(values)
    assert np.isinf(config_from_plain(N3VDataParserConfig, {"far": "inf"}).far)
