"""Scenes, gates and the readable twin of fused inference, shared by its tests on the host and on a GPU."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from moegs_ns.router.gate import gate as gates_of
from moegs_ns.splats.mixture_frame import MixtureFrame, PixelGate, draw_mixture
from moegs_ns.splats.mixture_library import MixtureLibrary
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rays import ray_image
from tests.splats.comparisons import compare_images
from tests.splats.random_scenes import ANTIALIASED, CLASSIC, Scene, hard_cases, random_scene, rasterize_scene

DIRECTION, EVERYTHING, NOTHING = slice(3, 6), slice(0, 6), slice(0, 0)


@dataclass(frozen=True, eq=False)
class MixtureCase:
    """A scene whose six channels are colour and router weights, and what blends it."""

    scene: Scene
    gate: PixelGate

    @property
    def name(self) -> str:
        return self.scene.name

    def to(self, target: torch.dtype | torch.device | str) -> MixtureCase:
        """The same numbers in another precision, or on another device."""
        matrices = [matrix.to(target) for matrix in self.gate.matrices]
        return MixtureCase(self.scene.to(target), replace(self.gate, matrices=matrices))


def make_gate(seed: int, rays: slice = EVERYTHING, hidden: Sequence[int] = (6, 3), **options: float) -> PixelGate:
    """A network with random weights, large enough for gates that differ."""
    generator = torch.Generator().manual_seed(seed)
    units = [2 + rays.stop - rays.start, *hidden, 1]
    matrices = [
        torch.randn(outputs, inputs, generator=generator) * (1.5 / inputs) ** 0.5
        for inputs, outputs in itertools.pairwise(units)
    ]
    return PixelGate(matrices, rays, **options)


def as_case(scene: Scene, gate: PixelGate, seed: int = 0) -> MixtureCase:
    """The scene with six channels in place of its own: its colours as far as it has three, and weights in [-2, 2]."""
    generator = torch.Generator().manual_seed(seed)
    count, experts = len(scene.splats), scene.num_experts
    channels = torch.rand(count, 6, generator=generator)
    channels[:, :3] *= 1.3  # colours above 1 show whether pictures are clamped
    channels[:, 3:] = 4 * channels[:, 3:] - 2
    background = torch.rand(experts, 6, generator=generator)
    background[:, 3:] = gate.weight_background
    return MixtureCase(replace(scene, channels=channels, background=background), gate)


def named_cases() -> list[MixtureCase]:
    """Every option of the gate, on scenes of one to four experts of sizes that are no multiples of a tile."""
    mixed = (CLASSIC, ANTIALIASED, replace(CLASSIC, near=2.0, radius_clip=4.0), replace(ANTIALIASED, far=4.0))

    def scene(name: str, experts: int, seed: int, count: int = 150, **options) -> Scene:
        settings = options.pop("settings", CLASSIC)
        return random_scene(seed, count, k=experts, c=6, settings=settings, name=name, **options)

    return [
        as_case(scene("one-expert", 1, 40), make_gate(1)),
        as_case(scene("two-experts", 2, 41), make_gate(2)),
        as_case(scene("three-antialiased", 3, 42, settings=ANTIALIASED), make_gate(3)),
        as_case(scene("four-in-groups", 4, 43, 300, settings=mixed), make_gate(4)),
        as_case(scene("eight-experts", 8, 44, 300), make_gate(5)),
        as_case(scene("cold", 3, 45), make_gate(6, temperature=0.05)),
        as_case(scene("hot", 3, 46), make_gate(7, temperature=30.0)),
        as_case(scene("top-1", 4, 47), make_gate(8, top_k=1)),
        as_case(scene("top-2-cold", 4, 48), make_gate(9, top_k=2, temperature=0.3)),
        as_case(scene("top-all", 3, 49), make_gate(10, top_k=3)),
        as_case(scene("directions", 2, 50), make_gate(11, DIRECTION)),
        as_case(scene("no-rays", 2, 51), make_gate(12, NOTHING)),
        as_case(scene("wide-network", 2, 52), make_gate(13, hidden=(32, 32, 32))),
        as_case(scene("one-hidden-layer", 2, 53), make_gate(14, hidden=(5,))),
        as_case(scene("no-hidden-layer", 2, 54), make_gate(15, hidden=())),
        as_case(scene("weights-behind", 3, 55, 12), make_gate(16, weight_background=1.0)),
        as_case(scene("one-pixel", 2, 56, width=1, height=1), make_gate(17)),
        as_case(scene("whole-tiles", 2, 57, width=64, height=32), make_gate(18)),
        as_case(scene("wide-and-flat", 3, 58, width=201, height=3), make_gate(19)),
        as_case(scene("empty", 3, 59, 0), make_gate(20)),
        # More than a block of threads has in its batch, of one tile.
        as_case(scene("long-lists", 2, 60, 1500, width=20, height=20, opacity_range=(0.01, 0.1)), make_gate(21)),
        as_case(
            scene("opaque", 2, 61, 700, width=40, height=40, pixels=(4.0, 20.0), opacity_range=(0.9, 1.0)),
            make_gate(22),
        ),
    ]


def all_cases() -> list[MixtureCase]:
    """`named_cases`, and every scene that tends to break rasterizers."""
    return [*named_cases(), *(as_case(scene, make_gate(90)) for scene in hard_cases())]


def fuzzed_case(seed: int) -> MixtureCase:
    """Anything fused inference takes: sizes, experts, projections, network and options at random."""
    chance = random.Random(seed)
    experts = chance.randint(1, 4)
    choices = (CLASSIC, ANTIALIASED, ProjectionSettings(eps2d=0.0, radius_clip=2.0), ProjectionSettings(near=2.0))
    scene = random_scene(
        seed,
        chance.choice((0, 1, 40, 200, 500)),
        k=experts,
        c=6,
        width=chance.randint(1, 70),
        height=chance.randint(1, 50),
        settings=[chance.choice(choices) for _ in range(experts)],
        pixels=chance.choice(((0.3, 3.0), (0.7, 9.0), (5.0, 40.0))),
        opacity_range=chance.choice(((0.001, 0.05), (0.05, 0.98), (0.9, 1.0))),
        name=f"fuzzed-{seed}",
        rounding=3.0,  # without blur the smallest Gaussians amplify rounding
    )
    gate = make_gate(
        seed,
        chance.choice((EVERYTHING, DIRECTION, NOTHING)),
        [chance.randint(1, 32) for _ in range(chance.randint(0, 3))],
        temperature=chance.choice((0.1, 1.0, 1.0, 5.0)),
        top_k=chance.randint(0, experts),
        weight_background=chance.choice((0.0, 1.0)),
    )
    return as_case(scene, gate, seed)


def draw(library: MixtureLibrary, case: MixtureCase) -> MixtureFrame:
    """The case by a library of fused inference."""
    scene = case.scene
    assert scene.background is not None
    return draw_mixture(
        library,
        scene.splats,
        scene.channels[:, :3],
        scene.channels[:, 3:],
        scene.expert_ids,
        scene.settings,
        scene.viewmat,
        scene.K,
        scene.width,
        scene.height,
        scene.background[:, :3],
        case.gate,
    )


def draw_ordinarily(case: MixtureCase, backend: str = "torch") -> tuple[MixtureFrame, Tensor]:
    """The case by `rasterize` and torch, as a mixture's ordinary path has it; and the experts' opacities
    ``[K,H,W]``."""
    scene, gate = case.scene, case.gate
    result = rasterize_scene(scene, backend, background=scene.background, depth=True)
    weights = result.images[..., 3:]
    rays = ray_image(scene.viewmat, scene.K, scene.width, scene.height)[gate.rays].permute(1, 2, 0)
    values = torch.cat([weights[..., 1:], rays.expand(scene.num_experts, -1, -1, -1)], dim=-1)
    for index, matrix in enumerate(gate.matrices):
        # Not a matrix product: BLAS may round equal rows differently, and all experts' are equal where nothing is.
        values = ((F.relu(values) if index else values)[..., None, :] * matrix).sum(dim=-1)
    gates = gates_of(weights[..., 0] + values[..., 0], gate.temperature, gate.top_k)
    pictures = result.images[..., :3].clamp(0, 1)
    assert result.depths is not None
    covered = gates * result.alphas
    accumulation = covered.sum(dim=0)
    frame = MixtureFrame(
        rgb=(gates[..., None] * pictures).sum(dim=0),
        accumulation=accumulation,
        depth=(covered * result.depths).sum(dim=0) / accumulation.clamp_min(1e-10),
        gates=gates,
        pictures=pictures,
    )
    return frame, result.alphas


def compare_frames(
    case: MixtureCase, actual: MixtureFrame, expected: MixtureFrame, alphas: Tensor, tolerance: float = 3e-6
) -> None:
    """Asserts that two frames of a case agree, up to the flips of thresholds that `compare_images` tolerates.

    Args:
        case: what they show; its scene's rounding multiplies the tolerance.
        actual, expected: the frames.
        alphas: ``[K,H,W]`` the experts' opacities: where little is seen a flip moves depth much.
        tolerance: for the experts' pictures. What gates have a part in may be off by twice as much, and more where a
            small temperature amplifies the logits' errors; depth, in world units, by ten times as much.
    """
    tolerance *= case.scene.rounding
    loose = 2 * tolerance / min(1.0, case.gate.temperature)
    compare_images(actual.pictures, expected.pictures, tolerance=tolerance, what="pictures")
    # Weights reach 2 where colours end at 1, and a network may amplify them: so do flips.
    for name in ("gates", "rgb", "accumulation"):
        one, other = getattr(actual, name), getattr(expected, name)
        if name != "gates":
            one, other = one[None], other[None]
        compare_images(one, other, tolerance=loose, flip_size=0.03, what=name)
    seen = (alphas > 0.05).all(dim=0)
    depths = [torch.where(seen.to(frame.depth.device), frame.depth, 0.0)[None] for frame in (actual, expected)]
    compare_images(*depths, tolerance=5 * loose, flip_size=0.1, what="depth")
