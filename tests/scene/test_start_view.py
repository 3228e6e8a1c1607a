"""The first view follows when its world is turned."""

import math

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from moegs_ns.exporting.orientation import rotation_to_y_down
from moegs_ns.scene.start_view import start_place


def test_a_turned_world_looks_the_same() -> None:
    poses = torch.eye(4)[:3].repeat(3, 1, 1)
    poses[:, :, 3] = torch.tensor([[-1.0, 0.5, 4.0], [0.1, 0.5, 4.0], [1.0, 0.5, 4.0]])
    cameras = Cameras(poses, fx=100.0, fy=80.0, cx=60.0, cy=40.0, width=120, height=80)
    place = start_place(cameras, torch.tensor([[0.1, 0.5, 1.0], [0.1, 0.5, 9.0]]))
    assert place.look_at.tolist() == pytest.approx([0.1, 0.5, 1.0])
    assert place.aspect == 1.5 and place.field_of_view == pytest.approx(2 * math.atan(0.5))
    turned = place.turned(rotation_to_y_down(poses))
    assert turned.up.tolist() == pytest.approx([0.0, -1.0, 0.0], abs=1e-6)
    for one in (place, turned):
        assert float((one.look_at - one.position).norm()) == pytest.approx(3.0)
        assert float((one.look_at - one.position) @ one.up) == pytest.approx(0.0, abs=1e-6)
