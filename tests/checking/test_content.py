"""Seed points, bounds and the picture of the rig, over known cameras and points."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moegs_ns.checking.bounds import check_bounds
from moegs_ns.checking.geometry import check_geometry
from moegs_ns.checking.result import Verdict
from moegs_ns.checking.rig_picture import draw_rig
from moegs_ns.checking.seeds import check_coverage, check_places
from moegs_ns.checking.tracks import link
from moegs_ns.scene.points import PointCloud
from tests.checking.rigs import make_pairs, make_views

VIEWS = make_views(6)
TRACKS = link(VIEWS, make_pairs(VIEWS, reach=5))


def cloud(low: float, high: float, count: int = 5000) -> PointCloud:
    xyz = np.random.default_rng(0).uniform(low, high, (count, 3)).astype(np.float32)
    return PointCloud(xyz, np.full((count, 3), 128, np.uint8))


def surface(scale: float = 1.0, shift: float = 0.0) -> PointCloud:
    """Where the matched points of the rig are."""
    xyz = np.random.default_rng(1).uniform(-1, 1, (150, 3)) * scale + shift
    return PointCloud(np.tile(xyz, (3, 1)).astype(np.float32), np.zeros((450, 3), np.uint8))


@pytest.mark.parametrize(
    ("seeds", "random_points", "verdict"),
    [
        (cloud(-2, 2), 0, Verdict.FINE),
        (cloud(-0.3, 0.3), 0, Verdict.DOUBTFUL),
        (cloud(-2, 2, 100), 0, Verdict.DOUBTFUL),
        (cloud(200, 300), 0, Verdict.UNUSABLE),
        (None, 0, Verdict.UNUSABLE),
        (None, 500, Verdict.DOUBTFUL),
    ],
)
def test_coverage(seeds: PointCloud | None, random_points: int, verdict: Verdict) -> None:
    assert check_coverage(VIEWS, seeds, random_points).verdict == verdict


def test_seeds_lie_where_things_are() -> None:
    found = check_places(VIEWS, TRACKS, surface())
    assert found.verdict == Verdict.FINE and found.numbers["median_log_depth_difference"] < 0.01
    # The cameras look at the origin from 4 away: scaled about another point the depths are wrong.
    assert check_places(VIEWS, TRACKS, surface(1.0, 0.9)).verdict > Verdict.FINE
    assert "Hardly any seed" in check_places(VIEWS, TRACKS, surface(0.001, 40.0)).sentence
    assert check_places(VIEWS, TRACKS, None).skipped


def test_bounds_hold_what_is_seen() -> None:
    assert check_bounds(VIEWS, TRACKS, cloud(-1, 1), (1.0, 8.0)).verdict == Verdict.FINE
    near = check_bounds(VIEWS, TRACKS, cloud(-1, 1), (3.9, 8.0))
    assert near.verdict == Verdict.DOUBTFUL and "--near" in near.sentence
    assert check_bounds(VIEWS, TRACKS, cloud(-1, 1), (7.0, 8.0)).verdict == Verdict.UNUSABLE
    assert "different scales" in check_bounds(VIEWS, TRACKS, cloud(-1, 1), (0.1, 2.0)).sentence


def test_places_of_cameras() -> None:
    assert check_geometry(VIEWS, (1.0, 8.0), True).verdict == Verdict.FINE
    twice = check_geometry([*VIEWS, VIEWS[2]], (1.0, 8.0), True)
    assert twice.verdict == Verdict.DOUBTFUL and "cam02" in twice.cameras
    assert check_geometry([VIEWS[0], VIEWS[0]], (1.0, 8.0), False).verdict == Verdict.UNUSABLE


def test_the_rig_is_drawn(tmp_path: Path) -> None:
    plain = np.asarray(
        Image.open(draw_rig(tmp_path / "new" / "rig.png", VIEWS, cloud(-1, 1), (1.0, 8.0))).convert("RGB")
    )
    blamed = np.asarray(
        Image.open(draw_rig(tmp_path / "blamed.png", VIEWS, cloud(-1, 1), (1.0, 8.0), ["cam03"])).convert("RGB")
    )
    assert plain.shape == blamed.shape and plain.shape[1] > 1000

    def red(picture: np.ndarray) -> int:
        return int(((picture[..., 0] > 180) & (picture[..., 1] < 80) & (picture[..., 2] < 80)).sum())

    assert red(plain) == 0 and red(blamed) > 50
    assert draw_rig(tmp_path / "bare.png", VIEWS[:1], None, (1.0, 8.0)).is_file()
