"""Properties of ``rasterize`` that hold for every backend, its arguments, and how a backend is chosen."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import pytest
import torch

from moegs_ns.splats import rasterize as rasterize_module
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import rasterize, resolve_backend
from moegs_ns.splats.splats import Splats
from tests.splats.random_scenes import ANTIALIASED, CLASSIC, Scene, hard_cases, random_scene, rasterize_scene, render

MANY_EXPERTS = [scene for scene in hard_cases() if scene.num_experts > 1]


# --- properties --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", MANY_EXPERTS, ids=lambda scene: scene.name)
def test_every_expert_is_rendered_as_if_alone(backend, scene):
    together = render(scene, backend)
    for expert in range(scene.num_experts):
        alone = render(scene.expert(expert), backend)
        for name in ("images", "alphas", "depths"):
            assert torch.equal(getattr(together.result, name)[expert], getattr(alone.result, name)[0]), name


@pytest.mark.parametrize("scene", MANY_EXPERTS, ids=lambda scene: scene.name)
def test_every_expert_gets_the_gradients_it_gets_alone(backend, scene):
    def gradients(scene: Scene) -> dict[str, torch.Tensor]:
        names = ("means", "quats", "scales", "opacities")
        leaves = [getattr(scene.splats, name).clone().requires_grad_() for name in names]
        channels = scene.channels.clone().requires_grad_()
        result = rasterize_scene(scene, backend, splats=Splats(*leaves), channels=channels, depth=True)
        (result.images.square().sum() + result.alphas.sum() + result.depths.sum()).backward()
        return {name: leaf.grad for name, leaf in zip((*names, "channels"), (*leaves, channels), strict=True)}

    together = gradients(scene)
    for expert in range(scene.num_experts):
        rows = scene.expert_ids == expert
        for name, gradient in gradients(scene.expert(expert)).items():
            assert torch.equal(together[name][rows], gradient), name


def test_the_order_of_the_gaussians_does_not_matter(backend):
    scene = random_scene(40, 80, k=2, settings=(CLASSIC, ANTIALIASED))
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    straight, shuffled = render(scene, backend), render(scene.permuted(order), backend)
    torch.testing.assert_close(shuffled.result.images, straight.result.images, rtol=0, atol=1e-6)
    assert torch.equal(shuffled.result.radii, straight.result.radii[order])
    for name, gradient in straight.gradients.items():
        torch.testing.assert_close(shuffled.gradients[name], gradient[order], rtol=1e-4, atol=1e-4)


def test_images_are_linear_in_the_channels(backend):
    scene = random_scene(41, 80, k=2, c=4)
    other = torch.rand(80, 4, generator=torch.Generator().manual_seed(1))
    mixed = rasterize_scene(scene, backend, channels=2.0 * scene.channels - 3.0 * other)
    first, second = rasterize_scene(scene, backend), rasterize_scene(scene, backend, channels=other)
    torch.testing.assert_close(mixed.images, 2.0 * first.images - 3.0 * second.images, rtol=0, atol=1e-5)
    assert torch.equal(mixed.alphas, first.alphas)


@pytest.mark.parametrize("settings", [CLASSIC, ANTIALIASED])
def test_alpha_is_the_image_of_ones(backend, settings):
    scene = random_scene(42, 80, k=2, settings=settings)
    result = rasterize_scene(scene, backend, channels=torch.ones(80, 1))
    torch.testing.assert_close(result.images[..., 0], result.alphas, rtol=0, atol=1e-6)
    assert float(result.alphas.max()) > 0.5


@pytest.mark.parametrize(("eps2d", "antialiased"), [(0.3, False), (0.3, True), (0.1, True)])
def test_blur_and_its_compensation_at_the_centre_of_a_small_gaussian(backend, eps2d, antialiased):
    """Standard deviation half a pixel, centred on pixel (4, 4): the peak is opacity, or opacity times det ratio."""
    focal, deviation = 9.0, 0.5
    splats = Splats(
        means=torch.tensor([[0.0, 0.0, 3.0]]),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        scales=torch.full((1, 3), deviation * 3.0 / focal),
        opacities=torch.tensor([0.8]),
    )
    K = torch.tensor([[focal, 0.0, 4.5], [0.0, focal, 4.5], [0.0, 0.0, 1.0]])
    settings = ProjectionSettings(eps2d=eps2d, antialiased=antialiased)
    result = rasterize(splats, torch.ones(1, 1), torch.eye(4), K, 9, 9, settings=settings, backend=backend)
    variance = deviation**2
    peak = 0.8 * (variance / (variance + eps2d) if antialiased else 1.0)
    assert float(result.alphas[0, 4, 4]) == pytest.approx(peak, rel=1e-5)
    assert float(result.alphas[0, 4, 5]) == pytest.approx(peak * math.exp(-0.5 / (variance + eps2d)), rel=1e-5)


def test_channel_gradients_of_the_sum_add_up_to_alpha(backend):
    """Each Gaussian's share of all pixels: the linear map that responsibilities and pruning scores build on."""
    scene = random_scene(43, 80, k=3)
    channels = torch.zeros(80, 1, requires_grad=True)
    result = rasterize_scene(scene, backend, channels=channels)
    result.images.sum().backward()
    for expert in range(3):
        share = channels.grad[scene.expert_ids == expert].sum()
        torch.testing.assert_close(share, result.alphas[expert].sum(), rtol=1e-5, atol=1e-4)


def test_upstream_gradients_of_any_memory_layout(backend):
    """sum() hands back one number expanded to the image, a permuted image hands back transposed strides."""
    scene = random_scene(55, 60, k=2)

    def gradient(upstream: torch.Tensor) -> torch.Tensor:
        means = scene.splats.means.clone().requires_grad_()
        result = rasterize_scene(scene, backend, splats=replace(scene.splats, means=means))
        torch.autograd.backward([result.images, result.alphas], [upstream, upstream[..., 0]])
        return means.grad

    ones = torch.ones(2, scene.height, scene.width, 3)
    expected = gradient(ones)
    transposed = torch.ones(3, scene.width, scene.height, 2).permute(3, 2, 1, 0)
    for _ in range(5):
        assert torch.equal(gradient(torch.ones(1, 1, 1, 1).expand_as(ones)), expected)
        assert torch.equal(gradient(transposed), expected)


def test_channels_do_not_see_each_other(backend):
    """Colour and router weights of one call equal separate calls."""
    scene = random_scene(44, 60, k=2, c=11)
    together = rasterize_scene(scene, backend).images
    for part in (slice(0, 3), slice(3, 4), slice(4, 11)):
        alone = rasterize_scene(scene, backend, channels=scene.channels[:, part]).images
        torch.testing.assert_close(together[..., part], alone, rtol=0, atol=1e-6)


def test_background_is_added_with_what_the_gaussians_leave(backend):
    scene = random_scene(45, 40, k=2, c=3)
    black = rasterize_scene(scene, backend)
    assert float(black.alphas.min()) == 0.0
    each = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])
    expected = black.images + (1 - black.alphas)[..., None] * each[:, None, None, :]
    torch.testing.assert_close(rasterize_scene(scene, backend, background=each).images, expected)
    shared = rasterize_scene(scene, backend, background=each[0]).images
    torch.testing.assert_close(shared[0], expected[0])
    torch.testing.assert_close(shared[1], black.images[1] + (1 - black.alphas[1])[..., None] * each[0])


def test_depth_is_the_blended_depth_over_alpha(backend):
    scene = random_scene(46, 40, k=2, c=3)
    result = rasterize_scene(scene, backend, depth=True)
    z = (scene.splats.means @ scene.viewmat[:3, :3].T + scene.viewmat[:3, 3])[:, 2:]
    blended = rasterize_scene(scene, backend, channels=z)
    torch.testing.assert_close(
        result.depths, blended.images[..., 0] / blended.alphas.clamp(min=1e-10), rtol=1e-5, atol=1e-5
    )
    assert not result.depths[result.alphas == 0].any()
    seen = result.depths[result.alphas > 0]
    assert float(seen.min()) >= 0.99
    assert float(seen.max()) <= 6.01
    assert torch.equal(result.images, rasterize_scene(scene, backend).images)
    assert rasterize_scene(scene, backend).depths is None


def test_depth_without_channels(backend):
    scene = random_scene(46, 40, k=2, c=3)
    result = rasterize_scene(scene, backend, channels=torch.zeros(40, 0), depth=True)
    assert result.images.shape == (2, scene.height, scene.width, 0)
    torch.testing.assert_close(result.depths, rasterize_scene(scene, backend, depth=True).depths)


def test_screen_gradients_and_visibility_for_density_control(backend):
    scene = random_scene(47, 60, k=2, settings=(CLASSIC, ANTIALIASED))
    rendered = render(scene, backend, absgrad=True)
    gradient, absolute = rendered.gradients["means2d"], rendered.gradients["absgrad"]
    assert gradient.shape == absolute.shape == (60, 2)
    assert (absolute >= gradient.abs() - 1e-5).all()
    assert (absolute > 2 * gradient.abs()).any(), "pulls from several sides cancel in one and add up in the other"
    result = rendered.result
    assert result.radii.dtype == torch.int32
    assert torch.equal(result.visible, result.radii > 0)
    assert not gradient[~result.visible].any()
    assert "absgrad" not in render(scene, backend, absgrad=False).gradients


def test_frozen_geometry_trains_its_channels(backend):
    scene = random_scene(48, 40, k=2)
    channels = scene.channels.clone().requires_grad_()
    result = rasterize_scene(scene, backend, channels=channels, depth=True, absgrad=True)
    result.images.sum().backward()
    assert not result.means2d.requires_grad
    assert channels.grad.any()


@pytest.mark.parametrize("requires_grad", [False, True])
def test_no_gaussians(backend, requires_grad):
    scene = random_scene(49, 0, k=3, settings=(CLASSIC, ANTIALIASED, CLASSIC))
    splats = replace(scene.splats, means=torch.zeros(0, 3, requires_grad=requires_grad))
    background = torch.tensor([0.25, 0.5, 0.75])
    result = rasterize_scene(scene, backend, splats=splats, background=background, depth=True, absgrad=True)
    assert torch.equal(result.images, background.expand(3, scene.height, scene.width, 3))
    assert not result.alphas.any()
    assert not result.depths.any()
    assert result.means2d.shape == (0, 2)
    assert result.visible.shape == (0,)
    if requires_grad:
        result.images.sum().backward()
        assert splats.means.grad.shape == (0, 3)


def test_expert_ids_may_be_left_out_for_one_expert(backend):
    scene = random_scene(50, 30)
    assert torch.equal(rasterize_scene(scene, backend, expert_ids=None).images, rasterize_scene(scene, backend).images)


def test_expert_ids_of_any_integer_type(backend):
    scene = random_scene(51, 30, k=2)
    expected = rasterize_scene(scene, backend).images
    assert torch.equal(rasterize_scene(scene, backend, expert_ids=scene.expert_ids.long()).images, expected)


def test_equal_settings_are_projected_once(monkeypatch):
    scene = random_scene(52, 30, k=4, settings=(CLASSIC, ANTIALIASED, ProjectionSettings(), ANTIALIASED))
    module = rasterize_module._load_backend("torch")
    calls, project = [], module.project
    monkeypatch.setattr(module, "project", lambda *a: calls.append(a) or project(*a))
    rasterize_scene(scene)
    assert [len(call[0]) for call in calls] == [
        int(torch.isin(scene.expert_ids, torch.tensor(group)).sum()) for group in ([0, 2], [1, 3])
    ]


# --- arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": torch.zeros(9, 3)}, "channels of shape \\[10, C\\], found \\[9, 3\\]"),
        ({"channels": torch.zeros(10)}, "channels of shape"),
        ({"channels": torch.zeros(10, 0)}, "at least one channel"),
        ({"viewmat": torch.zeros(1, 4, 4)}, "viewmat \\[4, 4\\]"),
        ({"K": torch.zeros(4)}, "K \\[3, 3\\]"),
        ({"width": 0}, "at least 1x1 pixels, found 0x"),
        ({"num_experts": 0}, "num_experts >= 1"),
        ({"expert_ids": None}, "expert_ids \\[10\\] for 2 experts"),
        ({"expert_ids": torch.zeros(9, dtype=torch.int32)}, "expert_ids of shape \\[10\\]"),
        ({"expert_ids": torch.zeros(10)}, "integer expert_ids"),
        ({"expert_ids": torch.full((10,), 2)}, "expert_ids in \\[0, 2\\), found \\[2, 2\\]"),
        ({"expert_ids": torch.full((10,), -1)}, "expert_ids in \\[0, 2\\)"),
        ({"background": torch.zeros(4)}, "background of shape \\[3\\] or \\[2, 3\\], found \\[4\\]"),
        ({"background": torch.zeros(3, 3)}, "background of shape"),
        ({"settings": [CLASSIC]}, "one settings object or 2, found 1"),
        ({"K": torch.eye(3, device="meta")}, "all tensors on 'cpu' like splats.means, found K on 'meta'"),
        ({"backend": "opengl"}, "expected one of .*found 'opengl'"),
    ],
)
def test_arguments_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        rasterize_scene(random_scene(53, 10, k=2), **changes)


# --- the choice of a backend -------------------------------------------------------------------------------------


@pytest.fixture
def native(monkeypatch):
    """Pretends that the native kernels are there, or are not, for the reason given."""
    monkeypatch.setattr(rasterize_module, "_warned_of_fallback", False)

    def pretend(reason: str | None) -> None:
        monkeypatch.setattr(rasterize_module, "_why_native_is_unavailable", lambda: reason)

    pretend(None)
    return pretend


def test_the_cpu_takes_the_native_kernels(native):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_backend("cpu") == "native"
        assert resolve_backend(torch.device("cpu"), "native") == "native"
        assert resolve_backend("cpu", "torch") == "torch"


def test_cuda_takes_gsplat(native, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for request in ("auto", "cuda", "gsplat"):
        assert resolve_backend("cuda:1", request) == "gsplat"
    assert resolve_backend("cuda", "torch") == "torch"
    with pytest.raises(ValueError, match="run on the CPU only"):
        resolve_backend("cuda", "native")


@pytest.mark.parametrize(("device", "request_"), [("cpu", "cuda"), ("cpu", "gsplat"), ("cuda", "auto")])
def test_cuda_without_cuda_is_a_clear_error(native, monkeypatch, device, request_):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"expected tensors on a CUDA device .* MOEGS_RASTER=auto"):
        resolve_backend(device, request_)


def test_the_fallback_warns_exactly_once(native):
    native("no C++ compiler was found")
    with pytest.warns(RuntimeWarning) as caught:
        assert [resolve_backend("cpu") for _ in range(3)] == ["torch"] * 3
    assert len(caught) == 1
    message = str(caught[0].message)
    for part in ("'torch'", "some hundred times slower", "no C++ compiler was found", "g++", "MOEGS_RASTER=torch"):
        assert part in message


def test_asking_for_missing_native_kernels_is_an_error(native):
    native("no C++ compiler was found")
    with pytest.raises(ValueError, match="not available: no C\\+\\+ compiler was found"):
        resolve_backend("cpu", "native")


def test_asking_for_torch_does_not_warn(native):
    native("no C++ compiler was found")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_backend("cpu", "torch") == "torch"


@pytest.mark.parametrize(("value", "expected"), [("torch", "torch"), ("native", "native"), (" Torch ", "torch")])
def test_the_environment_overrides(native, monkeypatch, value, expected):
    monkeypatch.setenv("MOEGS_RASTER", value)
    for request in ("auto", "native", "torch"):
        assert resolve_backend("cpu", request) == expected


@pytest.mark.parametrize("value", ["auto", ""])
def test_auto_in_the_environment_changes_nothing(native, monkeypatch, value):
    monkeypatch.setenv("MOEGS_RASTER", value)
    assert resolve_backend("cpu") == "native"
    assert resolve_backend("cpu", "torch") == "torch"


def test_cuda_in_the_environment_without_cuda(native, monkeypatch):
    monkeypatch.setenv("MOEGS_RASTER", "cuda")
    with pytest.raises(ValueError, match="backend 'cuda'"):
        resolve_backend("cpu")


def test_typos_in_the_environment(native, monkeypatch):
    monkeypatch.setenv("MOEGS_RASTER", "nativ")
    with pytest.raises(ValueError, match=r"\$MOEGS_RASTER: expected one of .*found 'nativ'"):
        resolve_backend("cpu")


def test_single_expert_scene_of_an_expert_keeps_its_own_settings():
    """Guards the helper the single-pass tests lean on."""
    scene = random_scene(54, 20, k=2, settings=(CLASSIC, replace(ANTIALIASED, near=2.0)))
    assert scene.expert(1).settings == (replace(ANTIALIASED, near=2.0),)
    assert len(scene.expert(0).splats) + len(scene.expert(1).splats) == 20
