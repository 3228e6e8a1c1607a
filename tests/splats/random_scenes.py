"""Random and deliberately nasty scenes, shared by the rasterizer's tests; comparisons come along with them.

Scenes hold float32 values; ``scene.to(torch.float64)`` holds the very same numbers, so that a float32 backend can be
measured against the float64 twin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.conventions import Conventions
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import Rasterized, rasterize
from moegs_ns.splats.splats import Splats
from tests.splats.comparisons import Rendered, compare_gradients, compare_images, compare_radii, compare_renderings

__all__ = [
    "ANTIALIASED",
    "CLASSIC",
    "Rendered",
    "Scene",
    "compare_gradients",
    "compare_images",
    "compare_radii",
    "compare_renderings",
    "hard_cases",
    "look_at_viewmat",
    "random_scene",
    "rasterize_scene",
    "render",
]

CLASSIC = ProjectionSettings()
ANTIALIASED = ProjectionSettings(eps2d=0.1, antialiased=True)


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything one call of ``rasterize`` takes."""

    name: str
    splats: Splats
    channels: Tensor  # [N, C]
    viewmat: Tensor  # [4, 4]
    K: Tensor  # [3, 3]
    width: int
    height: int
    expert_ids: Tensor  # [N] int32
    num_experts: int
    settings: tuple[ProjectionSettings, ...]  # one per expert
    background: Tensor | None  # [num_experts, C]
    rounding: float = 1.0  # how much more than usual the scene amplifies float32 rounding; multiplies tolerances

    def to(self, target: torch.dtype | torch.device | str) -> Scene:
        """The same numbers in another precision, or on another device."""
        parts = {name: getattr(self.splats, name).to(target) for name in ("means", "quats", "scales", "opacities")}
        return replace(
            self,
            splats=Splats(**parts),
            channels=self.channels.to(target),
            viewmat=self.viewmat.to(target),
            K=self.K.to(target),
            background=None if self.background is None else self.background.to(target),
            expert_ids=self.expert_ids if isinstance(target, torch.dtype) else self.expert_ids.to(target),
        )

    def expert(self, index: int) -> Scene:
        """The scene of one expert alone."""
        rows = self.expert_ids == index
        parts = {name: getattr(self.splats, name)[rows] for name in ("means", "quats", "scales", "opacities")}
        return replace(
            self,
            name=f"{self.name}, expert {index} alone",
            splats=Splats(**parts),
            channels=self.channels[rows],
            expert_ids=torch.zeros_like(self.expert_ids[rows]),
            num_experts=1,
            settings=(self.settings[index],),
            background=None if self.background is None else self.background[index : index + 1],
        )

    def under(self, conventions: Conventions) -> Scene:
        """The same scene by the numeric rules of another gsplat release."""
        return replace(self, settings=tuple(replace(one, conventions=conventions) for one in self.settings))

    def permuted(self, order: Tensor) -> Scene:
        """The same Gaussians in another order."""
        parts = {name: getattr(self.splats, name)[order] for name in ("means", "quats", "scales", "opacities")}
        return replace(self, splats=Splats(**parts), channels=self.channels[order], expert_ids=self.expert_ids[order])


def look_at_viewmat(tilt: float = 0.2, pan: float = -0.3, shift: Sequence[float] = (0.1, -0.2, 0.3)) -> Tensor:
    """A world-to-camera matrix without zeros or symmetry that could hide a mistake. [4, 4] float64."""
    ct, st, cp, sp = math.cos(tilt), math.sin(tilt), math.cos(pan), math.sin(pan)
    about_x = torch.tensor([[1, 0, 0], [0, ct, -st], [0, st, ct]], dtype=torch.float64)
    about_y = torch.tensor([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]], dtype=torch.float64)
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3] = about_x @ about_y
    viewmat[:3, 3] = torch.tensor(shift, dtype=torch.float64)
    return viewmat


def random_scene(
    seed: int,
    n: int,
    k: int = 1,
    c: int = 3,
    width: int = 50,
    height: int = 37,
    *,
    settings: ProjectionSettings | Sequence[ProjectionSettings] = CLASSIC,
    principal_point: tuple[float, float] | None = None,
    pixels: tuple[float, float] = (0.7, 9.0),
    depth_range: tuple[float, float] = (1.0, 6.0),
    opacity_range: tuple[float, float] = (0.05, 0.98),
    name: str = "",
    rounding: float = 1.0,
) -> Scene:
    """``n`` Gaussians of ``k`` experts spread over (and a little beyond) a ``width`` x ``height`` image.

    Args:
        seed: everything random follows from it.
        n: number of Gaussians.
        k: number of experts; rows are dealt at random.
        c: number of channels, values in [0, 1).
        width: in pixels; the default is no multiple of the tile size.
        height: in pixels.
        settings: one, or one per expert.
        principal_point: (cx, cy) in pixels, default slightly off the centre.
        pixels: smallest and largest standard deviation on the screen, log-uniform per axis.
        depth_range: z-depths, uniform.
        opacity_range: uniform.
        name: for messages and test ids.
        rounding: see ``Scene``.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    focal_x, focal_y = 0.9 * max(width, height), 0.95 * max(width, height)
    cx, cy = principal_point or (0.5 * width + 0.4, 0.5 * height - 0.7)
    z = uniform(*depth_range, n)
    u = uniform(-0.1 * width, 1.1 * width, n)
    v = uniform(-0.1 * height, 1.1 * height, n)
    in_camera = torch.stack([(u - cx) * z / focal_x, (v - cy) * z / focal_y, z], dim=-1)
    viewmat = look_at_viewmat()
    means = (in_camera - viewmat[:3, 3]) @ viewmat[:3, :3]
    scales = torch.exp(uniform(math.log(pixels[0]), math.log(pixels[1]), n, 3)) * z[:, None] / focal_x
    quats = torch.nn.functional.normalize(torch.randn(n, 4, generator=generator, dtype=torch.float64), dim=-1)
    expert_ids = torch.randint(k, (n,), generator=generator, dtype=torch.int32)
    K = torch.tensor([[focal_x, 0, cx], [0, focal_y, cy], [0, 0, 1]], dtype=torch.float64)
    return Scene(
        name=name or f"random-{seed}",
        splats=Splats(
            means=means.float(),
            quats=quats.float(),
            scales=scales.float(),
            opacities=uniform(*opacity_range, n).float(),
        ),
        channels=uniform(0.0, 1.0, n, c).float(),
        viewmat=viewmat.float(),
        K=K.float(),
        width=width,
        height=height,
        expert_ids=expert_ids,
        num_experts=k,
        settings=(settings,) * k if isinstance(settings, ProjectionSettings) else tuple(settings),
        background=uniform(0.0, 1.0, k, c).float(),
        rounding=rounding,
    )


def hard_cases() -> list[Scene]:
    """Small named scenes, each with one thing that tends to break rasterizers, and their combinations."""
    scenes = [
        random_scene(1, 60, name="plain"),
        random_scene(2, 60, settings=ANTIALIASED, name="antialiased"),
        random_scene(3, 80, k=2, c=1, name="two-experts-one-channel"),
        random_scene(4, 90, k=3, c=8, settings=ANTIALIASED, name="three-experts-eight-channels"),
        random_scene(5, 100, k=4, c=11, name="four-experts-eleven-channels"),
        random_scene(6, 90, k=3, c=4, settings=(CLASSIC, ANTIALIASED, CLASSIC), name="mixed-projection-groups"),
        random_scene(
            7,
            80,
            k=2,
            settings=(ProjectionSettings(near=3.0, radius_clip=6.0), ProjectionSettings(far=3.0, eps2d=1.0)),
            name="near-far-and-radius-clip",
            rounding=5.0,
        ),
        random_scene(8, 60, width=64, height=16, name="whole-tiles"),
        random_scene(9, 50, width=17, height=33, settings=ANTIALIASED, name="ragged-tiles"),
        random_scene(10, 20, width=1, height=1, name="one-pixel"),
        random_scene(11, 12, k=2, width=1, height=1, settings=(CLASSIC, ANTIALIASED), name="one-pixel-two-experts"),
        random_scene(12, 60, principal_point=(7.3, 31.8), name="off-centre-principal-point"),
        random_scene(
            13, 60, principal_point=(-20.0, 60.0), settings=ANTIALIASED, name="principal-point-outside-the-image"
        ),
        random_scene(14, 40, pixels=(0.001, 0.02), name="tiny", rounding=50.0),
        random_scene(15, 40, pixels=(0.001, 0.02), settings=ANTIALIASED, name="tiny-antialiased", rounding=10.0),
        random_scene(16, 30, pixels=(60.0, 400.0), opacity_range=(0.01, 0.2), name="huge"),
        random_scene(17, 120, pixels=(3.0, 20.0), opacity_range=(0.9991, 1.0), name="opaque"),
        random_scene(18, 40, opacity_range=(1e-5, 0.0039), name="below-1/255"),
        random_scene(19, 0, k=3, name="no-gaussians"),
        random_scene(20, 1, name="one-gaussian", rounding=20.0),
        random_scene(21, 300, pixels=(4.0, 25.0), opacity_range=(0.5, 0.999), name="deep-and-dense"),
    ]
    scenes.append(_behind_and_around_the_camera(22))
    scenes.append(_everything_behind_the_camera(23))
    scenes.append(_equal_depths(24))
    scenes.append(_unnormalised_quaternions(25))
    scenes.append(_needles_and_pancakes(26))
    scenes.append(_one_expert_without_gaussians(27))
    scenes.append(_far_outside_the_view(28))
    return scenes


def _with_splats(scene: Scene, name: str, **changes: Tensor) -> Scene:
    return replace(scene, name=name, splats=replace(scene.splats, **changes))


def _in_camera(scene: Scene) -> Tensor:
    viewmat = scene.viewmat.double()
    return scene.splats.means.double() @ viewmat[:3, :3].T + viewmat[:3, 3]


def _to_world(scene: Scene, in_camera: Tensor) -> Tensor:
    viewmat = scene.viewmat.double()
    return ((in_camera - viewmat[:3, 3]) @ viewmat[:3, :3]).float()


def _behind_and_around_the_camera(seed: int) -> Scene:
    scene = random_scene(seed, 80, k=2)
    points = _in_camera(scene)
    points[::3, 2] *= -1
    points[1::6, 2] *= 0.004
    return _with_splats(scene, "behind-and-around-the-camera", means=_to_world(scene, points))


def _everything_behind_the_camera(seed: int) -> Scene:
    scene = random_scene(seed, 20, k=2)
    return _with_splats(scene, "empty-image", means=_to_world(scene, -_in_camera(scene)))


def _equal_depths(seed: int) -> Scene:
    """Copies of few centres: exactly equal depths, different shapes and colours, so that only the index orders."""
    scene = random_scene(seed, 60, k=2, pixels=(2.0, 15.0))
    return _with_splats(scene, "equal-depths", means=scene.splats.means[torch.arange(60) % 7])


def _unnormalised_quaternions(seed: int) -> Scene:
    scene = random_scene(seed, 50, settings=ANTIALIASED)
    factors = torch.logspace(-2, 2, 50)[:, None] * torch.where(torch.arange(50) % 2 == 0, 1.0, -1.0)[:, None]
    return _with_splats(scene, "unnormalised-quaternions", quats=scene.splats.quats * factors)


def _needles_and_pancakes(seed: int) -> Scene:
    scene = random_scene(seed, 60, rounding=100.0)  # their 2x2 determinants lose most of float32's digits
    factors = torch.tensor([[20.0, 1e-3, 1e-3], [5.0, 5.0, 1e-4], [1e-6, 1e-6, 1e-6]])[torch.arange(60) % 3]
    return _with_splats(scene, "needles-and-pancakes", scales=scene.splats.scales * factors)


def _one_expert_without_gaussians(seed: int) -> Scene:
    scene = random_scene(seed, 60, k=3, settings=(CLASSIC, ANTIALIASED, CLASSIC), name="one-expert-without-gaussians")
    return replace(scene, expert_ids=torch.where(scene.expert_ids == 1, 0, scene.expert_ids))


def _far_outside_the_view(seed: int) -> Scene:
    """Centres far off the image whose size still reaches it: the clamped Jacobian decides their shape."""
    scene = random_scene(seed, 40, pixels=(10.0, 80.0))
    points = _in_camera(scene)
    points[:, 0] *= torch.where(torch.arange(40) % 2 == 0, 4.0, -3.0)
    points[:, 1] *= torch.where(torch.arange(40) % 4 < 2, 3.0, -4.0)
    return _with_splats(scene, "far-outside-the-view", means=_to_world(scene, points))


def rasterize_scene(scene: Scene, backend: str = "torch", **changes: Any) -> Rasterized:
    """`rasterize` of ``scene`` over black; ``changes`` take the place of its arguments, or are further ones."""
    arguments = {
        "splats": scene.splats,
        "channels": scene.channels,
        "viewmat": scene.viewmat,
        "K": scene.K,
        "width": scene.width,
        "height": scene.height,
        "expert_ids": scene.expert_ids,
        "num_experts": scene.num_experts,
        "settings": scene.settings,
        "backend": backend,
    }
    return rasterize(**(arguments | changes))


def render(scene: Scene, backend: str, *, depth: bool = True, absgrad: bool = True, seed: int = 0) -> Rendered:
    """Rasterizes ``scene`` and walks back from images, alphas and depths with fixed random weights."""
    leaves = {name: getattr(scene.splats, name).clone() for name in ("means", "quats", "scales", "opacities")}
    leaves["channels"] = scene.channels.clone()
    for leaf in leaves.values():
        leaf.requires_grad_()
    result = rasterize_scene(
        scene,
        backend,
        splats=Splats(*(leaves[name] for name in ("means", "quats", "scales", "opacities"))),
        channels=leaves["channels"],
        background=scene.background,
        depth=depth,
        absgrad=absgrad,
    )
    result.means2d.retain_grad()
    generator = torch.Generator().manual_seed(seed)
    loss = result.images.new_zeros(())
    for output in (result.images, result.alphas, result.depths):
        if output is not None:
            weights = torch.randn(output.shape, generator=generator, dtype=torch.float64)
            loss = loss + (output * weights.to(output)).sum()
    loss.backward()
    gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    if result.means2d.grad is not None:
        gradients["means2d"] = result.means2d.grad
    if absgrad and hasattr(result.means2d, "absgrad"):
        gradients["absgrad"] = result.means2d.absgrad
    return Rendered(result, gradients)
