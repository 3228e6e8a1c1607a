"""The script that scores a still picture: without arguments, of the bundled scene."""

import json
from pathlib import Path

import pytest
import tyro

from benchmarks.temporal_mean import Arguments, main


def test_the_bundled_scene_is_scored_where_none_is_named(
    sample_scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = tyro.cli(Arguments, args=["--downscale", "8", "--output", str(tmp_path / "scores.json")])
    assert [scene.resolve() for scene in asked.scenes] == [sample_scene.resolve()]
    main(asked)
    (row,) = json.loads((tmp_path / "scores.json").read_text("utf8"))
    assert row["scene"] == "mixed" and row["num_frames"] == 24
    assert f"{row['psnr_mean']:.2f}" in capfd.readouterr().out
