"""Seed points from files and from nowhere, and how far a scene reaches by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moegs_ns.scene.depth_range import depth_range
from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.points import PointCloud, write_ply
from moegs_ns.scene.seed_files import points3d_files, points_in_cube, points_in_view, read_points_npy, read_seed_cloud

POINTS = np.arange(12.0).reshape(4, 3)


def cloud(count: int = 4, timed: bool = False) -> PointCloud:
    time = np.linspace(0, 1, count, dtype=np.float32)[:, None] if timed else None
    return PointCloud(np.ones((count, 3), np.float32), np.full((count, 3), 7, np.uint8), time)


def test_files_with_times_come_first_then_short_names(tmp_path: Path) -> None:
    for name, timed in (("points3D.ply", False), ("Points3d_total.PLY", True), ("points3D_dense.ply", False)):
        write_ply(tmp_path / name, cloud(timed=timed))
    (tmp_path / "points3D.txt").touch()
    assert [path.name for path in points3d_files(tmp_path)] == [
        "Points3d_total.PLY",
        "points3D.ply",
        "points3D_dense.ply",
    ]


def test_the_first_candidate_that_is_there_or_the_one_named(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", POINTS)
    write_ply(tmp_path / "mine.ply", cloud(3))
    candidates = [tmp_path / "absent.ply", tmp_path / "points.npy", tmp_path / "mine.ply"]
    assert len(read_seed_cloud(tmp_path, None, candidates, 0)) == 4
    assert len(read_seed_cloud(tmp_path, Path("mine.ply"), candidates, 0)) == 3
    assert len(read_seed_cloud(tmp_path, tmp_path / "mine.ply", [], 0)) == 3
    with pytest.raises(FileNotFoundError, match=r"absent\.ply"):
        read_seed_cloud(tmp_path, Path("absent.ply"), candidates, 0)
    write_ply(tmp_path / "none.ply", cloud(0))
    with pytest.raises(ValueError, match="expected points in .*none.ply, found none"):
        read_seed_cloud(tmp_path, Path("none.ply"), candidates, 0)


@pytest.mark.parametrize(("random_points", "said"), [(0, "training needs some"), (50, "50 grey points at random")])
def test_without_a_file_it_says_what_happens(tmp_path: Path, random_points: int, said: str) -> None:
    with pytest.warns(UserWarning, match=f"no seed points .*{said}.*--point-cloud"):
        assert read_seed_cloud(tmp_path, None, [tmp_path / "absent.ply"], random_points) is None


def test_numpy_points_are_grey_unless_colours_lie_beside_them(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", POINTS)
    grey = read_points_npy(tmp_path / "points.npy")
    np.testing.assert_array_equal(grey.xyz, POINTS.astype(np.float32))
    assert (grey.rgb == 128).all() and grey.time is None
    np.save(tmp_path / "points_rgb.npy", (20 * POINTS).astype(np.uint8))
    np.testing.assert_array_equal(read_points_npy(tmp_path / "points.npy").rgb, (20 * POINTS).astype(np.uint8))
    np.save(tmp_path / "points_rgb.npy", np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a colour in 0\.\.255 for each of the 4 points .*found \[3, 3\]"):
        read_points_npy(tmp_path / "points.npy")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 2)), r"expected numbers \[M,3\] .*found float64 \[4, 2\]"),
        (np.array(["a"]), r"expected numbers \[M,3\]"),
        (np.array([[0, np.nan, 0]]), "finite"),
    ],
)
def test_arrays_that_are_no_points(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "points.npy", array)
    with pytest.raises(ValueError, match=message):
        read_points_npy(tmp_path / "points.npy")
    (tmp_path / "points.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="expected a NumPy array"):
        read_points_npy(tmp_path / "points.npy")


def two_views() -> tuple[np.ndarray, list[Pinhole]]:
    """One camera at the origin that looks along -z, one ten units to its right that looks along +z."""
    ahead, back = np.eye(4)[:3], np.diag([-1.0, 1.0, -1.0, 1.0])[:3]
    back = back.copy()
    back[0, 3] = 10.0
    return np.array([ahead, back]), [Pinhole(50, 40, 30, 20, 64, 48), Pinhole(60, 60, 32, 24, 64, 48)]


def test_random_points_are_in_view_at_all_depths() -> None:
    poses, pinholes = two_views()
    points = points_in_view(8000, poses, pinholes, near=0.5, far=8.0)
    seen_by = []
    for pose, view in zip(poses, pinholes, strict=True):
        local = (points.xyz - pose[:, 3]) @ pose[:, :3]
        depth = -local[:, 2]
        columns, rows = view.cx + view.fx * local[:, 0] / depth, view.cy - view.fy * local[:, 1] / depth
        inside = (columns >= 0) & (columns <= view.width) & (rows >= 0) & (rows <= view.height)
        seen_by.append((depth >= 0.5 - 1e-5) & (depth <= 8 + 1e-5) & inside)
        counts = np.histogram(depth[seen_by[-1]], [0.5, 1, 2, 4, 8])[0]
        assert counts.min() > 0.8 * counts.max()  # as many between a distance and its double as between any others
    assert (seen_by[0] ^ seen_by[1]).all() and 0.4 < seen_by[0].mean() < 0.6
    again = points_in_view(8000, poses, pinholes, near=0.5, far=8.0)
    np.testing.assert_array_equal(again.xyz, points.xyz)
    assert (points.rgb == 128).all()


def test_random_points_fill_a_cube() -> None:
    points = points_in_cube(4000, 1.3).xyz
    np.testing.assert_allclose(points.min(axis=0), -1.3, atol=0.01)
    np.testing.assert_allclose(points.max(axis=0), 1.3, atol=0.01)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.06)


def test_depths_count_where_a_camera_sees_the_points() -> None:
    poses, pinholes = two_views()
    first = np.array([[0, 0, -2.0], [0.1, 0, -5.0], [0, 30, -3.0], [0, 0, 7.0]])  # the third is out of view
    near, far = depth_range(first, poses, pinholes)
    assert (near, far) == pytest.approx((2.0, 5.0), abs=0.01)
    near, far = depth_range(np.vstack([first, [[10.0, 0, 9.0]]]), poses, pinholes)  # seen by the other camera
    assert (near, far) == pytest.approx((2.0, 9.0), abs=0.01)
    assert depth_range(np.array([[0, 0, 100.0]]), poses[:1], pinholes[:1]) is None


def test_a_few_strays_do_not_count() -> None:
    poses, pinholes = two_views()
    points = np.zeros((20_000, 3))
    points[:, 2] = -np.linspace(2, 5, len(points))
    points[:5, 2], points[-5:, 2] = -0.01, -1000
    assert depth_range(points, poses, pinholes) == pytest.approx((2.0, 5.0), abs=0.01)
