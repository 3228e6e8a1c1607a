"""Places between training cameras: on the way to a near neighbour, the same for the same step, none of the cameras."""

import math

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from scipy.spatial.transform import Rotation

from moegs_ns.distill.pseudo_views import PseudoViews, interpolated
from moegs_ns.experts.views import is_training_camera

COUNT, TIMES = 6, 2


def ring() -> Cameras:
    """Six cameras on an arc, two images each; every ten degrees one."""
    angles = [10.0 * number for number in range(COUNT) for _ in range(TIMES)]
    turns = torch.from_numpy(
        Rotation.from_rotvec([[0.0, math.radians(one), 0.0] for one in angles]).as_matrix()
    ).float()
    poses = torch.cat([turns, 4 * turns[:, :, 2:]], dim=2)
    metadata = {"camera_index": torch.arange(COUNT).repeat_interleave(TIMES)[:, None]}
    times = torch.tensor([[0.0], [1.0]]).repeat(COUNT, 1)
    return Cameras(poses, 30.0, 33.0, 14.0, 12.0, 28, 24, times=times, metadata=metadata)


def test_it_stands_between_the_camera_and_one_of_its_nearest() -> None:
    cameras = ring()
    places, angles = PseudoViews(cameras, seed=3), []
    for step in range(200):
        view = places.between(cameras[5:6], step, 0)
        pose = view.camera_to_worlds[0]
        assert not is_training_camera(view) and is_training_camera(cameras[5:6])
        assert float(view.times) == 1.0 and float(view.fx) == 30.0 and int(view.width) == 28
        torch.testing.assert_close(pose[:, :3] @ pose[:, :3].T, torch.eye(3), atol=1e-5, rtol=0)
        angles.append(float(Rotation.from_matrix(pose[:, :3].numpy()).as_euler("yxz", degrees=True)[0]))
    # The third camera (20 degrees) has neighbours at 10 and 30, and the nearer-sorted third at 0 or 40.
    assert min(angles) >= 0 and max(angles) <= 40 + 1e-3
    assert sum(angle < 20 for angle in angles) > 40 and sum(angle > 20 for angle in angles) > 40
    assert len({round(angle, 3) for angle in angles}) > 150


def test_a_resumed_training_sees_the_same_places() -> None:
    cameras = ring()
    poses = [PseudoViews(cameras, seed).between(cameras[:1], step, n).camera_to_worlds
             for seed, step, n in ((1, 5, 0), (1, 5, 0), (2, 5, 0), (1, 6, 0), (1, 5, 1))]  # fmt: skip
    assert torch.equal(poses[0], poses[1])
    assert not any(torch.equal(poses[0], other) for other in poses[2:])


def test_the_ends_of_the_way_are_the_cameras() -> None:
    start, end = ring().camera_to_worlds[0], ring().camera_to_worlds[-1]
    for share, pose in ((0.0, start), (1.0, end)):
        torch.testing.assert_close(interpolated(start, end, share).float(), pose, atol=1e-6, rtol=0)


def test_one_place_has_nothing_beside_it() -> None:
    cameras = ring()[:2]
    with pytest.raises(ValueError, match="at least two places for pseudo-views, found one"):
        PseudoViews(cameras, 0)
