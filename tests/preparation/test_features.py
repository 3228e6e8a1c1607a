"""Features on drawn pictures whose points are known, and on two cameras of the sample scene."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from moegs_ns.preparation.features import Features, detect, match
from moegs_ns.preparation.two_view import fundamental_matrix, intrinsics_of, sampson_distance, viewmats_from_poses
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.decoding import iterate_frames


def discs(centres: np.ndarray, height: int = 120, width: int = 160) -> np.ndarray:
    """White discs of radius 5 on black, blurred as a lens does; centres count from the corner of the picture."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    distance = np.min([np.hypot(columns - x, rows - y) for x, y in centres], axis=0)
    grey = (255 * np.clip(5.5 - distance, 0, 1)).astype(np.uint8)
    return np.repeat(cv2.GaussianBlur(grey, (0, 0), 1.0)[..., None], 3, axis=2)


def test_points_lie_where_the_picture_has_them() -> None:
    """To a tenth of a pixel: the usual half-pixel (or OpenCV's quarter-pixel) mistake would show."""
    centres = np.array([[40.5, 30.5], [110.25, 60.75], [70.25, 90.5]])
    points = detect(discs(centres)).points
    for centre in centres:
        np.testing.assert_allclose(points[np.linalg.norm(points - centre, axis=1).argmin()], centre, atol=0.1)


def test_matches_follow_a_shift() -> None:
    random = np.random.default_rng(0)
    picture = cv2.GaussianBlur(random.integers(0, 256, (200, 260, 3), dtype=np.uint8), (0, 0), 2.0)
    one, other = detect(picture[:160, :200].copy()), detect(picture[20:180, 30:230].copy())
    pairs = match(one, other)
    assert pairs.dtype == np.int64 and len(pairs) > 50
    moved = one.points[pairs[:, 0]] - other.points[pairs[:, 1]]
    assert np.mean(np.abs(moved - [30, 20]).max(axis=1) < 0.2) > 0.95
    assert len(set(pairs[:, 1].tolist())) == len(pairs)  # mutual
    assert len(match(one, other, ratio=0.5)) < len(pairs)
    assert {tuple(pair) for pair in pairs} & {tuple(pair) for pair in match(other, one)[:, ::-1]}


def test_limits_and_empty_pictures() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    few = detect(picture, limit=10)
    assert len(few) <= 10 and few.points.dtype == few.descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(few.descriptors, axis=1), 1, atol=1e-4)
    nothing = detect(np.zeros((64, 64, 3), np.uint8))
    assert len(nothing) == 0 and match(nothing, few).shape == (0, 2) == match(few, nothing).shape


def test_ratio_refuses_what_has_a_double() -> None:
    base = np.eye(128, dtype=np.float32)
    one = Features(np.zeros((2, 2), np.float32), base[:2])
    twice = Features(np.zeros((4, 2), np.float32), base[[0, 0, 1, 2]])
    np.testing.assert_array_equal(match(one, twice), [[1, 2]])


@pytest.mark.parametrize(
    ("image", "limit"),
    [(np.zeros((8, 8), np.uint8), 10), (np.zeros((8, 8, 3)), 10), (np.zeros((8, 8, 3), np.uint8), 0)],
)
def test_refusals(image: np.ndarray, limit: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        detect(image, limit)
    with pytest.raises(ValueError, match="ratio"):
        match(Features(np.zeros((0, 2)), np.zeros((0, 128))), Features(np.zeros((0, 2)), np.zeros((0, 128))), 0.0)


def test_neighbouring_cameras_of_the_sample_scene_agree_with_their_poses(sample_scene: Path) -> None:
    scene = N3VDataParserConfig(data=sample_scene).setup().read_scene()
    first = [int(np.flatnonzero((scene.camera == camera) & (scene.frame == 0))[0]) for camera in (0, 1)]
    images = [next(iterate_frames(sample_scene / f"cam{camera:02d}.mp4", 0, 1)) for camera in (0, 1)]
    features = [detect(image) for image in images]
    pairs = match(*features)
    viewmats, intrinsics = viewmats_from_poses(scene.poses[first]), intrinsics_of([scene.pinholes[i] for i in first])
    matrix = fundamental_matrix(viewmats[0], intrinsics[0], viewmats[1], intrinsics[1])
    distance = sampson_distance(matrix, features[0].points[pairs[:, 0]], features[1].points[pairs[:, 1]])
    assert len(pairs) > 100 and np.median(distance) < 0.6
