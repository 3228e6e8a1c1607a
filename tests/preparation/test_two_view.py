"""Two-view geometry against projections written out by hand, and against OpenCV."""

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from moegs_ns.preparation.two_view import (
    fundamental_matrix,
    intrinsics_of,
    project,
    sampson_distance,
    triangulate,
    viewmats_from_poses,
)
from moegs_ns.scene.lens import Pinhole
from moegs_ns.splats.camera import viewmat_from_camera_to_world

PINHOLES = [Pinhole(300 + 10 * i, 310, 150 + i, 121, 320, 240) for i in range(4)]


@pytest.fixture
def rig() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four cameras around the origin (in some far corner of the world), and 50 points near it."""
    random = np.random.default_rng(0)
    poses = []
    for angle in np.linspace(0, 1.2, 4):
        turn = Rotation.from_rotvec([0.1 * angle, angle, 0.3 * angle]).as_matrix()
        poses.append(np.concatenate([turn, turn @ [[0.0], [0.0], [4.0]] + 100.0], axis=1))
    return np.array(poses), intrinsics_of(PINHOLES), random.uniform(-1, 1, (50, 3)) + 100.0


def pixels_by_hand(poses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """nerfstudio's axes: x right, y up, z backward."""
    pixels = []
    for pose, pinhole in zip(poses, PINHOLES, strict=True):
        x, y, z = ((points - pose[:, 3]) @ pose[:, :3]).T
        pixels.append(np.stack([pinhole.cx + pinhole.fx * x / -z, pinhole.cy - pinhole.fy * y / -z], axis=1))
    return np.array(pixels)


def test_conversion_agrees_with_the_rasterizers(rig: tuple[np.ndarray, ...]) -> None:
    poses, *_ = rig
    for pose, viewmat in zip(poses, viewmats_from_poses(poses), strict=True):
        np.testing.assert_allclose(viewmat, viewmat_from_camera_to_world(torch.from_numpy(pose)).numpy(), atol=1e-12)


def test_projection_and_epipolar_lines(rig: tuple[np.ndarray, ...]) -> None:
    poses, intrinsics, points = rig
    viewmats, pixels = viewmats_from_poses(poses), pixels_by_hand(poses, points)
    projected, depths = project(viewmats, intrinsics, points)
    np.testing.assert_allclose(projected, pixels, atol=1e-8)
    assert (depths > 0).all()
    for one, other in ((0, 1), (2, 0), (3, 1)):
        matrix = fundamental_matrix(viewmats[one], intrinsics[one], viewmats[other], intrinsics[other])
        np.testing.assert_allclose(sampson_distance(matrix, pixels[one], pixels[other]), 0, atol=1e-6)
    many = fundamental_matrix(viewmats[:1], intrinsics[:1], viewmats[1:], intrinsics[1:])
    np.testing.assert_allclose(many[0], fundamental_matrix(viewmats[0], intrinsics[0], viewmats[1], intrinsics[1]))
    assert np.isinf(sampson_distance(np.zeros((3, 3)), pixels[0], pixels[1])).all()


def test_sampson_distance_is_opencvs_in_pixels(rig: tuple[np.ndarray, ...]) -> None:
    poses, intrinsics, points = rig
    viewmats, pixels = viewmats_from_poses(poses), pixels_by_hand(poses, points)
    noisy = pixels[1] + np.random.default_rng(1).normal(0, 3, pixels[1].shape)
    matrix = fundamental_matrix(viewmats[0], intrinsics[0], viewmats[1], intrinsics[1])
    expected = [
        cv2.sampsonDistance(np.append(a, 1.0)[:, None], np.append(b, 1.0)[:, None], matrix)
        for a, b in zip(pixels[0], noisy, strict=True)
    ]
    found = sampson_distance(matrix, pixels[0], noisy)
    np.testing.assert_allclose(found**2, expected, rtol=1e-6)
    np.testing.assert_allclose(sampson_distance(matrix.T, noisy, pixels[0]), found)
    assert 0.5 < np.median(found) < 3


def test_triangulation_finds_the_points(rig: tuple[np.ndarray, ...]) -> None:
    poses, intrinsics, points = rig
    viewmats, pixels = viewmats_from_poses(poses), pixels_by_hand(poses, points)
    seen = np.random.default_rng(2).random((4, 50)) < 0.7
    seen[:2] = True
    wrong = np.where(seen[..., None], pixels, -1e3)  # what is not seen must not count
    found = triangulate(viewmats, intrinsics, wrong, seen)
    np.testing.assert_allclose(found.points, points, atol=1e-6)
    assert np.nanmax(found.errors) < 1e-5 and (np.isnan(found.errors) == ~seen).all()
    np.testing.assert_allclose(found.depths, project(viewmats, intrinsics, points)[1], atol=1e-6)
    centres = poses[:2, :, 3]
    rays = [(points - centre) / np.linalg.norm(points - centre, axis=1, keepdims=True) for centre in centres]
    two = triangulate(viewmats[:2], intrinsics[:2], pixels[:2])
    np.testing.assert_allclose(two.angles, np.arccos((rays[0] * rays[1]).sum(axis=1)), atol=1e-6)


def test_errors_of_triangulation_tell_wrong_pixels(rig: tuple[np.ndarray, ...]) -> None:
    poses, intrinsics, points = rig
    viewmats, pixels = viewmats_from_poses(poses), pixels_by_hand(poses, points)
    pixels[2, :10] += 20
    errors = triangulate(viewmats, intrinsics, pixels).errors
    assert errors[:, :10].max(axis=0).min() > 5 and errors[:, 10:].max() < 1e-5


def test_points_behind_cameras_have_infinite_errors(rig: tuple[np.ndarray, ...]) -> None:
    poses, intrinsics, points = rig
    viewmats = viewmats_from_poses(poses)
    pixels = project(viewmats, intrinsics, 2 * poses[:, :, 3].mean(axis=0) - points[:5] + 20 * poses[0, :, 2])[0]
    assert np.isinf(triangulate(viewmats, intrinsics, pixels).errors).all()


def test_a_point_seen_once_is_refused(rig: tuple[np.ndarray, ...]) -> None:
    poses, intrinsics, points = rig
    seen = np.zeros((4, 50), dtype=bool)
    seen[0] = True
    with pytest.raises(ValueError, match="50 of 50 that fewer do"):
        triangulate(viewmats_from_poses(poses), intrinsics, pixels_by_hand(poses, points), seen)
