"""Known cameras from three formats, each written here by its own description."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from moegs_ns.preparation.known_cameras import read_known_cameras
from moegs_ns.preparation.rig import Rig, read_rig, write_rig
from moegs_ns.preparation.source_videos import SourceVideo
from moegs_ns.scene.lens import Lens
from moegs_ns.scene.poses_bounds import PosesBounds, write_poses_bounds
from tests.preparation.made_up_rig import poses_on_an_arc

POSES = poses_on_an_arc(3)
FLIP = np.diag([1.0, -1.0, -1.0])


def videos(count: int = 3, width: int = 320, height: int = 240, stem: str = "cam") -> list[SourceVideo]:
    return [
        SourceVideo(f"cam{index:02d}", Path(f"{stem}{index:02d}.mp4"), width, height, np.arange(5) / 30)
        for index in range(count)
    ]


def world_to_camera(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quaternion w x y z and translation, OpenCV axes."""
    rotation = (pose[:, :3] @ FLIP).T
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return np.array([w, x, y, z]), -rotation @ pose[:, 3]


def write_text_model(
    folder: Path, names: list[str], camera: str = "OPENCV 320 240 300 302 158 121 0.01 0.002 0 0"
) -> Path:
    folder.mkdir(parents=True)
    (folder / "cameras.txt").write_text(f"1 {camera}\n")
    lines = []
    for number, (name, pose) in enumerate(zip(names, POSES, strict=True), start=1):
        quaternion, translation = world_to_camera(pose)
        lines += [" ".join(map(str, [number, *quaternion, *translation, 1, name])), ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    (folder / "points3D.txt").write_text("1 0.5 0.25 -1 10 20 30 0.1\n")
    return folder


def test_rows_of_poses_bounds(tmp_path: Path) -> None:
    near_far = np.array([[1.0, 5.0], [1.1, 5.0], [1.2, 5.0]])
    poses = PosesBounds(POSES, np.tile([640, 480], (3, 1)), np.array([600.0, 610.0, 620.0]), near_far)
    write_poses_bounds(tmp_path / "poses_bounds.npy", poses)
    rig = read_known_cameras(tmp_path / "poses_bounds.npy", videos())
    np.testing.assert_allclose(rig.camera_to_worlds, POSES, atol=1e-12)
    np.testing.assert_array_equal(rig.near_far, near_far)
    assert rig.lenses == [Lens(focal, focal, 160, 120) for focal in (300, 305, 310)]  # videos of half the size


def test_lines_of_technicolor(tmp_path: Path) -> None:
    lines = ["f cu cv ar sk qw qx qy qz tx ty tz"]
    for pose in POSES:
        lines.append(" ".join(map(str, [300, 150, 126, 1.01, 0, *np.concatenate(world_to_camera(pose))])))
    (tmp_path / "cameras_parameters.txt").write_text("\n".join(lines))
    rig = read_known_cameras(tmp_path / "cameras_parameters.txt", videos())
    np.testing.assert_allclose(rig.camera_to_worlds, POSES, atol=1e-9)
    assert rig.lenses[2] == Lens(300, 303, 150, 126)
    assert rig.near_far is None


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("pattern", ["cam{:02d}.png", "cam{:02d}/000000.jpg", "cam{:02d}_000000.png"])
def test_images_of_a_colmap_model(tmp_path: Path, binary: bool, pattern: str) -> None:
    model = write_text_model(tmp_path / "sparse" / "0", [pattern.format(index) for index in range(3)])
    if binary:
        import pycolmap

        reconstruction = pycolmap.Reconstruction(model)
        for file in model.iterdir():
            file.unlink()
        reconstruction.write_binary(model)
    rig = read_known_cameras(tmp_path, videos()[::-1])  # by name, not by order
    np.testing.assert_allclose(rig.camera_to_worlds, POSES[::-1], atol=1e-9)
    assert rig.lenses[0] == Lens(300, 302, 158, 121, radial=(0.01, 0.002))
    np.testing.assert_allclose(rig.points, [[0.5, 0.25, -1]])


def test_a_model_without_one_of_the_videos(tmp_path: Path) -> None:
    write_text_model(tmp_path / "model", ["a.png", "b.png", "cam02.png"])
    with pytest.raises(ValueError, match="expected an image of cam00 in the COLMAP model .* found 3 others"):
        read_known_cameras(tmp_path / "model", videos())


def test_lens_models_that_are_not_understood(tmp_path: Path) -> None:
    camera = "FOV 320 240 300 300 160 120 0.9"
    write_text_model(tmp_path / "model", ["cam00.png", "cam01.png", "cam02.png"], camera)
    with pytest.raises(ValueError, match="found FOV .* undistort"):
        read_known_cameras(tmp_path / "model", videos())


def test_without_pycolmap_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(RuntimeError, match=r"needs pycolmap, .* pip install moegs_ns\[prepare\]"):
        read_known_cameras(tmp_path, videos())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="check --poses"):
        read_known_cameras(tmp_path / "poses", videos())
    with pytest.raises(FileNotFoundError, match="expected a COLMAP model"):
        read_known_cameras(tmp_path, videos())
    poses = PosesBounds(POSES, np.tile([320, 240], (3, 1)), np.full(3, 300.0), np.tile([1.0, 5.0], (3, 1)))
    path = tmp_path / "poses_bounds.npy"
    write_poses_bounds(path, poses)
    with pytest.raises(ValueError, match="found 3 cameras and 2 videos"):
        read_known_cameras(path, videos(2))
    with pytest.raises(ValueError, match="to have the shape of 320x240 .* found 320x180"):
        read_known_cameras(path, videos(height=180))


def test_a_kept_rig_is_read_back(tmp_path: Path) -> None:
    rig = Rig(POSES, [Lens(300, 302, 158, 121, 0.5, (0.01,), (1e-3, 2e-3))] * 3, None, np.array([[1.0, 2.0, 3.0]]))
    write_rig(tmp_path / "rig.json", rig)
    again = read_rig(tmp_path / "rig.json")
    np.testing.assert_array_equal(again.camera_to_worlds, rig.camera_to_worlds)
    np.testing.assert_array_equal(again.points, rig.points)
    assert again.lenses == rig.lenses
    assert again.near_far is None
