"""Scenes of random size, shape and camera, some of whose Gaussians are as broken as a diverged training makes them.

What they should look like nobody knows. They are for what must hold whatever comes in: no access out of bounds, no
undefined operation, no crash, and images within their range.
"""

from __future__ import annotations

import random
from dataclasses import replace

import torch

from moegs_ns.splats.conventions import GSPLAT_1_4, GSPLAT_1_5
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize_experts import rasterize_experts
from moegs_ns.splats.splats import Splats
from tests.splats.random_scenes import Scene, random_scene

# Finite or not, possible or not; opacities stay finite, as any sigmoid is, or become NaN.
_BROKEN_NUMBERS = (0.0, -0.0, 1e-38, -1e-20, 1e-6, -1.0, 1e4, -1e10, 3e38, float("inf"), -float("inf"), float("nan"))
_BROKEN_OPACITIES = (0.0, 1.0 / 255.0, 0.9999, 1.0, 1.5, -0.5, float("nan"))


def fuzzed_scene(seed: int) -> Scene:
    """Everything follows from the seed. 0 to 150 Gaussians, 1 to 5 experts, 1 to 20 channels, images of 1 to 70 pixels
    a side; in two of three scenes about a tenth of the rows is broken; in some, experts lie one after the other."""
    choose = random.Random(seed)

    def settings() -> ProjectionSettings:
        return ProjectionSettings(
            eps2d=choose.choice([0.0, 0.1, 0.3, 2.0]),
            antialiased=choose.random() < 0.5,
            near=choose.choice([0.01, 1.5]),
            far=choose.choice([1e10, 4.0]),
            radius_clip=choose.choice([0.0, 0.0, 3.0]),
            conventions=choose.choice([GSPLAT_1_4, GSPLAT_1_5]),
        )

    experts = choose.randint(1, 5)
    scene = random_scene(
        seed,
        choose.choice([0, 1, 15, 16, 17, choose.randint(2, 150)]),
        k=experts,
        c=choose.choice([1, 2, 3, 4, 5, 7, 8, 9, 16, 20]),
        width=choose.randint(1, 70),
        height=choose.randint(1, 70),
        settings=[settings() for _ in range(experts)],
        pixels=choose.choice([(0.01, 0.5), (0.7, 9.0), (5.0, 300.0)]),
        name=f"fuzzed-{seed}",
    )
    if choose.random() < 0.3:
        scene = scene.permuted(torch.argsort(scene.expert_ids, stable=True))
    if seed % 3 == 0:
        return scene
    parts = {name: getattr(scene.splats, name).clone() for name in ("means", "quats", "scales", "opacities")}
    for row in range(len(scene.splats)):
        if choose.random() < 0.1:
            name = choose.choice(list(parts))
            numbers = _BROKEN_OPACITIES if name == "opacities" else _BROKEN_NUMBERS
            if name == "opacities" or choose.random() < 0.3:
                parts[name][row] = choose.choice(numbers)
            else:
                parts[name][row, choose.randrange(parts[name].shape[1])] = choose.choice(numbers)
    depths = torch.tensor([choose.choice([0.0, 1.0]) for _ in range(len(scene.splats))])
    if choose.random() < 0.3 and len(scene.splats):  # many at equal positions
        parts["means"] = torch.where(depths[:, None] > 0, parts["means"][:1], parts["means"])
    return replace(scene, splats=Splats(**parts))


def draw_in_parts(scene: Scene, backend: str, depth: bool) -> None:
    """Render the scene's experts from tensors of their own, channels in two blocks (the first may be empty), with all
    gradients."""
    rows = [torch.nonzero(scene.expert_ids == k).squeeze(1) for k in range(scene.num_experts)]
    names = ("means", "quats", "scales", "opacities")
    parts = [Splats(*(getattr(scene.splats, name)[own].clone().requires_grad_() for name in names)) for own in rows]
    middle = scene.channels.shape[1] // 2
    blocks = [
        [scene.channels[own, :middle].clone().requires_grad_(), scene.channels[own, middle:].clone().requires_grad_()]
        for own in rows
    ]
    settings = scene.settings
    view = (scene.viewmat, scene.K, scene.width, scene.height)
    result = rasterize_experts(parts, blocks, *view, settings=settings, depth=depth, backend=backend)
    leaves = [getattr(part, name) for part in parts for name in names] + [block for own in blocks for block in own]
    for gradient, leaf in zip(torch.autograd.grad(result.images.sum(), leaves), leaves, strict=True):
        assert gradient.shape == leaf.shape
