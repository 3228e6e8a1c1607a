"""Similarities that are known are found again."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from moegs_ns.preparation.similarity import align_similarity


@pytest.mark.parametrize("flat", [False, True])
def test_a_known_similarity_is_found(flat: bool) -> None:
    points = np.random.default_rng(0).normal(size=(6, 3)) * [1, 1, 0 if flat else 1]
    turn = Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix()
    to = 2.5 * points @ turn.T + [1, 2, 3]
    found = align_similarity(points, to)
    assert found.scale == pytest.approx(2.5)
    np.testing.assert_allclose(found.rotation, turn, atol=1e-9)
    np.testing.assert_allclose(found.apply(points), to, atol=1e-9)


def test_mirrors_are_no_similarity() -> None:
    points = np.random.default_rng(0).normal(size=(6, 3))
    assert np.linalg.det(align_similarity(points, points * [1, 1, -1]).rotation) == pytest.approx(1)


def test_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="3 points or more"):
        align_similarity(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="several places"):
        align_similarity(np.zeros((3, 3)), np.zeros((3, 3)))
