"""``.4dgs`` files, read and validated by the package that defines them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

fourdgs = pytest.importorskip("fourdgs")

from moegs_ns.exporting.fourdgs_file import FourDGSReader, fourdgs_bytes  # noqa: E402
from moegs_ns.exporting.frame_gaussians import FrameGaussians  # noqa: E402
from moegs_ns.exporting.motion_lines import straight_stretches  # noqa: E402
from moegs_ns.splats.splats import Splats  # noqa: E402
from tests.exporting.gaussian_sets import agreement, make_splats  # noqa: E402

FRAMES, FPS = 6, 30.0
FLOOR = 38.0  # decibels: 8 bits of colour, tolerances of motion; wrong conventions are below 25


def moving(degree: int = 2, count: int = 120) -> list[FrameGaussians]:
    """Half of them go round, half stand still; the last comes at frame 2."""
    splats = make_splats(count, degree)
    base = torch.cat([splats.sh[:, :1].clamp(-1.7, 1.7), splats.sh[:, 1:]], dim=1)  # the format clips base colours
    frames = []
    for frame in range(FRAMES):
        time = frame / (FRAMES - 1)
        way = 0.4 * torch.tensor([math.cos(3 * time), math.sin(3 * time), time])
        means = torch.cat([splats.means[: count // 2] + way, splats.means[count // 2 :]])
        last = count if frame > 1 else count - 1
        now = Splats(means[:last], splats.quats[:last], splats.scales[:last], splats.opacities[:last], sh=base[:last])
        frames.append(FrameGaussians(frame, time, now, torch.arange(last)))
    return frames


def written(path: Path, frames: list[FrameGaussians]) -> Path:
    path.write_bytes(fourdgs_bytes(straight_stretches(frames), len(frames), FPS))
    return path


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_every_frame_comes_back(tmp_path: Path, degree: int) -> None:
    frames = moving(degree)
    reader = FourDGSReader(written(tmp_path / "scene.4dgs", frames))
    for frame in frames:
        back = reader.at(frame.frame / FPS)
        assert len(back) == len(frame)
        assert agreement(frame.splats, back) > FLOOR
    assert agreement(frames[0].splats, reader.at(5 / FPS)) < 30.0  # they did move


def test_wrong_conventions_would_be_noticed(tmp_path: Path) -> None:
    frames = moving()
    back = FourDGSReader(written(tmp_path / "scene.4dgs", frames)).at(0.0)
    assert agreement(frames[0].splats, replace(back, quats=back.quats[:, (1, 2, 3, 0)])) < 25.0
    assert agreement(frames[0].splats, replace(back, sh=torch.cat([back.sh[:, :1], -back.sh[:, 1:]], dim=1))) < 30.0


def test_between_frames_gaussians_move_on(tmp_path: Path) -> None:
    frames = moving(0)
    reader = FourDGSReader(written(tmp_path / "scene.4dgs", frames))
    still, moved = reader.at(2.0 / FPS), reader.at(2.4 / FPS)
    assert len(still) == len(moved) == 120
    assert agreement(still, moved) < 60.0


def test_the_package_finds_the_file_valid(tmp_path: Path) -> None:
    from fourdgs.validate import validate

    path = written(tmp_path / "scene.4dgs", moving())
    report = validate(path.read_bytes())
    assert report.ok, report
    scene = fourdgs.read(str(path))
    assert scene.header.temporal_model == "gaussian-birth"
    assert scene.duration_sec == pytest.approx(FRAMES / FPS)
    assert scene.gaussians.sh_degree == 2
