"""``moegs export`` on trained runs: files read back look like the model, and the command says how much."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moegs_ns.cli.main import run
from moegs_ns.exporting.splat_page import read_splat_page

pytestmark = pytest.mark.slow


def exported(run_folder: Path, output: Path, *options: object) -> dict[str, Any]:
    assert run(["export", str(run_folder), "--output", str(output), *map(str, options)]) == 0
    return json.loads((output / "export.json").read_text("utf8"))


@pytest.mark.parametrize(
    ("chosen", "floor"), [("ply", 70.0), ("splat", 36.0), ("4dgs", 36.0), ("html", 40.0), ("video", 25.0)]
)
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


def test_a_page_is_as_small_as_asked(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The trained run has degree 0 only, so nothing can be left out: what fits is written, what does not is told."""
    options = (str(trained_run), "--html", "--frames", "::6", "--check-images", "0")
    assert run(["export", *options, "--output", str(tmp_path / "page"), "--max-mb", "10"]) == 0
    said = _said(capsys)
    page = tmp_path / "page" / "scene.html"
    assert "MB of the page by degree of spherical harmonics:" in said and "of these 0.4 are the viewer" in said
    content = read_splat_page(page)
    assert content.frames == [0, 6, 12, 18]
    camera = torch.tensor(content.header["view"]["position"])
    assert camera[1] < -2.0 and content.header["view"]["up"][2] > 0.9  # before the scene, whose z is up
    assert run(["export", *options, "--output", str(tmp_path / "small"), "--max-mb", "0.4"]) == 1
    assert "expected a page of at most 0.4 MB" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "small" / "scene.html").exists()


def test_a_mixture_is_refused_but_has_a_video(
    router_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(router_run), "--output", str(tmp_path / "ply")]) == 1
    assert "lives in image space" in " ".join(capsys.readouterr().err.split())
    record = exported(router_run, tmp_path / "video", "--format", "video", "--frames", "::6")
    assert record["files"] == ["cam00.mp4"]


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())
