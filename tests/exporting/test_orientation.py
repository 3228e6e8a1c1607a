"""Turned worlds look the same to cameras that turn along."""

import pytest
import torch
from scipy.spatial.transform import Rotation

from moegs_ns.exporting.orientation import rotated, rotated_sh, rotation_to_y_down, shortest_turn
from moegs_ns.splats.sh import evaluate_sh_torch
from tests.exporting.gaussian_sets import agreement, make_splats


def turn(seed: int) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(random_state=seed).as_matrix()).float()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_turned_world_looks_the_same(degree: int) -> None:
    splats, rotation = make_splats(degree=degree), turn(degree)
    assert agreement(splats, rotated(splats, rotation), rotation) > 70.0
    assert agreement(splats, rotated(splats, rotation)) < 25.0  # the camera stays


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_harmonics_turn_along(degree: int) -> None:
    rotation, directions = turn(7), torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    sh = torch.randn(20, (degree + 1) ** 2, 3, generator=torch.Generator().manual_seed(2))
    turned = evaluate_sh_torch(degree, directions @ rotation.T, rotated_sh(sh, rotation))
    torch.testing.assert_close(turned, evaluate_sh_torch(degree, directions, sh), atol=1e-5, rtol=1e-5)


def test_half_a_turn_and_none() -> None:
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.equal(shortest_turn(up, up), torch.eye(3, dtype=torch.float64))
    over = shortest_turn(up, -up)
    torch.testing.assert_close(over @ up, -up)
    assert torch.linalg.det(over) == pytest.approx(1.0)


def test_what_is_up_for_the_cameras_points_along_minus_y() -> None:
    up = torch.nn.functional.normalize(torch.tensor([0.3, 0.2, 0.9]), dim=0)
    side = torch.nn.functional.normalize(torch.linalg.cross(up, torch.tensor([1.0, 0.0, 0.0])), dim=0)
    poses = torch.zeros(2, 3, 4)
    for pose, tilt in zip(poses, (0.2, -0.2), strict=True):  # up on average only
        pose[:, 1] = torch.nn.functional.normalize(up + tilt * side, dim=0)
    rotation = rotation_to_y_down(poses)
    torch.testing.assert_close(rotation @ up, torch.tensor([0.0, -1.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-6, rtol=0)


def test_cameras_must_agree() -> None:
    poses = torch.zeros(2, 3, 4)
    poses[0, 1, 1], poses[1, 1, 1] = 1.0, -1.0
    with pytest.raises(ValueError, match="expected cameras that agree on what is up, found 2 that do not"):
        rotation_to_y_down(poses)
