"""A training that cannot begin leaves no folder behind."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.router.building import make_expert, save_run
from tests.scene.make_video import numbered_scene
from tests.training.inprocess import start_training


def config_of(method: str, data: Path, output_dir: Path) -> Any:
    from moegs_ns.method_configs import moegs_router, moegs_stg

    config = copy.deepcopy({"moegs-stg": moegs_stg, "moegs-router": moegs_router}[method].config)
    config.data = config.pipeline.datamanager.data = data
    config.output_dir, config.vis, config.timestamp = output_dir, "tensorboard", "run"
    return config


@pytest.mark.parametrize("method", ["moegs-stg", "moegs-router"])
def test_without_data(tmp_path: Path, method: str) -> None:
    config = config_of(method, tmp_path / "nowhere", tmp_path / "outputs")
    with pytest.raises(FileNotFoundError, match=r"expected a scene folder at .*nowhere, found none; check --data"):
        start_training(config)
    assert not (tmp_path / "outputs").exists()


def test_on_experts_of_another_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is any of its video decoded."""
    from moegs_ns.scene.frame_store import FrameStore

    monkeypatch.setattr(FrameStore, "prepare", lambda self: pytest.fail("decodes"))
    data = numbered_scene(tmp_path / "dance", num_cameras=3, num_frames=6)
    runs = [
        save_run(tmp_path / f"run{seed}", make_expert("stg", seed=seed), "stg", near=0.3, far=9.0) for seed in (0, 1)
    ]
    config = config_of("moegs-router", data, tmp_path / "outputs")
    config.pipeline.model.experts = tuple(runs)
    with pytest.raises(ValueError, match=r"expected experts of the scene 'dance', found .* trained on 'toy'"):
        start_training(config)
    assert not (tmp_path / "outputs").exists()
