"""The size of a camera rig."""

import numpy as np
import pytest

from moegs_ns.scene.geometry import camera_extent


def test_extent_is_measured_from_the_mean_centre() -> None:
    centres = np.array([[1.0, 0, 0], [3.0, 0, 0], [2.0, 0, 4.0]])
    mean = np.array([2.0, 0, 4.0 / 3])
    assert camera_extent(centres) == pytest.approx(1.1 * np.linalg.norm(centres[2] - mean))


def test_a_single_place_has_extent_one() -> None:
    assert camera_extent(np.zeros((1, 3))) == 1.0
    assert camera_extent(np.ones((4, 3))) == 1.0
