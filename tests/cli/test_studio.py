"""Films of a capture by one camera, which was nowhere twice: what stands still, what follows its way."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from moegs_ns.cli.studio import Studio
from moegs_ns.runs.record import plain
from moegs_ns.scene.dataparsers.layouts import LAYOUTS
from moegs_ns.training.load_run import dataset_of
from tests.scene.layouts.clip import mixed_clip, moving_capture
from tests.scene.layouts.writers import write_hypernerf

FRAMES = 8


@pytest.fixture(scope="module")
def record(sample_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``run.json`` says of the scene: even frames train, odd ones are held out."""
    clip = moving_capture(mixed_clip(sample_scene, (0, 3, 6, 9), FRAMES, shrink=4))
    folder = write_hypernerf(tmp_path_factory.mktemp("capture") / "scene", clip, lambda shot: shot.frame % 2 == 0)
    config = LAYOUTS["hypernerf"].config(data=folder, downscale=1)
    metadata = config.setup().get_dataparser_outputs(split="train").metadata
    scene = {
        "data": str(folder),
        "layout": "hypernerf",
        "cameras": {"train": ["left"], "val": [], "test": ["left"]},
        **{name: metadata[name] for name in ("num_frames", "first_frame", "fps", "near", "far")},
    }
    return {"scene": scene, "datamanager": {"dataparser": plain(config)}}


def studio_of(record: dict[str, Any]) -> tuple[Studio, Console]:
    console = Console(record=True, width=120, file=io.StringIO())
    return Studio(record, None, console), console


def test_a_camera_that_moved_stands_where_it_is_told_for_the_whole_clip(record: dict[str, Any]) -> None:
    held_out = dataset_of(record, "test").cameras
    for pose_frame, index in ((None, 0), (5, 2)):
        studio, console = studio_of(record)
        film = studio.standing(None, pose_frame, None)
        assert len(film) == FRAMES and film.photographs == ()
        assert film.cameras.times is not None
        np.testing.assert_allclose(film.cameras.times[:, 0], np.linspace(0, 1, FRAMES), atol=1e-7)
        expected = held_out.camera_to_worlds[index].expand(FRAMES, 3, 4)
        torch.testing.assert_close(film.cameras.camera_to_worlds, expected)
        assert f"where it stood in frame {2 * index + 1}" in console.export_text()
    with pytest.raises(ValueError, match=r"--pose-frame among \[1, 3, 5, 7\] of the test split, found 2"):
        studio.standing(None, 2, None)


def test_interpolation_follows_the_cameras_own_way(record: dict[str, Any]) -> None:
    film = studio_of(record)[0].interpolation((), np.linspace(0, 1, 16))
    train = dataset_of(record, "train").cameras.camera_to_worlds
    torch.testing.assert_close(film.cameras.camera_to_worlds[[0, 15]], train[[0, -1]], atol=1e-5, rtol=0)
    assert film.fps == record["scene"]["fps"]
