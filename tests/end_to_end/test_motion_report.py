"""``moegs report motion`` on a trained run."""

from pathlib import Path

import pytest
from PIL import Image

from moegs_ns.cli.main import run


def test_numbers_and_a_picture(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["report", "motion", str(trained_run), "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "straightness" in said and "ball" in said and "3D end-point error" in said
    with Image.open(tmp_path / "trajectories-cam00.png") as picture:
        width, height = picture.size
    assert width == 2 * 80 + 2 and height > 60  # truth beside the expert, a line of text above


def test_a_run_folder_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["report", "motion", str(tmp_path)]) == 1
    assert "error:" in capsys.readouterr().err
