"""The benchmark of preparation: its measures on scenes whose errors are known, and the section written of it."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from moegs_ns.scene.points import PointCloud, write_ply
from moegs_ns.scene.poses_bounds import PosesBounds, write_poses_bounds
from tests.preparation.made_up_rig import poses_on_an_arc


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        return {name: importlib.import_module(name) for name in ("preparation", "preparation_section")}


def leave_scene(folder: Path, poses: np.ndarray, focal: float, points: np.ndarray) -> Path:
    folder.mkdir()
    count = len(poses)
    cameras = PosesBounds(
        poses, np.tile([320, 240], (count, 1)), np.full(count, focal), np.tile([1.0, 5.0], (count, 1))
    )
    write_poses_bounds(folder / "poses_bounds.npy", cameras)
    write_ply(folder / "points3D.ply", PointCloud(points.astype(np.float32), np.zeros(points.shape, np.uint8)))
    return folder


def test_errors_are_those_after_alignment(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    poses, points = poses_on_an_arc(5), np.random.default_rng(0).uniform(-1, 1, (60, 3))
    given = leave_scene(tmp_path / "given", poses, 300.0, points)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moved = np.concatenate([turn @ poses[:, :, :3], (3 * poses[:, :, 3] @ turn.T + 7)[:, :, None]], axis=2)
    exact = leave_scene(tmp_path / "exact", moved, 303.0, 3 * points @ turn.T + 7)
    errors = scripts["preparation"].camera_errors(given, exact)
    assert errors["worst_percent"] < 1e-6
    assert errors["worst_degrees"] < 1e-3
    assert errors["worst_focal_percent"] == pytest.approx(1)
    distances = scripts["preparation"].seed_distances(given, exact)
    assert (distances["given"], distances["prepared"]) == (60, 60)
    assert distances["prepared_to_given_percent"] < 1e-3
    moved[2, :, 3] += [0, 0, 0.3]
    wrong = leave_scene(tmp_path / "wrong", moved, 300.0, points)
    assert scripts["preparation"].camera_errors(given, wrong)["worst_percent"] > 1


def test_the_section_says_what_was_measured(scripts: dict[str, ModuleType], tmp_path: Path, project_root: Path) -> None:
    measured = json.loads((project_root / "benchmarks" / "results" / "preparation.json").read_text("utf8"))
    (tmp_path / "kept.json").write_text(json.dumps(measured))
    text = "\n".join(scripts["preparation_section"].preparation_section(tmp_path / "kept.json"))
    for name, scene in measured["scenes"].items():
        assert f"| {name} | {scene['cameras']['cameras']} |" in text
        assert str(scene["seeds"]["prepared"]) in text
        if "training" in scene:
            assert f"{scene['training']['prepared']['psnr']:.2f}" in text
    assert scripts["preparation_section"].preparation_section(tmp_path / "nothing.json") == []


def test_unknown_scenes_are_refused(scripts: dict[str, ModuleType]) -> None:
    with pytest.raises(ValueError, match="expected scenes among basketball, mixed, found coffee"):
        scripts["preparation"].select(["coffee"])
