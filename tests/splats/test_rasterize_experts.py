"""Experts drawn from tensors of their own, against the same Gaussians laid end to end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from moegs_ns.splats import native_backend
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.splats.rasterize_experts import rasterize_experts
from moegs_ns.splats.splats import Splats, concatenate
from tests.splats.random_scenes import random_scene

NAMES = ("means", "quats", "scales", "opacities")
BLOCKS = (3, 2, 1)
# A near plane, a blur and the mip filter of their own: projected together these would need three groups.
SETTINGS = [ProjectionSettings(), ProjectionSettings(near=0.5, eps2d=0.1), ProjectionSettings(antialiased=True)]


def scene_of_parts(seed: int, counts: tuple[int, ...]) -> tuple[list[Splats], list[list[Tensor]], tuple]:
    """Experts of these sizes, their blocks of channels, and a camera."""
    scene = random_scene(seed, sum(counts), k=1, c=sum(BLOCKS), width=45, height=37)
    tensors = [getattr(scene.splats, name).split(counts) for name in NAMES]
    parts = [Splats(*(rows[k].clone() for rows in tensors)) for k in range(len(counts))]
    blocks = [[block.clone() for block in own.split(BLOCKS, dim=1)] for own in scene.channels.split(counts)]
    return parts, blocks, (scene.viewmat, scene.K, scene.width, scene.height)


def learning(parts: list[Splats], blocks: list[list[Tensor]]) -> tuple[list[Splats], list[list[Tensor]], list[Tensor]]:
    """Copies that ask for gradients, and all of their tensors."""
    parts = [Splats(*(getattr(part, name).clone().requires_grad_() for name in NAMES)) for part in parts]
    blocks = [[block.clone().requires_grad_() for block in own] for own in blocks]
    leaves = [getattr(part, name) for part in parts for name in NAMES] + [block for own in blocks for block in own]
    return parts, blocks, leaves


def end_to_end(parts: list[Splats], blocks: list[list[Tensor]], *view: object, **options: object):
    splats, expert_ids = concatenate(parts)
    channels = torch.cat([torch.cat(own, dim=1) for own in blocks])
    return rasterize(splats, channels, *view, expert_ids=expert_ids, num_experts=len(parts), **options)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("counts", [(90,), (70, 50, 33), (0, 40, 0)])
@pytest.mark.parametrize("depth", [False, True])
def test_values_and_gradients_equal_those_of_gaussians_end_to_end(
    counts: tuple[int, ...], depth: bool, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    parts, blocks, view = scene_of_parts(5, counts)
    settings = SETTINGS[: len(counts)]
    background = torch.rand(len(counts), sum(BLOCKS), generator=torch.Generator().manual_seed(1))
    found = []
    for draw in (end_to_end, rasterize_experts):
        own_parts, own_blocks, leaves = learning(parts, blocks)
        result = draw(own_parts, own_blocks, *view, settings=settings, background=background, depth=depth)
        results = [result.images, result.alphas, *([] if result.depths is None else [result.depths])]
        weights = [torch.rand(one.shape, generator=torch.Generator().manual_seed(2)) for one in results]
        loss = sum((one * weight).sum() for one, weight in zip(results, weights, strict=True))
        found.append(([*results, result.means2d, result.radii], torch.autograd.grad(loss, leaves)))
    (values, gradients), (own_values, own_gradients) = found
    assert values[0].std() > 0.05
    for expected, got in zip(values, own_values, strict=True):
        assert torch.equal(expected, got)
    for expected, got in zip(gradients, own_gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)  # sums of depth's gradients in another order


def test_frozen_geometry_gets_no_gradient_and_weights_their_own() -> None:
    parts, blocks, view = scene_of_parts(6, (60, 40))
    weights = [own[1].clone().requires_grad_() for own in blocks]
    result = rasterize_experts(parts, [[own[0], w, own[2]] for own, w in zip(blocks, weights, strict=True)], *view)
    assert not result.means2d.requires_grad
    first, second = torch.autograd.grad(result.images[0].sum(), weights)
    assert first.abs().max() > 0
    assert second.abs().max() == 0  # of the other expert's image


def test_the_torch_twin_draws_the_same_images() -> None:
    parts, blocks, view = scene_of_parts(7, (50, 30, 20))
    native = rasterize_experts(parts, blocks, *view, settings=SETTINGS, depth=True)
    twin = rasterize_experts(parts, blocks, *view, settings=SETTINGS, depth=True, backend="torch")
    torch.testing.assert_close(native.images, twin.images, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(native.alphas, twin.alphas, atol=2e-5, rtol=1e-5)
    assert torch.equal(native.radii, twin.radii)


def test_gaussians_are_read_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither geometry nor channels are copied on their way to the kernels."""
    parts, blocks, view = scene_of_parts(8, (50, 30))
    composite, seen = native_backend.composite_parts, []

    def watched(means2d: Tensor, conics: Tensor, opacities: list, channels: list, *others: object):
        seen.append(([one.data_ptr() for one in opacities], [[b.data_ptr() for b in own] for own in channels]))
        return composite(means2d, conics, opacities, channels, *others)

    monkeypatch.setattr(native_backend, "composite_parts", watched)
    rasterize_experts(parts, blocks, *view)
    assert seen == [
        ([part.opacities.data_ptr() for part in parts], [[block.data_ptr() for block in own] for own in blocks])
    ]


def test_what_does_not_go_together_is_refused() -> None:
    parts, blocks, view = scene_of_parts(9, (20, 10))
    with pytest.raises(ValueError, match="at least one expert"):
        rasterize_experts([], [], *view)
    with pytest.raises(ValueError, match="2 experts, 1 lists and 2 settings"):
        rasterize_experts(parts, blocks[:1], *view)
    with pytest.raises(ValueError, match="expected channels of expert 1 in blocks"):
        rasterize_experts(parts, [blocks[0], blocks[1][:2]], *view)
    with pytest.raises(ValueError, match=r"expected background of shape \[6\] or \[2, 6\], found \[3, 6\]"):
        rasterize_experts(parts, blocks, *view, background=torch.zeros(3, 6))
    wide = replace(parts[0], opacities=parts[0].opacities.double())
    with pytest.raises(ValueError, match="opacities"):
        rasterize_experts([wide, parts[1]], blocks, *view)
