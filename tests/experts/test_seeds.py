"""Seed clouds: thinning, spacing within one time, spreading over the clip."""

from dataclasses import replace

import pytest
import torch

from moegs_ns.experts.seeds import (
    SeedCloud,
    seed_cloud,
    seed_spacing,
    spread_over_time,
    thin_out,
    thin_out_later_times,
)

NAN = torch.nan


def cloud(times: list[float]) -> SeedCloud:
    count = len(times)
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(count, 3, generator=generator)
    return SeedCloud(points, torch.rand(count, 3, generator=generator), torch.tensor(times), torch.full((count,), NAN))


def brute_spacing(points: torch.Tensor) -> torch.Tensor:
    distances = torch.cdist(points.double(), points.double()).sort(dim=1).values[:, 1:4]
    return distances.square().mean(dim=1).sqrt().float()


def test_spacing_counts_points_of_the_same_time_only() -> None:
    mixed = cloud([NAN] * 5 + [0.0] * 6 + [0.5] * 7)
    groups = [slice(0, 5), slice(5, 11), slice(11, 18)]
    expected = torch.cat([brute_spacing(mixed.points[group]) for group in groups])
    assert torch.allclose(seed_spacing(mixed), expected, rtol=1e-5)
    twice = torch.arange(5).repeat(2)
    repeated = replace(mixed.subset(twice), times=torch.tensor([0.0, 1.0]).repeat_interleave(5))
    assert (seed_spacing(repeated) > 0).all()


def test_points_without_time_are_repeated_the_others_kept() -> None:
    mixed = cloud([NAN, 0.25, NAN, 1.0])
    spread, source = spread_over_time(mixed, 3)
    assert source.tolist() == [0, 2, 0, 2, 0, 2, 1, 3]
    assert torch.equal(spread.points, mixed.points[source]) and torch.equal(spread.colors, mixed.colors[source])
    assert torch.allclose(spread.times, torch.tensor([1 / 6, 1 / 6, 0.5, 0.5, 5 / 6, 5 / 6, 0.25, 1.0]))


def test_thinning_is_repeatable_and_leaves_the_global_generator_alone() -> None:
    many = cloud([NAN] * 50)
    state = torch.get_rng_state()
    first, second = thin_out(many, 20), thin_out(many, 20)
    assert len(first) == 20 and torch.equal(first.points, second.points)
    assert torch.equal(torch.get_rng_state(), state)
    assert thin_out(many, 50) is many


def test_thinning_spares_what_moves() -> None:
    mixed = cloud([NAN, 0.5, NAN, 0.25, NAN, NAN])
    kept = thin_out(mixed, 4)
    assert len(kept) == 4 and kept.timed.sum() == 2 and torch.equal(kept.points[kept.timed], mixed.points[[1, 3]])
    assert len(thin_out(mixed, 1)) == 1  # more with a time than wanted: no point is spared
    all_timed = cloud([0.0, 0.5, 1.0])
    assert len(thin_out(all_timed, 2)) == 2


def test_colours_are_scaled_and_missing_times_unknown() -> None:
    xyz, rgb = torch.zeros(2, 3), torch.tensor([[0, 255, 51], [255, 0, 0]], dtype=torch.uint8)
    seeds = seed_cloud((xyz, rgb), {})
    assert torch.allclose(seeds.colors[0], torch.tensor([0.0, 1.0, 0.2])) and not seeds.timed.any()
    timed = seed_cloud((xyz, rgb), {"points3D_time": torch.tensor([[0.5], [NAN]])})
    assert timed.timed.tolist() == [True, False]
    with pytest.raises(ValueError, match="no seed points"):
        seed_cloud((xyz[:0], rgb[:0]), {})


def test_of_later_times_the_most_isolated_points_stay() -> None:
    mixed = cloud([0.5] * 8 + [NAN] * 3 + [0.0] * 5 + [1.0] * 4)
    kept = thin_out_later_times(mixed, 0.5)
    expected = torch.zeros(20, dtype=torch.bool)
    expected[8:16] = True  # without a time, and of the first
    for group in (range(8), range(16, 20)):
        points = mixed.points[list(group)].double()
        nearest = torch.cdist(points, points).fill_diagonal_(torch.inf).amin(dim=1)
        expected[torch.tensor(group)[nearest.topk(len(group) // 2).indices]] = True
    assert torch.equal(kept.points, mixed.points[expected])
    assert len(thin_out_later_times(mixed, 1.0)) == 20
    assert torch.equal(thin_out_later_times(mixed, 0.0).points, mixed.points[8:16])
    with pytest.raises(ValueError, match=r"in \[0, 1\], found 1.5"):
        thin_out_later_times(mixed, 1.5)
