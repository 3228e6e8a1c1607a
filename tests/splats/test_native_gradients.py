"""Gradients of the native kernels against the float64 twin, and what the kernels promise beyond it."""

from __future__ import annotations

import gc

import pytest
import torch

from moegs_ns.splats import native_backend, native_compositing, torch_backend
from tests.splats.comparisons import compare_gradients, compare_renderings
from tests.splats.random_scenes import ANTIALIASED, CLASSIC, Scene, hard_cases, random_scene, render

if not native_backend.available():
    pytest.skip(f"no native kernels: {native_backend.unavailable_reason()}", allow_module_level=True)

NAMES = ("means2d", "conics", "opacities", "channels")


@pytest.mark.parametrize("scene", hard_cases(), ids=lambda scene: scene.name)
def test_hard_cases(scene):
    """Images, alphas, depths, and the gradients of means, quats, scales, opacities, channels, means2d and absgrad."""
    compare_renderings(render(scene, "native"), render(scene.to(torch.float64), "torch"), rounding=scene.rounding)


@pytest.mark.parametrize("channels", [1, 3, 8, 11])
@pytest.mark.parametrize("experts", [1, 2, 3, 4])
def test_random_scenes(experts, channels):
    """Mixed projection groups wherever there is more than one expert."""
    settings = [(CLASSIC, ANTIALIASED)[expert % 2] for expert in range(experts)]
    scene = random_scene(
        10 * experts + channels, 60 + 60 * experts, k=experts, c=channels, width=60, height=45, settings=settings
    )
    compare_renderings(render(scene, "native"), render(scene.to(torch.float64), "torch"))


@pytest.mark.parametrize("settings", [CLASSIC, ANTIALIASED], ids=["classic", "antialiased"])
@pytest.mark.parametrize("scene", hard_cases(), ids=lambda scene: scene.name)
def test_projection_alone(scene, settings):
    """Every output of the projection pulled at once; no allowance even for needles."""
    gradients = []
    for current, module in ((scene, native_backend), (scene.to(torch.float64), torch_backend)):
        leaves = [getattr(current.splats, name).clone().requires_grad_() for name in ("means", "quats", "scales")]
        result = module.project(*leaves, current.viewmat, current.K, current.width, current.height, settings)
        generator = torch.Generator().manual_seed(1)
        loss = result.means2d.new_zeros(())
        for output in (result.means2d, result.depths, result.conics, result.compensations):
            weights = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
            loss = loss + (output * weights).sum()
        loss.backward()
        gradients.append((result.radii, [leaf.grad for leaf in leaves]))
    (radii, actual), (twin_radii, expected) = gradients
    if not torch.equal(radii > 0, twin_radii > 0):
        pytest.skip("rounding moved a Gaussian across a culling threshold")
    for name, mine, theirs in zip(("means", "quats", "scales"), actual, expected, strict=True):
        compare_gradients(mine, theirs, tolerance=2e-5, flip_size=2e-5, flip_share=0.0, what=name)


def composite_gradients(
    scene: Scene,
    module,
    dtype: torch.dtype,
    *,
    wanted=NAMES,
    pull=("images", "alphas"),
    absgrad: bool = False,
    inputs: tuple[torch.Tensor, ...] | None = None,
) -> dict[str, torch.Tensor]:
    """Gradients of one compositing of the scene's projection (float32 numbers, whatever the precision)."""
    splats = scene.splats
    with torch.no_grad():
        screen = native_backend.project(
            splats.means, splats.quats, splats.scales, scene.viewmat, scene.K, scene.width, scene.height, CLASSIC
        )
    values = inputs or (screen.means2d, screen.conics, splats.opacities, scene.channels)
    leaves = {
        name: value.detach().to(dtype).clone().requires_grad_(name in wanted)
        for name, value in zip(NAMES, values, strict=True)
    }
    images, alphas = module.composite(
        *leaves.values(),
        screen.depths.to(dtype),
        screen.radii,
        scene.expert_ids,
        scene.num_experts,
        scene.width,
        scene.height,
        absgrad=absgrad,
    )
    generator = torch.Generator().manual_seed(2)
    loss = images.new_zeros(())
    for name, output in (("images", images), ("alphas", alphas)):
        weights = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
        if name in pull:
            loss = loss + (output * weights).sum()
    loss.backward()
    gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    if hasattr(leaves["means2d"], "absgrad"):
        gradients["absgrad"] = leaves["means2d"].absgrad
    return gradients


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 33])
def test_any_number_of_channels(channels):
    scene = random_scene(60, 120, k=2, c=channels)
    actual = composite_gradients(scene, native_backend, torch.float32, absgrad=True)
    expected = composite_gradients(scene, torch_backend, torch.float64, absgrad=True)
    assert actual.keys() == expected.keys() == {*NAMES, "absgrad"}
    for name in expected:
        compare_gradients(actual[name], expected[name], what=name)


@pytest.mark.parametrize("pull", [("images",), ("alphas",)], ids=["images-only", "alphas-only"])
def test_one_upstream_gradient_missing(pull):
    scene = random_scene(61, 120, k=2)
    actual = composite_gradients(scene, native_backend, torch.float32, pull=pull)
    expected = composite_gradients(scene, torch_backend, torch.float64, pull=pull)
    for name in actual:
        compare_gradients(actual[name], expected[name], what=name)


@pytest.mark.parametrize("channels", [1, 3, 8, 11])
def test_the_channel_gradient_alone_is_the_same_to_the_last_bit(channels):
    """Router training asks for channel gradients only, which takes another path through the kernel."""
    scene = random_scene(62, 150, k=3, c=channels)
    alone = composite_gradients(scene, native_backend, torch.float32, wanted=("channels",), absgrad=True)
    assert alone.keys() == {"channels"}
    together = composite_gradients(scene, native_backend, torch.float32)
    assert torch.equal(alone["channels"], together["channels"])


@pytest.mark.parametrize("wanted", [("means2d",), ("conics",), ("opacities",)], ids=lambda wanted: wanted[0])
def test_only_what_is_asked_for_gets_a_gradient(wanted):
    scene = random_scene(63, 100)
    actual = composite_gradients(scene, native_backend, torch.float32, wanted=wanted)
    together = composite_gradients(scene, native_backend, torch.float32)
    assert actual.keys() == set(wanted)
    assert torch.equal(actual[wanted[0]], together[wanted[0]])


def test_channel_gradients_are_the_blending_weights():
    """Images are linear in the channels, so finite differences of any size are exact up to rounding."""
    scene = random_scene(64, 30, c=2)
    gradient = composite_gradients(scene, native_backend, torch.float32, wanted=("channels",))["channels"]
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(scene.channels.shape, generator=generator)
    splats = scene.splats
    screen = native_backend.project(
        splats.means, splats.quats, splats.scales, scene.viewmat, scene.K, scene.width, scene.height, CLASSIC
    )

    def pulled(channels: torch.Tensor) -> float:
        images, _ = native_backend.composite(
            screen.means2d,
            screen.conics,
            splats.opacities,
            channels,
            screen.depths,
            screen.radii,
            scene.expert_ids,
            1,
            scene.width,
            scene.height,
        )
        generator = torch.Generator().manual_seed(2)
        weights = torch.randn(images.shape, generator=generator, dtype=torch.float64)
        return float((images.double() * weights).sum())

    difference = pulled(scene.channels + direction) - pulled(scene.channels)
    assert difference == pytest.approx(float((gradient.double() * direction).sum()), rel=1e-4)


def test_clipped_alpha_passes_no_geometry_gradient():
    """Where opacity times falloff exceeds 0.999 the alpha is constant: only the channel feels the pixel."""
    leaves = [
        torch.tensor([[0.5, 0.5]], requires_grad=True),
        torch.tensor([[0.01, 0.0, 0.01]], requires_grad=True),
        torch.tensor([0.9999], requires_grad=True),
        torch.tensor([[2.0]], requires_grad=True),
    ]
    images, alphas = native_backend.composite(
        *leaves, torch.ones(1), torch.tensor([40], dtype=torch.int32), torch.zeros(1, dtype=torch.int32), 1, 1, 1
    )
    (images.sum() + alphas.sum()).backward()
    assert float(alphas.detach()) == pytest.approx(0.999, abs=1e-7)
    assert not any(leaf.grad.any() for leaf in leaves[:3])
    assert float(leaves[3].grad) == pytest.approx(0.999, abs=1e-7)


def test_hidden_and_culled_gaussians_get_exact_zeros():
    scene = random_scene(65, 120, pixels=(20.0, 40.0), opacity_range=(0.99, 0.9985))
    gradients = composite_gradients(scene, native_backend, torch.float32)
    expected = composite_gradients(scene, torch_backend, torch.float64)
    hidden = expected["opacities"] == 0
    assert hidden.sum() > 40  # the front layers cover everything behind them
    for name in NAMES:
        assert not gradients[name][hidden].any()


def test_backward_twice_through_a_retained_graph():
    scene = random_scene(66, 80)
    leaves = [getattr(scene.splats, name).clone().requires_grad_() for name in ("means", "quats", "scales")]
    screen = native_backend.project(*leaves, scene.viewmat, scene.K, scene.width, scene.height, CLASSIC)
    images, _ = native_backend.composite(
        screen.means2d,
        screen.conics,
        scene.splats.opacities,
        scene.channels,
        screen.depths,
        screen.radii,
        scene.expert_ids,
        1,
        scene.width,
        scene.height,
    )
    first = torch.autograd.grad(images.square().sum(), leaves, retain_graph=True)
    second = torch.autograd.grad(images.square().sum(), leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_frames_are_freed_with_their_graph(monkeypatch):
    freed = []
    original = native_compositing._Frame.__del__
    monkeypatch.setattr(
        native_compositing._Frame, "__del__", lambda frame: (freed.append(frame.pointer), original(frame))
    )
    for _ in range(3):
        composite_gradients(random_scene(67, 20), native_backend, torch.float32)
    gc.collect()
    assert len(freed) == 3
