"""Cameras from features alone, compared with those the features were made with."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from moegs_ns.preparation.features import Features
from moegs_ns.preparation.options import PrepareOptions
from moegs_ns.preparation.prepare import prepare
from moegs_ns.preparation.similarity import align_similarity
from moegs_ns.preparation.structure_from_motion import estimate_cameras
from moegs_ns.preparation.world import levelled
from moegs_ns.scene.lens import Lens
from moegs_ns.scene.poses_bounds import read_poses_bounds
from tests.preparation.made_up_rig import SIZE, features_of, poses_on_an_arc

POSES = poses_on_an_arc(6)
POINTS = np.random.default_rng(0).uniform(-1.2, 1.2, (250, 3))


def pooled(lenses: list[Lens], instants: int = 2) -> list[list[Features]]:
    """Features of each camera at several instants, of other points each time."""
    parts = np.array_split(POINTS, instants)
    at = [features_of(POSES, lenses, part, seed=index) for index, part in enumerate(parts)]
    return [list(camera) for camera in zip(*at, strict=True)]


def worst_error(found: np.ndarray, true: np.ndarray) -> float:
    """Of camera centres after alignment, as a share of the rig's size."""
    aligned = align_similarity(found, true).apply(found)
    return float(np.linalg.norm(aligned - true, axis=1).max() / np.linalg.norm(true - true.mean(axis=0), axis=1).max())


def test_pooled_features_of_several_instants_place_the_rig() -> None:
    lens = Lens(310, 310, 160, 120)
    estimate = estimate_cameras(pooled([lens] * 6), [SIZE] * 6, model="pinhole")
    assert estimate.placed == list(range(6))
    assert estimate.lenses == "shared"
    assert worst_error(estimate.rig.centres, POSES[:, :, 3]) < 0.01
    assert [found.fx for found in estimate.rig.lenses] == pytest.approx([310] * 6, rel=0.01)
    assert estimate.points > 200
    assert estimate.reprojection_error < 0.5


def test_lenses_that_differ_are_noticed() -> None:
    lenses = [Lens(focal, focal, 160, 120) for focal in (260, 340, 280, 330, 300, 270)]
    estimate = estimate_cameras(pooled(lenses), [SIZE] * 6, model="pinhole")
    assert estimate.lenses == "each"
    assert [found.fx for found in estimate.rig.lenses] == pytest.approx([one.fx for one in lenses], rel=0.03)


def test_a_known_focal_length_is_kept() -> None:
    lens = Lens(310, 310, 160, 120)
    estimate = estimate_cameras(pooled([lens] * 6), [SIZE] * 6, focal=310, model="pinhole", sharing="shared")
    assert {found.fx for found in estimate.rig.lenses} == {310.0}


def test_cameras_that_see_nothing_in_common() -> None:
    strangers = [features_of(POSES[:1], [Lens(310, 310, 160, 120)], POINTS, seed=seed) for seed in range(3)]
    with pytest.raises(ValueError, match="expected two cameras that see the same things"):
        estimate_cameras(strangers, [SIZE] * 3)


def test_without_pycolmap_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(RuntimeError, match=r"needs pycolmap, .* pip install moegs_ns\[prepare\]"):
        estimate_cameras(pooled([Lens(310, 310, 160, 120)] * 6), [SIZE] * 6)


def test_the_world_is_upright_and_of_the_size_asked_for() -> None:
    estimate = estimate_cameras(pooled([Lens(310, 310, 160, 120)] * 6), [SIZE] * 6, model="pinhole", sharing="shared")
    rig = levelled(estimate.rig, depth=4.0)
    assert rig.points is not None
    np.testing.assert_allclose(np.median(rig.points, axis=0), 0, atol=0.1)  # a median turns only nearly with its points
    depths = np.einsum("nmc,nc->nm", rig.points - rig.centres[:, None], -rig.camera_to_worlds[:, :, 2])
    assert np.median(depths) == pytest.approx(4.0)
    # Upright, as the cameras were: heights differ as they did, and right is level.
    np.testing.assert_allclose(rig.camera_to_worlds[:, 2, 0], 0, atol=0.01)
    assert (rig.camera_to_worlds[:, 2, 1] > 0.9).all()
    similarity = align_similarity(rig.centres, POSES[:, :, 3])
    np.testing.assert_allclose(similarity.rotation[2], [0, 0, 1], atol=0.02)


@pytest.mark.slow
def test_the_sample_scene_from_its_videos_alone(sample_scene: Path, tmp_path: Path) -> None:
    videos = tuple(sorted(sample_scene.glob("cam*.mp4")))
    prepared = prepare(PrepareOptions(videos, tmp_path / "scene"))
    true, found = (read_poses_bounds(folder / "poses_bounds.npy") for folder in (sample_scene, prepared.folder))
    assert worst_error(found.camera_to_worlds[:, :, 3], true.camera_to_worlds[:, :, 3]) < 0.01
    np.testing.assert_allclose(found.focals, true.focals, rtol=0.01)
    assert prepared.record["seeds"]["points"] > 1000
    assert {one["file"] for one in prepared.record["videos"].values()} <= {"linked", "copied"}
