"""Whatever finite numbers go in, finite images and gradients come out, by every backend of the CPU and in every way to
composite. (gsplat's own torch functions, the oracle of ordinary scenes, are no backend: nothing is drawn by them.)"""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from moegs_ns.losses import photometric_loss
from moegs_ns.splats.mixture_frame import draw_mixture
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import Rasterized, rasterize
from moegs_ns.splats.rasterize_experts import rasterize_experts
from moegs_ns.splats.splats import Splats
from tests.splats.mixture_cases import make_gate
from tests.splats.mixture_libraries import KINDS, built_library

WIDTH, HEIGHT, CHANNELS = 20, 14, 3
BUDGET = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

# From what float32 barely holds to what it barely holds no more; zero and the ordinary lie between.
places = st.one_of(st.floats(-4, 4, width=32), st.sampled_from([0.0, 1e-30, 1e-6, -1e-3, 50.0, -1e4, 1e10, -1e18]))
log_sizes = st.one_of(st.floats(-6, 2), st.sampled_from([-80.0, -40.0, -20.0, 10.0, 30.0, 44.0]))
opacities = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 1e-38, 1 / 255, 0.999, 1.0]))
values = st.one_of(st.floats(-2, 2, width=32), st.sampled_from([0.0, 1e4, -1e4]))
turns = st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4)


@st.composite
def gaussians(draw: DrawFn) -> tuple[Splats, torch.Tensor]:
    """Up to a dozen Gaussians and their colours, before the camera, in it, behind it."""
    count = draw(st.integers(0, 12))

    def rows(one: st.SearchStrategy, width: int) -> torch.Tensor:
        return torch.tensor([[draw(one) for _ in range(width)] for _ in range(count)]).reshape(count, width).float()

    quats = torch.tensor([draw(turns) for _ in range(count)]).reshape(count, 4).float()
    quats = torch.where(quats.norm(dim=1, keepdim=True) > 1e-6, quats, torch.tensor([1.0, 0.0, 0.0, 0.0]))
    splats = Splats(
        means=rows(places, 3),
        quats=torch.nn.functional.normalize(quats, dim=1),
        scales=rows(log_sizes, 3).exp(),
        opacities=rows(opacities, 1)[:, 0],
    )
    return splats, rows(values, CHANNELS)


def view(zoom: float, angle: float) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    """A camera two units before the origin, turned about the vertical axis, as `rasterize` takes it."""
    viewmat = torch.eye(4)
    viewmat[0, 0], viewmat[0, 2] = math.cos(angle), math.sin(angle)
    viewmat[2, 0], viewmat[2, 2] = -math.sin(angle), math.cos(angle)
    viewmat[2, 3] = 2.0
    K = torch.tensor([[zoom * WIDTH, 0, WIDTH / 2], [0, zoom * WIDTH, HEIGHT / 2], [0, 0, 1.0]])
    return viewmat, K, WIDTH, HEIGHT


PLAIN, ANTIALIASED = ProjectionSettings(), ProjectionSettings(antialiased=True)


def dealt(count: int) -> torch.Tensor:
    """``[count]`` Gaussians of two experts by turns."""
    return torch.arange(count) % 2


def draw(how: str, backend: str, splats: Splats, colours: torch.Tensor, camera: tuple) -> Rasterized:
    """Every way in which the project composites Gaussians."""
    options = {"depth": True, "absgrad": True, "backend": backend}
    if how in ("plain", "antialiased"):
        return rasterize(splats, colours, *camera, settings=ANTIALIASED if how == "antialiased" else PLAIN, **options)
    ids = dealt(len(colours)).int()
    if how in ("two experts", "together"):
        both = {"expert_ids": ids, "num_experts": 2, "settings": [PLAIN, ANTIALIASED], "together": how == "together"}
        return rasterize(splats, colours, *camera, **both, **options)
    rows = [torch.nonzero(ids == one).squeeze(1) for one in range(2)]
    parts = [Splats(splats.means[own], splats.quats[own], splats.scales[own], splats.opacities[own]) for own in rows]
    blocks = [[colours[own, :1], colours[own, 1:]] for own in rows]
    return rasterize_experts(parts, blocks, *camera, settings=[PLAIN, ANTIALIASED], depth=True, backend=backend)


@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize("how", ["plain", "antialiased", "two experts", "together", "in parts"])
def test_images_and_gradients_are_finite(backend: str, how: str) -> None:
    @settings(BUDGET, max_examples=120 if how == "antialiased" else 40)
    @given(gaussians(), st.floats(0.3, 3.0), st.floats(-3.2, 3.2))
    def check(drawn: tuple[Splats, torch.Tensor], zoom: float, angle: float) -> None:
        splats, colours = drawn
        leaves = [splats.means, splats.quats, splats.scales, splats.opacities, colours]
        for leaf in leaves:
            leaf.requires_grad_()
        shown = draw(how, backend, splats, colours, view(zoom, angle))
        assert shown.depths is not None
        for image in (shown.images, shown.alphas, shown.depths):
            assert image.isfinite().all()
        assert shown.alphas.min() >= 0 and shown.alphas.max() <= 1
        if not len(colours):
            return
        truth = torch.full((HEIGHT, WIDTH, CHANNELS), 0.5)
        losses = [photometric_loss(image, truth, 0.2) for image in shown.images]
        (sum(losses) + shown.depths.clamp(max=100).mean()).backward()
        for leaf in leaves:
            assert leaf.grad is None or leaf.grad.isfinite().all()

    check()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [0, 1])
def test_fused_inference_is_finite(kind: str, top_k: int) -> None:
    """Pictures only: it has no gradients. Router weights as large as colours, and a network that amplifies them."""
    library = built_library(kind)

    @settings(BUDGET, max_examples=40 if kind == "host" else 10)
    @given(gaussians(), st.floats(0.3, 3.0), st.floats(-3.2, 3.2))
    def check(drawn: tuple[Splats, torch.Tensor], zoom: float, angle: float) -> None:
        splats, colours = drawn
        frame = draw_mixture(
            library,
            splats,
            colours,
            colours.flip(1).contiguous(),
            dealt(len(colours)).int(),
            [PLAIN, ANTIALIASED],
            *view(zoom, angle),
            torch.full((2, 3), 0.5),
            make_gate(0, top_k=top_k),
        )
        for name, image in vars(frame).items():
            assert image.isfinite().all(), name
        assert frame.gates.min() >= 0 and frame.gates.max() <= 1 + 1e-6

    check()
