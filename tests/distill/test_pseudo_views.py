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


def test_places_lie_between_a_camera_and_one_of_its_nearest() -> None:
    cameras = ring()
    views = PseudoViews(cameras, per_instant=150, seed=3).cameras
    assert len(views) == 2 * 150 and not is_training_camera(views[0:1]) and is_training_camera(cameras[0:1])
    assert views.times[:150].unique().tolist() == [0.0] and views.times[150:].unique().tolist() == [1.0]
    assert views.fx.unique().tolist() == [30.0] and views.width.unique().tolist() == [28]
    poses = views.camera_to_worlds
    torch.testing.assert_close(poses[:, :, :3] @ poses[:, :, :3].mT, torch.eye(3).expand(300, 3, 3), atol=1e-5, rtol=0)
    angles = torch.from_numpy(Rotation.from_matrix(poses[:, :, :3].numpy()).as_rotvec(degrees=True)[:, 1])
    assert angles.min() >= 0 and angles.max() <= 50 and angles.std() > 10
    reach = 4 * 2 * math.sin(math.radians(15))  # the third nearest is at most 30 degrees away
    nearest = (poses[:, None, :, 3] - cameras.camera_to_worlds[None, :, :, 3]).norm(dim=-1).min(dim=1).values
    assert nearest.max() <= reach / 2 and (nearest > 0.01).float().mean() > 0.9


def test_a_resumed_training_sees_the_same_places() -> None:
    cameras = ring()
    one, same, other = (PseudoViews(cameras, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(one.cameras.camera_to_worlds, same.cameras.camera_to_worlds)
    assert not torch.equal(one.cameras.camera_to_worlds, other.cameras.camera_to_worlds)
    chosen = [one.choose(1.0, 2, step) for step in range(50)]
    assert chosen == [same.choose(1.0, 2, step) for step in range(50)]
    assert {index for pair in chosen for index in pair} == {4, 5, 6, 7} and all(len({*pair}) == 2 for pair in chosen)
    assert set(one.choose(0.0, 6, 0)) == {0, 1, 2, 3}  # more than there are


def test_the_ends_of_the_way_are_the_cameras() -> None:
    start, end = ring().camera_to_worlds[0], ring().camera_to_worlds[-1]
    for share, pose in ((0.0, start), (1.0, end)):
        torch.testing.assert_close(interpolated(start, end, share).float(), pose, atol=1e-6, rtol=0)


def test_one_place_has_nothing_beside_it() -> None:
    cameras = ring()[:2]
    with pytest.raises(ValueError, match="at least two places for pseudo-views, found one"):
        PseudoViews(cameras, 1, 0)
    with pytest.raises(ValueError, match="at least one pseudo-view per instant, found -1"):
        PseudoViews(ring(), -1, 0)
