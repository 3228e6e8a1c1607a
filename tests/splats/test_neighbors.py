"""Nearest neighbours against a full distance matrix."""

import numpy as np
import pytest
import torch

from moegs_ns.splats.neighbors import nearest_neighbors


def test_neighbours_equal_the_distance_matrix() -> None:
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    index, distance = nearest_neighbors(points, 6)
    matrix = torch.cdist(points.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist")
    matrix.fill_diagonal_(torch.inf)
    expected, order = matrix.sort(dim=1)
    assert torch.equal(index, order[:, :6])
    torch.testing.assert_close(distance, expected[:, :6].float())
    assert distance.dtype == points.dtype


@pytest.mark.parametrize("copies", [2, 9])
def test_a_point_is_not_its_own_neighbour_among_others_in_its_place(copies: int) -> None:
    points = torch.randn(4, 3).repeat(copies, 1)
    index, distance = nearest_neighbors(points, 3)
    assert index.shape == (4 * copies, 3)
    assert not (index == torch.arange(4 * copies)[:, None]).any()
    assert (np.diff(np.sort(index.numpy(), axis=1), axis=1) > 0).all()
    assert (distance[:, 0] == 0).all()
    if copies > 3:
        assert (distance == 0).all()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_small_clouds(count: int) -> None:
    index, distance = nearest_neighbors(torch.randn(count, 3), 5)
    assert index.shape == distance.shape == (count, max(0, count - 1))
