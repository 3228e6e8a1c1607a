"""The data manager shows images up to a time only."""

from pathlib import Path

import pytest

from moegs_ns.scene.datamanager import DynamicDataManagerConfig
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from tests.scene.make_video import numbered_scene

CAMERAS, FRAMES = 3, 6


@pytest.mark.parametrize("error_sampling", [False, True])
def test_a_limited_time_shows_the_first_frames_only(tmp_path: Path, error_sampling: bool) -> None:
    scene = numbered_scene(tmp_path / "numbered", CAMERAS, FRAMES)
    config = DynamicDataManagerConfig(
        data=scene, dataparser=N3VDataParserConfig(), error_sampling=error_sampling, error_sampling_start=1
    )
    manager = config.setup(test_mode="val", device="cpu")
    images = [len(manager.train_dataset) // FRAMES * shown for shown in (1, 4, 6)]
    for latest, count in zip((0.0, 0.6, 1.0), images, strict=True):
        manager.limit_time(latest)
        times = [float(manager.next_train(0)[0].times) for _ in range(10 * count)]
        assert max(times) == pytest.approx(latest) and min(times) == 0
    # A training split may begin later than the clip, where its first frames are held out.
    manager.limit_time(-0.1)
    assert [float(manager.next_train(0)[0].times) for _ in range(8)] == [0.0] * 8
