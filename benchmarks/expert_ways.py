"""Experts of a synthetic scene, each with tensors of its own, and the ways to render them for a mixture.

All ways begin with tensors of each expert and end with tensors of all, as the router's softmax over experts takes them:
what draws experts one by one has to lay their images one upon the other afterwards.
"""

from dataclasses import dataclass, replace

import torch
from raster_scene import surface_scene
from torch import Tensor

from moegs_ns.router.gate import gate
from moegs_ns.router.interface import RouterView
from moegs_ns.router.volume_aware import VolumeAwareRouter
from moegs_ns.splats.mixture_frame import MixtureFrame, draw_mixture
from moegs_ns.splats.mixture_library import MixtureLibrary
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import Rasterized, rasterize
from moegs_ns.splats.rasterize_experts import rasterize_experts
from moegs_ns.splats.rays import ray_image
from moegs_ns.splats.splats import Splats, concatenate

COLOURS, WEIGHTS = 3, 3
GEOMETRY = ("means", "quats", "scales", "opacities")
# As a mixture's: pixels less covered than this have no depth.
_MIN_COVER = 1e-10


@dataclass(frozen=True)
class Case:
    """A scene.

    Attributes:
        axis: along which scenes grow here: ``gaussians``, ``image`` or ``experts``.
        gaussians: of all experts together.
        width, height: pixels.
        experts: K.
    """

    axis: str
    gaussians: int
    width: int
    height: int
    experts: int


@dataclass(frozen=True, eq=False)
class Expert:
    """One expert's Gaussians of an instant."""

    splats: Splats
    colours: Tensor
    """``[N,3]``"""
    weights: Tensor
    """``[N,3]`` w, w_dir and t * w_time of the router."""

    def tensors(self) -> list[Tensor]:
        """Everything that may ask for gradients."""
        return [*(getattr(self.splats, name) for name in GEOMETRY), self.colours, self.weights]

    def of(self, tensors: list[Tensor]) -> "Expert":
        """The same with other ``tensors``, in their order."""
        *geometry, colours, weights = tensors
        return Expert(Splats(*geometry), colours, weights)


@dataclass(frozen=True, eq=False)
class ExpertScene:
    """K experts and the camera that sees them."""

    experts: list[Expert]
    viewmat: Tensor
    K: Tensor
    width: int
    height: int

    @property
    def view(self) -> tuple[Tensor, Tensor, int, int]:
        """The camera as `rasterize` takes it."""
        return self.viewmat, self.K, self.width, self.height

    def to(self, device: torch.device) -> "ExpertScene":
        """A copy there."""
        experts = [one.of([tensor.to(device) for tensor in one.tensors()]) for one in self.experts]
        return replace(self, experts=experts, viewmat=self.viewmat.to(device), K=self.K.to(device))

    def learning(self) -> "ExpertScene":
        """A copy whose experts' tensors are leaves that ask for gradients."""
        experts = [one.of([tensor.clone().requires_grad_() for tensor in one.tensors()]) for one in self.experts]
        return replace(self, experts=experts)

    def leaves(self) -> list[Tensor]:
        """The tensors of all experts."""
        return [tensor for one in self.experts for tensor in one.tensors()]


def expert_scene(case: Case, seed: int) -> ExpertScene:
    """The Gaussians of a scene dealt out to the experts: each sees all of it, thinner."""
    scene = surface_scene(case.gaussians, COLOURS + WEIGHTS, case.width, case.height, seed)
    experts = []
    for expert in range(case.experts):
        first, last = (case.gaussians * (expert + more) // case.experts for more in (0, 1))
        splats = Splats(*(getattr(scene.splats, name)[first:last].clone() for name in GEOMETRY))
        colours, weights = scene.channels[first:last].split((COLOURS, WEIGHTS), dim=1)
        experts.append(Expert(splats, colours.clone(), 4 * weights - 2))  # gates that differ from pixel to pixel
    return ExpertScene(experts, scene.viewmat, scene.K, case.width, case.height)


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a way made of the experts."""

    images: list[Tensor]
    """``[K,H,W,6]`` colours and weights, or ``[K,H,W,3]`` each."""
    alphas: Tensor
    """``[K,H,W]``"""


def two_passes_each(at: ExpertScene) -> Drawn:
    """Colours and weights apart, expert by expert."""
    colours = [rasterize(one.splats, one.colours, *at.view) for one in at.experts]
    weights = [rasterize(one.splats, one.weights, *at.view) for one in at.experts]
    images = [torch.cat([result.images for result in results]) for results in (colours, weights)]
    return Drawn(images, torch.cat([result.alphas for result in colours]))


def one_pass_each(at: ExpertScene) -> Drawn:
    """Six channels at once, expert by expert."""
    results = [rasterize(one.splats, torch.cat([one.colours, one.weights], dim=1), *at.view) for one in at.experts]
    return Drawn([torch.cat([result.images for result in results])], torch.cat([result.alphas for result in results]))


def single_pass(at: ExpertScene, backend: str = "auto") -> Drawn:
    """All experts at once."""
    result = rasterize_experts(
        [one.splats for one in at.experts],
        [[one.colours, one.weights] for one in at.experts],
        *at.view,
        backend=backend,
    )
    return Drawn([result.images], result.alphas)


def end_to_end(at: ExpertScene) -> tuple[Splats, Tensor, Tensor, Tensor]:
    """The experts' Gaussians in one set, expert ids ``[N]``, colours ``[N,3]`` and weights ``[N,3]``."""
    splats, expert_ids = concatenate([one.splats for one in at.experts])
    colours, weights = (torch.cat([getattr(one, name) for one in at.experts]) for name in ("colours", "weights"))
    return splats, expert_ids, colours, weights


def make_router(at: ExpertScene, seed: int = 0) -> VolumeAwareRouter:
    """The volume-aware router as it is by default, its network's weights by ``seed``; it holds no weights of Gaussians,
    which the experts bring."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        router = VolumeAwareRouter([0] * len(at.experts), 0.0, "origin+direction", kernel_size=1)
    return router.to(at.viewmat.device).eval()


@torch.no_grad()
def draw_ordinarily(at: ExpertScene, router: VolumeAwareRouter) -> MixtureFrame:
    """A mixture's frame in evaluation: the single pass, then the router's network, softmax and blend in torch."""
    experts = len(at.experts)
    result: Rasterized = rasterize_experts(
        [one.splats for one in at.experts],
        [[one.colours, one.weights] for one in at.experts],
        *at.view,
        background=at.viewmat.new_zeros(experts, COLOURS + WEIGHTS),
        depth=True,
    )
    assert result.depths is not None
    colours, weights = result.images.split((COLOURS, WEIGHTS), dim=-1)
    view = RouterView(0.0, ray_image(*at.view), weights, colours, result.alphas, result.depths)
    gates, pictures = gate(router.logits(view)), colours.clamp(0.0, 1.0)
    covered = gates * result.alphas
    accumulation = covered.sum(dim=0)
    return MixtureFrame(
        rgb=(gates[..., None] * pictures).sum(dim=0),
        accumulation=accumulation,
        depth=(covered * result.depths).sum(dim=0) / accumulation.clamp_min(_MIN_COVER),
        gates=gates,
        pictures=pictures,
    )


def draw_fused(at: ExpertScene, router: VolumeAwareRouter, library: MixtureLibrary) -> MixtureFrame:
    """The same frame by fused inference."""
    splats, expert_ids, colours, weights = end_to_end(at)
    experts = len(at.experts)
    background = colours.new_zeros(experts, COLOURS)
    settings = [ProjectionSettings()] * experts
    return draw_mixture(
        library, splats, colours, weights, expert_ids, settings, *at.view, background, router.pixel_gate()
    )
