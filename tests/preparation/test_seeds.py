"""Seed points from known cameras: matching along lines, joining, triangulating; and what stands in for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moegs_ns.preparation.agreeing_places import agreeing_places
from moegs_ns.preparation.dense_cloud import one_per_voxel, read_dense_cloud
from moegs_ns.preparation.depth_bounds import bounds_from_points, guessed_bounds
from moegs_ns.preparation.guided_matching import guided_match
from moegs_ns.preparation.neighbours import neighbouring_pairs
from moegs_ns.preparation.plane_sweep import swept_cloud
from moegs_ns.preparation.tracks import Tracks, join, locate
from moegs_ns.preparation.triangulated_seeds import detect_enlarged, triangulated_seeds
from moegs_ns.preparation.two_view import fundamental_matrix, intrinsics_of, viewmats_from_poses
from moegs_ns.scene.decoding import iterate_frames
from moegs_ns.scene.lens import Lens, Pinhole
from moegs_ns.scene.points import PointCloud, read_ply, write_ply
from moegs_ns.scene.poses_bounds import read_poses_bounds
from tests.preparation.made_up_rig import SIZE, features_of, poses_on_an_arc, seen_through

POSES = poses_on_an_arc(5)
LENSES = [Lens(310, 310, 160, 120)] * 5
PINHOLES = [lens.pinhole(*SIZE) for lens in LENSES]
VIEWMATS, INTRINSICS = viewmats_from_poses(POSES), intrinsics_of(PINHOLES)
POINTS = np.random.default_rng(0).uniform(-1, 1, (200, 3))


def f_between(one: int, other: int) -> np.ndarray:
    return fundamental_matrix(VIEWMATS[one], INTRINSICS[one], VIEWMATS[other], INTRINSICS[other])


def test_guided_matches_are_right_though_details_repeat() -> None:
    """Half of the points look exactly like the other half: without the cameras' geometry no match stands out."""
    features = features_of(POSES[:2], LENSES[:2], POINTS[:100], noise=0.0)
    twins = features_of(POSES[:2], LENSES[:2], POINTS[100:], noise=0.0)
    from moegs_ns.preparation.features import Features, match

    both = [
        Features(np.concatenate([a.points, b.points]), np.concatenate([a.descriptors, b.descriptors]))
        for a, b in zip(features, twins, strict=True)
    ]
    found = guided_match(*both, f_between(0, 1), tolerance=0.5)
    places = seen_through(POSES[:2], LENSES[:2], POINTS)
    nearest = [
        np.linalg.norm(places[view][:, None] - both[view].points[None], axis=2).argmin(axis=0) for view in range(2)
    ]
    assert len(found) > 150
    assert (nearest[0][found[:, 0]] == nearest[1][found[:, 1]]).mean() > 0.98
    assert len(match(*both)) < 0.5 * len(found)


def test_no_features_no_matches() -> None:
    features = features_of(POSES[:2], LENSES[:2], POINTS[:0])
    assert guided_match(*features, f_between(0, 1), tolerance=1.0).shape == (0, 2)


def test_what_matches_with_the_same_is_joined() -> None:
    points = [np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 2.0], [3.0, 3.0]]), np.array([[4.0, 4.0]])]
    tracks = join(points, {(0, 1): np.array([[0, 1]]), (1, 2): np.array([[1, 0]])})
    assert len(tracks) == 1
    np.testing.assert_array_equal(tracks.seen[:, 0], [True, True, True])
    np.testing.assert_array_equal(tracks.pixels[:, 0], [[0, 0], [3, 3], [4, 4]])


def test_two_places_of_one_image_are_not_one_point() -> None:
    points = [np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 2.0]]), np.array([[4.0, 4.0]])]
    tracks = join(points, {(0, 1): np.array([[0, 0], [1, 0]]), (1, 2): np.array([[0, 0]])})
    np.testing.assert_array_equal(tracks.seen[:, 0], [False, True, True])


def test_a_wrong_view_is_left_out() -> None:
    pixels = seen_through(POSES, LENSES, POINTS)
    pixels[2, :20] += 30
    located = locate(Tracks(pixels, np.ones(pixels.shape[:2], dtype=bool)), VIEWMATS, INTRINSICS, 1.0, 3, 1.0)
    assert len(located) == 200
    assert located.seen[2].sum() == 180
    distances = np.linalg.norm(located.points[:, None] - POINTS[None], axis=2).min(axis=1)
    assert distances.max() < 1e-6
    assert np.nanmax(located.errors) < 1e-6


def test_points_without_parallax_or_enough_views_are_dropped() -> None:
    far = POINTS[:50] * [1, 1, 1] + [0, 800, 0]
    pixels = seen_through(POSES, LENSES, far)
    every = np.ones(pixels.shape[:2], dtype=bool)
    assert len(locate(Tracks(pixels, every), VIEWMATS, INTRINSICS, 1.0, 3, 1.0)) == 0
    two = every.copy()
    two[2:] = False
    near = Tracks(seen_through(POSES, LENSES, POINTS[:50]), two)
    assert len(locate(near, VIEWMATS, INTRINSICS, 1.0, 3, 1.0)) == 0
    assert len(locate(near, VIEWMATS, INTRINSICS, 1.0, 2, 1.0)) == 50


def test_neighbours_are_near_and_look_at_the_same() -> None:
    ring = poses_on_an_arc(12, spread=2 * np.pi * 11 / 12)
    pairs = neighbouring_pairs(ring, [PINHOLES[0]] * 12, 2.0, 6.0, neighbours=2)
    assert {(other - one) % 12 for one, other in pairs} == {1, 11}
    assert len(pairs) == 12
    turned = POSES.copy()
    turned[4, :, :3] = POSES[4, :, :3] @ np.diag([-1, 1, -1])  # looks away
    assert all(4 not in pair for pair in neighbouring_pairs(turned, PINHOLES, 2.0, 6.0, neighbours=4))


def test_bounds_hold_the_points() -> None:
    bounds = bounds_from_points(POINTS, POSES, PINHOLES)
    assert bounds is not None
    depths = np.einsum("nmc,nc->nm", POINTS - POSES[:, None, :, 3], -POSES[:, :, 2])
    assert (bounds[:, 0] < np.percentile(depths, 1, axis=1)).all()
    assert (bounds[:, 1] > np.percentile(depths, 99, axis=1)).all()
    assert bounds_from_points(POINTS - np.array([0, 100, 0]), POSES, PINHOLES) is None
    guess = guessed_bounds(POSES)
    assert (guess[:, 0] < 3).all()
    assert (guess[:, 1] > 5).all()


def test_features_of_small_pictures_lie_where_they_are() -> None:
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    image[28:33, 38:43] = 255  # centred at (40.5, 30.5)
    found = detect_enlarged(image, 50)
    np.testing.assert_allclose(found.points.mean(axis=0), [40.5, 30.5], atol=0.02)  # they lie around it alike


@pytest.fixture(scope="module")
def sample_views(sample_scene: Path) -> tuple[list[np.ndarray], np.ndarray, list[Pinhole]]:
    """Six neighbouring cameras of the sample scene at its first frame."""
    cameras = [0, 3, 4, 8, 9, 10]
    poses = read_poses_bounds(sample_scene / "poses_bounds.npy")
    images = [next(iterate_frames(sample_scene / f"cam{number:02d}.mp4", 0, 1)) for number in cameras]
    return images, poses.camera_to_worlds[cameras], [Pinhole(304, 304, 160, 120, 320, 240)] * 6


def test_seeds_of_the_sample_scene_lie_on_its_surfaces(
    sample_scene: Path, sample_views: tuple[list[np.ndarray], np.ndarray, list[Pinhole]]
) -> None:
    images, poses, pinholes = sample_views
    pairs = neighbouring_pairs(poses, pinholes, 1.9, 8.0, neighbours=4)
    seeds = triangulated_seeds(images, poses, pinholes, pairs, 2000)
    assert len(seeds.cloud) > 400
    assert seeds.reprojection_error is not None and seeds.reprojection_error < 0.5
    truth = read_ply(sample_scene / "points3d.ply")
    distances = np.linalg.norm(seeds.cloud.xyz[::5, None] - truth.xyz[None], axis=2)
    assert np.median(distances.min(axis=1)) < 0.05
    nearest = truth.rgb[distances.argmin(axis=1)].astype(int)
    assert np.median(np.abs(seeds.cloud.rgb[::5].astype(int) - nearest)) < 25


def test_swept_clouds_cover_more_and_lie_on_surfaces(
    sample_scene: Path, sample_views: tuple[list[np.ndarray], np.ndarray, list[Pinhole]]
) -> None:
    """Three cameras at half of 320x240."""
    images, poses, pinholes = (part[1:5] for part in sample_views)
    halves = [np.ascontiguousarray(image[::2, ::2]) for image in images]
    small = [pinhole.resized(160, 120) for pinhole in pinholes]
    pairs = neighbouring_pairs(poses, small, 1.9, 8.0, neighbours=3)
    cloud = swept_cloud(halves, poses, small, pairs, np.tile([1.9, 8.0], (4, 1)), 1500)
    truth = read_ply(sample_scene / "points3d.ply").xyz
    distances = np.linalg.norm(cloud.xyz[::5, None] - truth[None], axis=2).min(axis=1)
    assert 800 < len(cloud) <= 1500
    assert np.median(distances) < 0.08
    assert (distances > 0.5).mean() < 0.1


def test_a_camera_without_neighbours_sweeps_nothing(
    sample_views: tuple[list[np.ndarray], np.ndarray, list[Pinhole]],
) -> None:
    images, poses, pinholes = sample_views
    cloud = swept_cloud(images[:2], poses[:2], pinholes[:2], [(0, 1)], np.tile([1.9, 8.0], (2, 1)), 100)
    assert len(cloud) == 0


def test_agreeing_places_are_nearer_to_surfaces_than_random_ones(
    sample_scene: Path, sample_views: tuple[list[np.ndarray], np.ndarray, list[Pinhole]]
) -> None:
    truth = read_ply(sample_scene / "points3d.ply").xyz[::10]
    cloud = agreeing_places(200, *sample_views, 1.9, 8.0)
    assert len(cloud) == 200

    def distance(points: np.ndarray) -> float:
        return float(np.median(np.linalg.norm(points[:, None] - truth[None], axis=2).min(axis=1)))

    from moegs_ns.scene.seed_files import points_in_view

    assert distance(cloud.xyz) < 0.5 * distance(points_in_view(200, *sample_views[1:], 1.9, 8.0).xyz)


def test_one_point_per_voxel() -> None:
    xyz = np.array([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [-0.1, 0.1, 0.1]], dtype=np.float32)
    cloud = one_per_voxel(PointCloud(xyz, np.array([[0, 0, 0], [10, 20, 30], [50, 50, 50]], dtype=np.uint8)), 1.0)
    np.testing.assert_allclose(cloud.xyz, [[-0.1, 0.1, 0.1], [0.2, 0.1, 0.1]], atol=1e-6)
    np.testing.assert_array_equal(cloud.rgb, [[50, 50, 50], [5, 10, 15]])
    with pytest.raises(ValueError, match="--voxel above 0"):
        one_per_voxel(cloud, 0)


def test_a_dense_cloud_of_a_workspace(tmp_path: Path) -> None:
    xyz = np.random.default_rng(0).uniform(0, 1, (5000, 3)).astype(np.float32)
    (tmp_path / "dense").mkdir()
    write_ply(tmp_path / "dense" / "fused.ply", PointCloud(xyz, np.zeros((5000, 3), np.uint8)))
    cloud, voxel = read_dense_cloud(tmp_path, 0.25)
    assert (len(cloud), voxel) == (64, 0.25)
    assert read_dense_cloud(tmp_path / "dense" / "fused.ply", None)[1] == pytest.approx(1 / 200, rel=0.05)
    with pytest.raises(FileNotFoundError, match=r"expected fused.ply in .* `colmap stereo_fusion`"):
        read_dense_cloud(tmp_path.parent, None)
