"""Contributions of Gaussians against images in which every Gaussian has a channel of its own."""

from pathlib import Path

import pytest
import torch

from moegs_ns.router.contributions import contributions
from tests.router.building import HEIGHT, WIDTH, make_camera, make_mixture

pytestmark = pytest.mark.usefixtures("native")


def test_contributions_equal_the_sum_over_pixels(runs: list[Path]) -> None:
    instant = make_mixture(runs).eval().instant(make_camera(0.3))
    count = len(instant.splats)
    maps = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    alone = instant.rasterize(channels=torch.eye(count)).images  # [K,H,W,N] T α of every Gaussian
    expected = torch.einsum("kmhw,khwn->nm", maps, alone)
    with torch.no_grad():  # as models are evaluated
        found = contributions(instant, maps)
    assert found.shape == (count, 3) and not found.requires_grad
    assert (found > 0).any() and found.max() > 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_ones_share_out_the_opacity_of_each_experts_image(runs: list[Path]) -> None:
    instant = make_mixture(runs).eval().instant(make_camera(0.3))
    found = contributions(instant, torch.ones(2, 1, HEIGHT, WIDTH))[:, 0]
    alphas = instant.rasterize(channels=torch.zeros(len(instant.splats), 1)).alphas
    for expert in range(2):
        own = found[instant.expert_ids == expert]
        torch.testing.assert_close(own.sum(), alphas[expert].sum(), rtol=1e-4, atol=1e-4)


def test_an_experts_maps_reach_its_own_gaussians_only(runs: list[Path]) -> None:
    instant = make_mixture(runs).eval().instant(make_camera(0.3))
    maps = torch.stack([torch.ones(1, HEIGHT, WIDTH), torch.zeros(1, HEIGHT, WIDTH)])
    found = contributions(instant, maps)
    assert found[instant.expert_ids == 0].sum() > 0
    assert not found[instant.expert_ids == 1].any()


def test_maps_of_another_shape_are_refused(runs: list[Path]) -> None:
    instant = make_mixture(runs).eval().instant(make_camera(0.3))
    with pytest.raises(ValueError, match=r"maps of shape \[2, M, 26, 37\], found \[1, 1, 26, 37\]"):
        contributions(instant, torch.ones(1, 1, HEIGHT, WIDTH))
