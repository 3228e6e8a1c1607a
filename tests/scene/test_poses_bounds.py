"""poses_bounds.npy: axes, sizes, and files that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moegs_ns.scene.poses_bounds import read_poses_bounds, write_poses_bounds
from tests.scene.make_video import ring_of_cameras


def test_round_trip(tmp_path: Path) -> None:
    cameras = ring_of_cameras(5)
    write_poses_bounds(tmp_path / "p.npy", cameras)
    read = read_poses_bounds(tmp_path / "p.npy")
    assert len(read) == 5
    for name in ("camera_to_worlds", "sizes", "focals", "near_far"):
        np.testing.assert_allclose(getattr(read, name), getattr(cameras, name), atol=1e-15, err_msg=name)


def test_a_row_by_hand(tmp_path: Path) -> None:
    """Camera at (1,2,3) looking along +x with z up: right is -y, down is -z, backward is -x."""
    pose = np.array([[0, 0, -1, 1], [0, -1, 0, 2], [-1, 0, 0, 3]], dtype=float)
    row = np.concatenate([np.hstack([pose, [[480], [640], [500]]]).ravel(), [0.5, 9.0]])
    np.save(tmp_path / "p.npy", row[None])
    read = read_poses_bounds(tmp_path / "p.npy")
    camera_to_world = read.camera_to_worlds[0]
    np.testing.assert_array_equal(camera_to_world @ [0, 0, -2, 1], [3, 2, 3])  # two ahead
    np.testing.assert_array_equal(camera_to_world @ [2, 0, 0, 1], [1, 0, 3])  # two to the right
    np.testing.assert_array_equal(camera_to_world @ [0, 2, 0, 1], [1, 2, 5])  # two up
    assert (read.sizes.tolist(), read.focals.tolist(), read.near_far.tolist()) == ([[640, 480]], [500], [[0.5, 9.0]])


def _rows() -> np.ndarray:
    cameras = ring_of_cameras(3)
    right, up, backward, centre = np.moveaxis(cameras.camera_to_worlds, 2, 0)
    intrinsics = np.stack([cameras.sizes[:, 1], cameras.sizes[:, 0], cameras.focals], axis=1)
    poses = np.stack([-up, right, backward, centre, intrinsics], axis=2).reshape(3, 15)
    return np.hstack([poses, cameras.near_far])


def _with(row: int, column: int, value: float) -> np.ndarray:
    rows = _rows()
    rows[row, column] = value
    return rows


def _axes_swapped() -> np.ndarray:
    """Two columns exchanged, as when right comes first: the axes read are a reflection."""
    rows = _rows()
    poses = rows[:, :15].reshape(3, 3, 5)
    poses[:, :, [0, 1]] = poses[:, :, [1, 0]]
    return np.hstack([poses.reshape(3, 15), rows[:, 15:]])


BAD = {
    "LLFF without bounds": (_rows()[:, :15], r"\[N,17\].*\[3, 15\]"),
    "one dimension": (_rows()[0], r"\[N,17\].*\[17\]"),
    "text": (np.full((3, 17), "a"), r"float \[N,17\]"),
    "NaN": (_with(1, 3, np.nan), r"NaN or infinity in rows \[1\]"),
    "infinity": (_with(2, 16, np.inf), r"rows \[2\]"),
    "half pixel": (_with(0, 4, 47.5), "whole pixels"),
    "no width": (_with(1, 9, 0), r"row 1"),
    "negative focal": (_with(2, 14, -3), "focal > 0"),
    "scaled axis": (_with(1, 0, 0.5), r"orthonormal.*row 1"),
    "axes swapped": (_axes_swapped(), r"right-handed.*determinant -1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays(case: str, tmp_path: Path) -> None:
    rows, message = BAD[case]
    np.save(tmp_path / "p.npy", rows)
    with pytest.raises(ValueError, match=message):
        read_poses_bounds(tmp_path / "p.npy")


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="camera poses"):
        read_poses_bounds(tmp_path / "p.npy")
    (tmp_path / "p.npy").write_text("1 2 3")
    with pytest.raises(ValueError, match="NumPy array"):
        read_poses_bounds(tmp_path / "p.npy")
    (tmp_path / "p.npy").touch()
    (tmp_path / "p.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="NumPy array"):
        read_poses_bounds(tmp_path / "p.npy")
    np.savez(tmp_path / "a.npz", a=_rows())
    (tmp_path / "a.npz").rename(tmp_path / "p.npy")
    with pytest.raises(ValueError, match="archive"):
        read_poses_bounds(tmp_path / "p.npy")
