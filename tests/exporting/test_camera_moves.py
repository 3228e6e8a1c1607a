"""Camera moves on made-up rigs whose answers are known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from moegs_ns.exporting.camera_moves import (
    Rig,
    along,
    looking_at,
    orbit,
    short_tour,
    spiral,
    spiral_radius,
    through_rig,
)

MIDDLE, UP = np.array([1.0, 2.0, 0.5]), np.array([0.0, 0.0, 1.0])


def arc(degrees: list[float], radius: float = 4.0) -> np.ndarray:
    """Poses ``[n,3,4]`` on a circle around MIDDLE, that look at it."""
    angles = np.radians(degrees)
    ring = np.stack([np.cos(angles), np.sin(angles), np.full_like(angles, 0.2)], axis=1)
    return looking_at(MIDDLE + radius * ring, MIDDLE, UP)


def rig(degrees: list[float] | None = None) -> Rig:
    return Rig.of(arc([-40, -20, 0, 10, 30] if degrees is None else degrees), default_distance=3.0)


def assert_rigid(poses: np.ndarray) -> None:
    turns = poses[:, :, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turns), 1.0)


def test_a_rig_counts_every_place_once_and_keeps_their_order() -> None:
    poses = arc([30, 10, -40])
    assert Rig.of(np.repeat(poses, 5, axis=0), 3.0).poses.tolist() == poses.tolist()
    with pytest.raises(ValueError, match="at least one camera"):
        Rig.of(np.zeros((0, 3, 4)), 3.0)


def test_what_converging_cameras_look_at_is_found() -> None:
    one = rig()
    for pose in one.poses:
        assert one.distance(pose) == pytest.approx(np.linalg.norm(pose[:, 3] - MIDDLE))
    assert np.abs(one.up - UP).max() < 0.1 or one.up[2] > 0.9


def test_parallel_or_single_cameras_look_at_the_default_distance() -> None:
    parallel = np.repeat(arc([0]), 3, axis=0)
    parallel[:, :, 3] += np.arange(3)[:, None] * parallel[0, :, 0]
    assert Rig.of(parallel, 3.0).distance(parallel[0]) == 3.0
    assert rig([0]).distance(rig([0]).poses[0]) == 3.0


def test_a_way_passes_all_cameras_smoothly_and_evenly() -> None:
    poses = arc([-40, -20, 0, 20, 40])
    way = along(poses, 41)
    assert_rigid(way)
    np.testing.assert_allclose(way[[0, 10, 20, 30, 40]], poses, atol=1e-9)
    steps = np.linalg.norm(np.diff(way[:, :, 3], axis=0), axis=1)
    assert steps.max() < 1.1 * steps.min()
    # On this arc a way as smooth as the cameras goes on looking at the middle.
    aims = MIDDLE - way[:, :, 3]
    assert (np.cross(aims / np.linalg.norm(aims, axis=1, keepdims=True), -way[:, :, 2])).max() < 0.02


def test_cameras_of_one_place_or_one_direction_can_be_passed() -> None:
    poses = arc([0, 30, 60])
    turning = poses.copy()
    turning[:, :, 3] = poses[0, :, 3]
    way = along(turning, 9)
    assert np.ptp(way[:, :, 3], axis=0).max() < 1e-12
    np.testing.assert_allclose(way[-1], turning[-1], atol=1e-9)
    sliding = poses.copy()
    sliding[:, :, :3] = poses[0, :, :3]
    np.testing.assert_allclose(along(sliding, 9)[:, :, :3], np.broadcast_to(poses[0, :, :3], (9, 3, 3)), atol=1e-9)
    with pytest.raises(ValueError, match="at least two cameras"):
        along(poses[:1], 9)


def test_tours_are_short() -> None:
    rng = np.random.default_rng(3)
    order = rng.permutation(9)
    line = np.zeros((9, 3))
    line[order, 0] = np.arange(9.0)
    assert short_tour(line) in (order.tolist(), order.tolist()[::-1])
    grid = np.stack([*np.meshgrid(np.arange(4.0), np.arange(3.0)), np.zeros((3, 4))], axis=-1).reshape(-1, 3)
    shuffled = grid[rng.permutation(12)]
    tour = short_tour(shuffled)
    assert sorted(tour) == list(range(12))
    assert np.linalg.norm(np.diff(shuffled[tour], axis=0), axis=1).sum() == pytest.approx(11.0)


def test_rigs_are_passed_on_a_short_way_and_captures_along_their_own() -> None:
    mixed_up = rig([0, 40, -40, 20, -20])
    ends = through_rig(mixed_up, 20, fixed=True)[[0, -1]]
    assert sorted(ends[:, 1, 3]) == pytest.approx(sorted(mixed_up.poses[[1, 2], 1, 3]))
    capture = rig(list(np.linspace(0, 90, 60)))
    way = through_rig(capture, 20, fixed=False)
    np.testing.assert_allclose(way[[0, -1]], capture.poses[[0, -1]], atol=1e-9)


def test_a_spiral_circles_a_camera_and_looks_where_it_looks() -> None:
    pose = arc([20])[0]
    poses = spiral(pose, 4.0, 0.3, turns=2, count=60)
    assert_rigid(poses)
    target = pose[:, 3] - 4.0 * pose[:, 2]
    for one in poses:
        aim = (target - one[:, 3]) / np.linalg.norm(target - one[:, 3])
        np.testing.assert_allclose(aim, -one[:, 2], atol=1e-9)
    aside = (poses[:, :, 3] - pose[:, 3]) @ pose[:, :2]
    np.testing.assert_allclose(np.linalg.norm(aside, axis=1), 0.3)
    angles = np.unwrap(np.arctan2(aside[:, 1], aside[:, 0]))
    assert angles[-1] - angles[0] == pytest.approx(4 * np.pi * 59 / 60)  # the next frame would be the first
    with pytest.raises(ValueError, match="radius above 0"):
        spiral(pose, 4.0, 0.0, 2, 60)


def test_spirals_stay_among_the_cameras() -> None:
    one = rig()
    away = np.linalg.norm(one.poses[:, :, 3] - one.poses[one.central, :, 3], axis=1)
    assert 0 < spiral_radius(one, 4.0) < away.max()
    assert spiral_radius(rig([0]), 4.0) == pytest.approx(0.4)


def azimuths(poses: np.ndarray) -> np.ndarray:
    away = poses[:, :, 3] - MIDDLE
    return np.degrees(np.unwrap(np.arctan2(away[:, 1], away[:, 0])))


def level(degrees: list[float]) -> Rig:
    """As `rig`, at the height of the middle: up is exactly UP."""
    ring = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), np.zeros(len(degrees))], axis=1)
    return Rig.of(looking_at(MIDDLE + 4 * ring, MIDDLE, UP), 3.0)


def test_an_orbit_stays_between_the_cameras_and_begins_at_its_own() -> None:
    one = level([-40, -20, 0, 10, 30])
    pose = one.poses[one.central]
    poses = orbit(one, pose, 80)
    assert_rigid(poses)
    np.testing.assert_allclose(poses[0], pose, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(poses[:, :, 3] - MIDDLE, axis=1), 4.0)
    assert azimuths(poses).min() == pytest.approx(-40, abs=0.5)
    assert azimuths(poses).max() == pytest.approx(30, abs=0.5)
    steps = np.abs(np.diff(azimuths(poses)))
    assert abs(azimuths(poses)[-1] - azimuths(poses)[0]) <= steps.max() + 1e-9  # it returns


def test_orbits_go_as_far_as_they_are_told() -> None:
    one = level([-40, -20, 0, 10, 30])
    pose = one.poses[one.central]
    half = azimuths(orbit(one, pose, 80, degrees=60))
    assert (half.max() - half.min(), (half.max() + half.min()) / 2) == (
        pytest.approx(60, abs=0.5),
        pytest.approx(azimuths(pose[None])[0], abs=0.5),
    )
    whole = azimuths(orbit(one, pose, 80, degrees=360))
    np.testing.assert_allclose(np.diff(whole), 360 / 80)
    surrounding = level([0, 60, 120, 180, 240, 300])
    np.testing.assert_allclose(np.diff(azimuths(orbit(surrounding, surrounding.poses[0], 80))), 360 / 80)
    with pytest.raises(ValueError, match="degrees above 0"):
        orbit(one, pose, 80, degrees=0)
    alone = level([0])
    with pytest.raises(ValueError, match="several sides .* --degrees"):
        orbit(alone, alone.poses[0], 80)
    assert len(orbit(alone, alone.poses[0], 80, degrees=20)) == 80


def test_moves_are_the_same_in_a_turned_world() -> None:
    """Nothing depends on which axis of the world is up."""
    turn = Rotation.from_euler("xyz", [70, -30, 110], degrees=True).as_matrix()
    one = level([-40, -20, 0, 10, 30])
    other = Rig.of(turn @ one.poses, 3.0)
    pose = one.poses[one.central]
    np.testing.assert_allclose(orbit(other, turn @ pose, 9), turn @ orbit(one, pose, 9), atol=1e-9)
    np.testing.assert_allclose(spiral(turn @ pose, 4.0, 0.3, 1, 9), turn @ spiral(pose, 4.0, 0.3, 1, 9), atol=1e-9)
    np.testing.assert_allclose(through_rig(other, 9, True), turn @ through_rig(one, 9, True), atol=1e-9)
