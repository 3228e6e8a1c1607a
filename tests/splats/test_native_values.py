"""Images of the native kernels against the float64 twin, stage by stage and as a whole."""

from __future__ import annotations

import math

import pytest
import torch

from moegs_ns.splats import native_backend, torch_backend
from moegs_ns.splats.projection import ProjectionSettings
from tests.splats.comparisons import compare_images, compare_radii
from tests.splats.random_scenes import ANTIALIASED, CLASSIC, Scene, hard_cases, random_scene, rasterize_scene

if not native_backend.available():
    pytest.skip(f"no native kernels: {native_backend.unavailable_reason()}", allow_module_level=True)

HARD_CASES = hard_cases()
CHANNEL_COUNTS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 17, 40]


def forward(scene: Scene, backend: str, **changes):
    return rasterize_scene(scene, backend, **({"background": scene.background, "depth": True} | changes))


def projected(scene: Scene, backend, settings: ProjectionSettings = CLASSIC):
    splats = scene.splats
    return backend.project(
        splats.means, splats.quats, splats.scales, scene.viewmat, scene.K, scene.width, scene.height, settings
    )


def composited(scene: Scene, module, screen, dtype: torch.dtype, channels=None, expert_ids=None):
    """Composites the very same projected numbers in the given precision."""
    parts = (screen.means2d, screen.conics, scene.splats.opacities, scene.channels if channels is None else channels)
    return module.composite(
        *(part.to(dtype) for part in parts),
        screen.depths.to(dtype),
        screen.radii,
        scene.expert_ids if expert_ids is None else expert_ids,
        scene.num_experts,
        scene.width,
        scene.height,
    )


@pytest.mark.parametrize("scene", HARD_CASES, ids=lambda scene: scene.name)
def test_images_of_hard_cases(scene):
    native, twin = forward(scene, "native"), forward(scene.to(torch.float64), "torch")
    compare_images(native.images, twin.images, tolerance=1e-5 * scene.rounding, what="images")
    compare_images(native.alphas, twin.alphas, tolerance=1e-5 * scene.rounding, what="alphas")
    compare_radii(native.radii, twin.radii)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("settings", [CLASSIC, ANTIALIASED], ids=["classic", "antialiased"])
def test_images_of_random_scenes(seed, settings):
    scene = random_scene(
        100 + seed, 200, k=1 + seed % 4, c=(1, 3, 8, 11)[seed % 4], width=70, height=50, settings=settings
    )
    native, twin = forward(scene, "native"), forward(scene.to(torch.float64), "torch")
    compare_images(native.images, twin.images, what="images")
    compare_images(native.alphas, twin.alphas, what="alphas")


@pytest.mark.parametrize("settings", [CLASSIC, ANTIALIASED], ids=["classic", "antialiased"])
@pytest.mark.parametrize("scene", HARD_CASES, ids=lambda scene: scene.name)
def test_projection_of_hard_cases(scene, settings):
    native, twin = (
        projected(scene, native_backend, settings),
        projected(scene.to(torch.float64), torch_backend, settings),
    )
    compare_radii(native.radii, twin.radii)
    both = (native.radii > 0) & (twin.radii > 0)
    # The thinnest shapes keep their digits too, so no scene needs a tolerance of its own.
    for name, tolerance in (("means2d", 1e-5), ("depths", 1e-6), ("conics", 1e-5), ("compensations", 2e-5)):
        actual, expected = getattr(native, name)[both].double(), getattr(twin, name)[both]
        size = expected.flatten(1).norm(dim=1) if expected.ndim > 1 else expected.abs()
        error = (actual - expected).flatten(1).norm(dim=1) if expected.ndim > 1 else (actual - expected).abs()
        assert (error <= tolerance * size + 1e-6).all(), f"{name}: {float((error / (size + 1e-30)).max()):.2g}"
    culled = native.radii == 0
    assert not native.means2d[culled].any()
    assert not native.conics[culled].any()
    assert not native.depths[culled].any()
    assert torch.equal(native.compensations[culled], torch.full_like(native.depths[culled], not settings.antialiased))


@pytest.mark.parametrize("channels", CHANNEL_COUNTS)
def test_any_number_of_channels(channels):
    scene = random_scene(40, 120, k=2, c=channels)
    screen = projected(scene, native_backend)
    images, alphas = composited(scene, native_backend, screen, torch.float32)
    expected_images, expected_alphas = composited(scene, torch_backend, screen, torch.float64)
    compare_images(images, expected_images, what="images")
    compare_images(alphas, expected_alphas, what="alphas")


def test_counts_without_a_loop_of_their_own_give_the_same_image():
    scene = random_scene(41, 150, k=2, c=11)
    screen = projected(scene, native_backend)
    wide, _ = composited(scene, native_backend, screen, torch.float32)
    narrow, _ = composited(scene, native_backend, screen, torch.float32, channels=scene.channels[:, :3].contiguous())
    assert torch.equal(wide[..., :3], narrow)


@pytest.mark.parametrize("scene", [case for case in HARD_CASES if case.num_experts > 1], ids=lambda scene: scene.name)
def test_an_expert_in_company_equals_the_expert_alone_bit_for_bit(scene):
    together = forward(scene, "native")
    for expert in range(scene.num_experts):
        alone = forward(scene.expert(expert), "native")
        assert torch.equal(together.images[expert], alone.images[0])
        assert torch.equal(together.alphas[expert], alone.alphas[0])


def test_depth_orders_and_ties_go_to_the_lower_index():
    """Two opaque discs on one pixel: the nearer shows; at equal depth the first."""
    means2d, conics = torch.tensor([[8.5, 8.5]] * 2), torch.tensor([[0.5, 0.0, 0.5]] * 2)
    opacities, channels = torch.full((2,), 0.9), torch.tensor([[1.0], [0.0]])
    radii, ids = torch.full((2,), 5, dtype=torch.int32), torch.zeros(2, dtype=torch.int32)
    for depths, expected in (((1.0, 2.0), 0.9), ((2.0, 1.0), 0.09), ((1.5, 1.5), 0.9), ((-2.0, -1.0), 0.9)):
        images, alphas = native_backend.composite(
            means2d, conics, opacities, channels, torch.tensor(depths), radii, ids, 1, 16, 16
        )
        assert float(images[0, 8, 8, 0]) == pytest.approx(expected, abs=1e-6)
        assert float(alphas[0, 8, 8]) == pytest.approx(0.99, abs=1e-6)


def test_a_pixel_ends_before_the_gaussian_that_would_close_it():
    count = 6
    means2d, conics = torch.tensor([[3.5, 3.5]] * count), torch.tensor([[1.0, 0.0, 1.0]] * count)
    opacities, channels = torch.full((count,), 0.95), torch.ones(count, 1)
    images, alphas = native_backend.composite(
        means2d,
        conics,
        opacities,
        channels,
        torch.arange(count).float(),
        torch.full((count,), 4, dtype=torch.int32),
        torch.zeros(count, dtype=torch.int32),
        1,
        8,
        8,
    )
    # 0.05^3 = 1.25e-4 is still above 1e-4, 0.05^4 is not: exactly three are blended.
    assert float(alphas[0, 3, 3]) == pytest.approx(1 - 0.05**3, abs=1e-7)
    assert float(images[0, 3, 3, 0]) == pytest.approx(1 - 0.05**3, abs=1e-6)


def test_faint_tails_end_at_one_in_255():
    images, _ = native_backend.composite(
        torch.tensor([[8.5, 8.5]]),
        torch.tensor([[0.25, 0.0, 0.25]]),
        torch.tensor([0.5]),
        torch.ones(1, 1),
        torch.ones(1),
        torch.tensor([6], dtype=torch.int32),
        torch.zeros(1, dtype=torch.int32),
        1,
        17,
        17,
    )
    reach = math.sqrt(2 * math.log(0.5 * 255) / 0.25)  # about 6.2 pixels
    y, x = torch.meshgrid(torch.arange(17.0), torch.arange(17.0), indexing="ij")
    distance = ((x - 8) ** 2 + (y - 8) ** 2).sqrt()
    assert torch.equal(images[0, :, :, 0] > 0, distance < reach)


def test_no_gaussians():
    scene = random_scene(42, 0, k=3, c=4)
    result = forward(scene, "native", background=None)
    assert result.images.shape == (3, scene.height, scene.width, 4)
    assert not result.images.any()
    assert not result.alphas.any()


def test_strided_inputs():
    scene = random_scene(43, 90, k=2, c=3)
    screen = projected(scene, native_backend)
    expected, _ = composited(scene, native_backend, screen, torch.float32)

    def strided(tensor: torch.Tensor) -> torch.Tensor:
        wide = torch.zeros(*tensor.shape, 2, dtype=tensor.dtype)
        wide[..., 0] = tensor
        return wide[..., 0]

    images, _ = native_backend.composite(
        strided(screen.means2d),
        strided(screen.conics),
        strided(scene.splats.opacities),
        strided(scene.channels),
        strided(screen.depths),
        strided(screen.radii),
        strided(scene.expert_ids),
        2,
        scene.width,
        scene.height,
    )
    assert torch.equal(images, expected)


def test_infinities_and_nans_stay_local():
    """A broken Gaussian (a diverged training) is not drawn; the others are, and nothing crashes."""
    scene = random_scene(44, 60, c=3)
    expected = forward(scene, "native", depth=False)
    broken = random_scene(45, 12, c=3).splats
    for position, value in enumerate((float("nan"), float("inf"), -float("inf"))):
        broken.means[position, position] = value
        broken.quats[3 + position, 0] = value
        broken.scales[6 + position, position] = value
        broken.opacities[9 + position] = value if value != float("inf") else float("nan")
    parts = {
        name: torch.cat([getattr(scene.splats, name), getattr(broken, name)])
        for name in ("means", "quats", "scales", "opacities")
    }
    splats, channels = type(scene.splats)(**parts), torch.cat([scene.channels, torch.ones(12, 3)])
    result = forward(scene, "native", splats=splats, channels=channels, expert_ids=None, depth=False)
    assert torch.equal(result.images, expected.images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means2d": torch.float64}, "means2d as torch.float32 .* use the backend 'torch'"),
        ({"channels": torch.float16}, "channels as torch.float32"),
        ({"radii": torch.int64}, "radii as torch.int32"),
    ],
)
def test_other_precisions_are_refused(change, message):
    scene = random_scene(46, 10)
    screen = projected(scene, native_backend)
    arguments = {
        "means2d": screen.means2d,
        "conics": screen.conics,
        "opacities": scene.splats.opacities,
        "channels": scene.channels,
        "depths": screen.depths,
        "radii": screen.radii,
        "expert_ids": scene.expert_ids,
    }
    for name, dtype in change.items():
        arguments[name] = arguments[name].to(dtype)
    with pytest.raises(ValueError, match=message):
        native_backend.composite(**arguments, num_experts=1, width=scene.width, height=scene.height)


def test_double_precision_splats_are_refused():
    with pytest.raises(ValueError, match="use the backend 'torch'"):
        forward(random_scene(47, 10).to(torch.float64), "native")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expert_ids": torch.tensor([0, 5] * 5, dtype=torch.int32)}, "expert ids in"),
        ({"expert_ids": torch.tensor([0, -1] * 5, dtype=torch.int32)}, "expert ids in"),
        ({"conics": torch.ones(9, 3)}, r"conics of shape \[10, 3\]"),
        ({"channels": torch.ones(10, 0)}, "C >= 1"),
        ({"width": 0}, "at least one pixel"),
    ],
)
def test_arguments_that_would_read_past_the_end(changes, message):
    scene = random_scene(48, 10, k=2, pixels=(5.0, 9.0), opacity_range=(0.5, 0.9))
    screen = projected(scene, native_backend)
    arguments = {
        "means2d": screen.means2d,
        "conics": screen.conics,
        "opacities": scene.splats.opacities,
        "channels": scene.channels,
        "depths": screen.depths,
        "radii": torch.full_like(screen.radii, 20),
        "expert_ids": scene.expert_ids,
        "num_experts": 2,
        "width": scene.width,
        "height": scene.height,
    }
    arguments["conics"] = torch.where(arguments["conics"] == 0, 0.1, arguments["conics"])
    with pytest.raises(ValueError, match=message):
        native_backend.composite(**(arguments | changes))


def test_a_camera_that_wants_gradients_is_refused():
    scene = random_scene(49, 10)
    with pytest.raises(ValueError, match="use the backend 'torch' to optimise cameras"):
        rasterize_scene(scene, "native", viewmat=scene.viewmat.clone().requires_grad_())
