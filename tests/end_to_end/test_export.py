"""``moegs export`` on trained runs: files read back look like the model, and the command says how much."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moegs_ns.cli.main import run

pytestmark = pytest.mark.slow


def exported(run_folder: Path, output: Path, *options: object) -> dict[str, Any]:
    assert run(["export", str(run_folder), "--output", str(output), *map(str, options)]) == 0
    return json.loads((output / "export.json").read_text("utf8"))


@pytest.mark.parametrize(("chosen", "floor"), [("ply", 70.0), ("splat", 36.0), ("4dgs", 36.0), ("video", 25.0)])
def test_files_look_like_the_model(
    trained_run: Path, tmp_path: Path, chosen: str, floor: float, capsys: pytest.CaptureFixture[str]
) -> None:
    options: Sequence[object] = ("--format", chosen, "--frames", "::6", "--check-images", 2)
    record = exported(trained_run, tmp_path / "out", *options)
    images = record["losses"]["images"]
    assert [(one["camera"], one["frame"]) for one in images] == [("cam00", 0), ("cam00", 18)]
    assert record["losses"]["mean"]["psnr"] > floor
    assert f"{record['losses']['mean']['psnr']:.2f} dB to the model's own pictures" in _said(capsys) or floor == 70.0
    assert record["fps"] == 5.0 and record["complete"]
    again = exported(trained_run, tmp_path / "out", *options)
    assert again["losses"] == record["losses"]


@pytest.mark.parametrize("chosen", ["ply", "4dgs"])
def test_worlds_can_be_turned_upright(trained_run: Path, tmp_path: Path, chosen: str) -> None:
    own, turned = (
        exported(trained_run, tmp_path / axes, "--format", chosen, "--frames", 6, "--axes", axes)
        for axes in ("own", "y-down")
    )
    assert min(one["losses"]["mean"]["psnr"] for one in (own, turned)) > (70.0 if chosen == "ply" else 36.0)
    rotation = np.array(turned["coordinates"]["rotation_from_data_set"])
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    assert math.isclose(float(np.linalg.det(rotation)), 1.0, abs_tol=1e-5)
    assert np.allclose(rotation @ [0.0, 0.18, 0.98], [0.0, -1.0, 0.0], atol=0.05)  # z is up in the sample scene


def test_a_mixture_is_refused_but_has_a_video(
    router_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(router_run), "--output", str(tmp_path / "ply")]) == 1
    assert "lives in image space" in " ".join(capsys.readouterr().err.split())
    record = exported(router_run, tmp_path / "video", "--format", "video", "--frames", "::6")
    assert record["files"] == ["cam00.mp4"]


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())
