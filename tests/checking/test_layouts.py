"""Every layout can be checked: the same pictures of the sample scene, written in each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from moegs_ns.checking.check import check_scene
from moegs_ns.checking.reading import parser_config
from moegs_ns.checking.result import Verdict
from tests.scene.layouts.clip import Clip, Shot, mixed_clip, moving_capture
from tests.scene.layouts.writers import write_blender, write_hypernerf, write_technicolor, write_transforms


@pytest.fixture(scope="module")
def clip(sample_scene: Path) -> Clip:
    """Five cameras, 8 frames, half size."""
    return mixed_clip(sample_scene, range(5), 8, shrink=2)


def technicolor(folder: Path, clip: Clip) -> tuple[Path, str, list[str]]:
    options = ["--first-frame", "151", "--num-frames", "8", "--test-cams", "0"]
    return write_technicolor(folder / "Birthday", clip), "technicolor-data", options


def transforms(folder: Path, clip: Clip) -> tuple[Path, str, list[str]]:
    return write_transforms(folder, clip), "dynamic-transforms-data", []


def hypernerf(folder: Path, clip: Clip) -> tuple[Path, str, list[str]]:
    capture = moving_capture(clip)
    return write_hypernerf(folder, capture, lambda shot: shot.frame % 2 == 0), "hypernerf-data", ["--downscale", "1"]


def blender(folder: Path, clip: Clip) -> tuple[Path, str, list[str]]:
    capture = moving_capture(clip)

    def opaque(shot: Shot) -> np.ndarray:
        return np.dstack([shot.image, np.full(shot.image.shape[:2], 255, np.uint8)])

    write_blender(folder, {"train": capture, "val": capture, "test": capture}, opaque)
    return folder, "dynamic-blender-data", []


@pytest.mark.slow
@pytest.mark.parametrize("write", [technicolor, transforms, hypernerf, blender])
def test_every_layout_is_checked(write: Callable[..., tuple[Path, str, list[str]]], clip: Clip, tmp_path: Path) -> None:
    data, parser, options = write(tmp_path / "scene", clip)
    report = check_scene(parser_config(data, parser, options))
    said = [(one.name, one.verdict.word, one.sentence) for one in report.results]
    found = {one.name: one for one in report.results}
    assert report.scene is not None, said
    # Poses of the sample scene are right in every layout.
    assert {found[name].verdict for name in ("order", "epipolar", "poses", "bounds")} == {Verdict.FINE}, said
    assert found["synchrony"].skipped == (write in (hypernerf, blender)), said
    assert found["cost"].numbers["seconds_one_thread"] > 0
