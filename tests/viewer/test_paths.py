"""Which Gaussians a region shows, and the lines they leave."""

import numpy as np
import pytest
import torch

from moegs_ns.viewer import paths
from tests.viewer.live import row_of_images


def test_regions_are_cut_to_the_picture() -> None:
    region = paths.Region.between((0.8, -0.2), (0.3, 0.5))
    assert (region.left, region.top, region.right, region.bottom) == (0.3, 0.0, 0.8, 0.5)
    with pytest.raises(ValueError, match="rectangle within the picture"):
        paths.Region.between((0.5, 0.5), (0.5, 0.9))


def test_gaussians_are_picked_where_they_are_seen() -> None:
    camera = row_of_images(40, 30)[:1]  # at (-1, 0, 4), looking along -z, focal length 40
    means = torch.tensor(
        [
            [-1.0, 0.0, 0.0],  # middle, at the depth of what is seen
            [-1.0, 0.0, -4.0],  # behind it
            [-1.0, 0.0, 8.0],  # behind the camera
            [0.6, 0.6, 0.0],  # to the right of the middle, above it
            [-1.0, 0.0, 0.1],  # there, but transparent
            [9.0, 0.0, 0.0],  # beside the picture
        ]
    )
    opacities = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.01, 0.9])
    depth = torch.full((30, 40), 4.0)
    which, pixels = paths.seen_in(paths.MIDDLE, camera, means, opacities, depth)
    assert which.tolist() == [0] and pixels.tolist() == [[15, 20]]
    which, pixels = paths.seen_in(paths.Region(0.0, 0.0, 1.0, 1.0), camera, means, opacities, depth)
    assert which.tolist() == [0, 3] and pixels.tolist() == [[15, 20], [9, 36]]


def test_lines_end_where_a_gaussian_does() -> None:
    positions = np.arange(12.0).reshape(6, 2).repeat(2, axis=1)[:, :3]
    opacities = np.array([0.9, 0.0, 0.5, 0.9, 0.2, 0.05])
    np.testing.assert_array_equal(paths.visible_stretch(positions, opacities, 3), positions[2:5])
    assert paths.length(np.array([[0.0, 0, 0], [3, 4, 0], [3, 4, 2]])) == pytest.approx(7)
    assert paths.length(np.zeros((1, 3))) == 0


@pytest.mark.parametrize(("frames", "now", "count"), [(5, 0.5, 5), (5, 0.3, 5), (300, 0.123, 48), (2, 1.0, 2)])
def test_instants_cover_the_clip_and_hold_now(frames: int, now: float, count: int) -> None:
    times, place = paths.instants(frames, now, 48)
    assert len(times) == count and times == sorted(times)
    assert times[place] == now
    assert min(times) <= max(0.0, now - 0.01) + 0.01 and max(times) == 1.0
