"""The compositing twin against a per-pixel reference in plain Python floats, and its rules one by one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from moegs_ns.splats.torch_backend import composite


def blend_pixel(
    x: int, y: int, gaussians: list[tuple], upstream: list[float], upstream_alpha: float
) -> tuple[list[float], float, dict[int, tuple]]:
    """One pixel, front to back and back again, in float64 scalars.

    Args:
        x: column.
        y: row.
        gaussians: (index, (u, v), (a, b, c), opacity, channels) that may touch the pixel, front to back.
        upstream: gradient of the loss with respect to the pixel's channels.
        upstream_alpha: and to its alpha.

    Returns:
        Channels, alpha, and per blended Gaussian its gradients: mean, conic, opacity, channels.
    """
    transmittance, hits = 1.0, []
    for index, (u, v), (a, b, c), opacity, colour in gaussians:
        dx, dy = u - (x + 0.5), v - (y + 0.5)
        sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
        if sigma < 0:
            continue
        falloff = math.exp(-sigma)
        alpha = min(0.999, opacity * falloff)
        if alpha < 1 / 255:
            continue
        if transmittance * (1 - alpha) <= 1e-4:
            break
        hits.append((index, dx, dy, (a, b, c), opacity, falloff, alpha, transmittance, colour))
        transmittance *= 1 - alpha

    channels = [sum(hit[7] * hit[6] * hit[8][k] for hit in hits) for k in range(len(upstream))]
    gradients = {}
    behind = 0.0  # upstream . (what the Gaussians behind the current one contribute)
    for index, dx, dy, (a, b, c), opacity, falloff, alpha, before, colour in reversed(hits):
        own = sum(g * value for g, value in zip(upstream, colour, strict=True))
        d_alpha = before * own + (upstream_alpha * transmittance - behind) / (1 - alpha)
        behind += before * alpha * own
        saturated = opacity * falloff > 0.999
        d_sigma = 0.0 if saturated else -alpha * d_alpha
        gradients[index] = (
            (d_sigma * (a * dx + b * dy), d_sigma * (b * dx + c * dy)),
            (0.5 * d_sigma * dx * dx, d_sigma * dx * dy, 0.5 * d_sigma * dy * dy),
            0.0 if saturated else falloff * d_alpha,
            [before * alpha * g for g in upstream],
        )
    return channels, 1 - transmittance, gradients


def composite_by_pixels(inputs: dict[str, Tensor], upstream: Tensor, upstream_alpha: Tensor) -> dict[str, Tensor]:
    """``composite`` and its gradients by ``blend_pixel``; tiles by their definition, pixel by pixel."""
    rows = {name: tensor.tolist() for name, tensor in inputs.items()}
    count = len(rows["radii"])
    order = sorted((i for i in range(count) if rows["radii"][i] > 0), key=lambda i: (rows["depths"][i], i))
    images, alphas = torch.zeros_like(upstream), torch.zeros_like(upstream_alpha)
    gradients = {name: torch.zeros_like(inputs[name]) for name in ("means2d", "conics", "opacities", "channels")} | {
        "absgrad": torch.zeros_like(inputs["means2d"])
    }
    experts, height, width = upstream_alpha.shape
    for expert in range(experts):
        for y in range(height):
            for x in range(width):
                left, top = x // 16 * 16, y // 16 * 16

                def reaches_tile(i: int, left: int = left, top: int = top) -> bool:
                    (u, v), radius = rows["means2d"][i], rows["radii"][i]
                    return u - radius < left + 16 and u + radius > left and v - radius < top + 16 and v + radius > top

                seen = [
                    (i, rows["means2d"][i], rows["conics"][i], rows["opacities"][i], rows["channels"][i])
                    for i in order
                    if rows["expert_ids"][i] == expert and reaches_tile(i)
                ]
                colour, alpha, per_gaussian = blend_pixel(
                    x, y, seen, upstream[expert, y, x].tolist(), float(upstream_alpha[expert, y, x])
                )
                images[expert, y, x] = torch.tensor(colour, dtype=torch.float64)
                alphas[expert, y, x] = alpha
                for i, (mean, conic, opacity, channel) in per_gaussian.items():
                    gradients["means2d"][i] += torch.tensor(mean, dtype=torch.float64)
                    gradients["absgrad"][i] += torch.tensor(mean, dtype=torch.float64).abs()
                    gradients["conics"][i] += torch.tensor(conic, dtype=torch.float64)
                    gradients["opacities"][i] += opacity
                    gradients["channels"][i] += torch.tensor(channel, dtype=torch.float64)
    return {"images": images, "alphas": alphas} | gradients


def screen_scene(seed: int, count: int, experts: int, channels: int, *, opaque: bool = False) -> dict[str, Tensor]:
    """Gaussians already on the screen, spread over 21 x 18 pixels (four ragged tiles)."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    sigma = torch.exp(uniform(math.log(0.6), math.log(6.0), count, 2))
    correlation = uniform(-0.9, 0.9, count)
    inverse = 1 / (1 - correlation**2)
    return {
        "means2d": torch.stack([uniform(-4, 25, count), uniform(-4, 22, count)], dim=-1),
        "conics": torch.stack(
            [inverse / sigma[:, 0] ** 2, -correlation * inverse / sigma.prod(dim=1), inverse / sigma[:, 1] ** 2], dim=-1
        ),
        "opacities": uniform(0.998, 1.0, count) if opaque else uniform(0.0, 1.0, count),
        "channels": uniform(-1, 1, count, channels),
        "depths": uniform(1, 2, count),
        "radii": (3 * sigma.amax(dim=1)).ceil().int(),
        "expert_ids": torch.randint(experts, (count,), generator=generator, dtype=torch.int32),
    }


@pytest.mark.parametrize(
    ("seed", "count", "experts", "channels", "opaque"),
    [(1, 25, 1, 3, False), (2, 30, 3, 1, False), (3, 40, 2, 5, False), (4, 30, 1, 2, True)],
)
def test_values_and_gradients_equal_the_per_pixel_reference(seed, count, experts, channels, opaque):
    inputs = screen_scene(seed, count, experts, channels, opaque=opaque)
    # Ties, culled rows and a broken conic (sigma < 0 in places) must not disturb the rest.
    inputs["depths"][5:9] = inputs["depths"][4]
    inputs["radii"][10] = 0
    inputs["conics"][11] *= torch.tensor([1.0, 8.0, 1.0])
    generator = torch.Generator().manual_seed(seed)
    upstream = torch.randn(experts, 18, 21, channels, generator=generator, dtype=torch.float64)
    upstream_alpha = torch.randn(experts, 18, 21, generator=generator, dtype=torch.float64)
    expected = composite_by_pixels(inputs, upstream, upstream_alpha)

    leaves = {name: inputs[name].clone().requires_grad_() for name in ("means2d", "conics", "opacities", "channels")}
    images, alphas = composite(**(inputs | leaves), num_experts=experts, width=21, height=18, absgrad=True)
    ((images * upstream).sum() + (alphas * upstream_alpha).sum()).backward()

    torch.testing.assert_close(images, expected["images"])
    torch.testing.assert_close(alphas, expected["alphas"])
    for name, leaf in leaves.items():
        torch.testing.assert_close(leaf.grad, expected[name], rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")
    torch.testing.assert_close(leaves["means2d"].absgrad, expected["absgrad"], rtol=1e-9, atol=1e-11)
    assert expected["alphas"].max() > 0.5, "the scene must not be empty"


def test_gradients_against_finite_differences():
    """Six soft Gaussians over two tiles, away from every threshold: 1/255, 0.999 and the 1e-4 stop."""
    inputs = screen_scene(9, 6, 2, 2)
    inputs["means2d"] = inputs["means2d"] * 0.2 + torch.tensor([12.0, 1.0], dtype=torch.float64)
    inputs["conics"] = inputs["conics"] * 0.02
    inputs["opacities"] = 0.3 + 0.3 * inputs["opacities"]
    inputs["radii"].fill_(40)
    names = ("means2d", "conics", "opacities", "channels")

    def function(*leaves):
        return composite(**(inputs | dict(zip(names, leaves, strict=True))), num_experts=2, width=18, height=3)

    assert torch.autograd.gradcheck(function, [inputs[name].clone().requires_grad_() for name in names])


@pytest.mark.parametrize("wanted", [["means2d"], ["conics"], ["opacities"], ["channels"], ["conics", "channels"]])
def test_asking_for_some_gradients_gives_the_same_ones(wanted):
    """A frozen geometry, or frozen channels, take another path through backward."""
    inputs = screen_scene(5, 20, 1, 3)
    names = ("means2d", "conics", "opacities", "channels")

    def gradients(chosen):
        leaves = {name: inputs[name].clone().requires_grad_(name in chosen) for name in names}
        images, alphas = composite(**(inputs | leaves), num_experts=1, width=21, height=18, absgrad=True)
        (images.square().sum() + alphas.sum()).backward()
        return leaves

    some, everything = gradients(wanted), gradients(names)
    for name in names:
        if name in wanted:
            assert torch.equal(some[name].grad, everything[name].grad)
        else:
            assert some[name].grad is None
    assert hasattr(some["means2d"], "absgrad") == ("means2d" in wanted)


def blend(
    *gaussians: tuple[float, float], x: float = 0.5, variance: float = 4.0, depths: list[float] | None = None, **changes
) -> tuple[Tensor, Tensor]:
    """Blends (opacity, colour) pairs centred at (x, 0.5) into a row of 40 pixels; returns colours and alphas [40]."""
    count = len(gaussians)
    inputs = {
        "means2d": torch.tensor([[x, 0.5]] * count, dtype=torch.float64),
        "conics": torch.tensor([[1 / variance, 0.0, 1 / variance]] * count, dtype=torch.float64),
        "opacities": torch.tensor([opacity for opacity, _ in gaussians], dtype=torch.float64),
        "channels": torch.tensor([[colour] for _, colour in gaussians], dtype=torch.float64),
        "depths": torch.tensor(depths or [1.0 + i for i in range(count)], dtype=torch.float64),
        "radii": torch.full((count,), math.ceil(3 * math.sqrt(variance)), dtype=torch.int32),
        "expert_ids": torch.zeros(count, dtype=torch.int32),
    }
    images, alphas = composite(**(inputs | changes), num_experts=1, width=40, height=1)
    return images[0, 0, :, 0], alphas[0, 0]


def test_pixel_centres_are_at_one_half():
    _, alphas = blend((0.8, 1.0), x=3.5)
    assert float(alphas[3]) == pytest.approx(0.8)
    assert float(alphas[4]) == pytest.approx(0.8 * math.exp(-1 / 8))


def test_front_to_back():
    colours, alphas = blend((0.5, 10.0), (0.25, 4.0))
    assert float(colours[0]) == pytest.approx(0.5 * 10 + 0.5 * 0.25 * 4)
    assert float(alphas[0]) == pytest.approx(1 - 0.5 * 0.75)
    behind_first, _ = blend((0.5, 10.0), (0.25, 4.0), depths=[2.0, 1.0])
    assert float(behind_first[0]) == pytest.approx(0.25 * 4 + 0.75 * 0.5 * 10)


def test_equal_depths_go_by_index():
    colours, _ = blend((0.5, 10.0), (0.25, 4.0), depths=[1.0, 1.0])
    assert float(colours[0]) == pytest.approx(0.5 * 10 + 0.5 * 0.25 * 4)


def test_alpha_saturates_at_0999():
    _, alphas = blend((1.0, 1.0))
    assert float(alphas[0]) == pytest.approx(0.999, abs=1e-12)


def test_alphas_below_1_255_are_skipped():
    assert float(blend((0.99 / 255, 1.0))[1][0]) == 0.0
    assert float(blend((1.01 / 255, 1.0))[1][0]) == pytest.approx(1.01 / 255)


def test_the_gaussian_that_exhausts_a_pixel_is_not_blended_nor_is_any_behind_it():
    # 0.001 is left behind the first; 0.95 would leave 5e-5 and ends the pixel, though the last would fit alone.
    colours, alphas = blend((0.999, 1.0), (0.95, 100.0), (0.5, 1000.0))
    assert float(colours[0]) == pytest.approx(0.999)
    assert float(alphas[0]) == pytest.approx(0.999)
    # 0.85 leaves 1.5e-4, which is enough to go on.
    assert float(blend((0.999, 1.0), (0.85, 100.0))[0][0]) == pytest.approx(0.999 + 0.001 * 0.85 * 100)


def test_a_skipped_gaussian_does_not_end_a_pixel():
    colours, _ = blend((0.999, 1.0), (0.5 / 255, 7.0), (0.5, 100.0))
    assert float(colours[0]) == pytest.approx(0.999 + 0.001 * 0.5 * 100)


def test_only_tiles_the_square_touches_see_a_gaussian():
    # Variance 16 at x = 4: the square reaches x = 16 exactly, and touching is not enough.
    _, alphas = blend((0.9, 1.0), x=4.0, variance=16.0)
    assert float(alphas[15]) > 1 / 255
    assert 0.9 * math.exp(-(12.5**2) / 32) > 1 / 255, "pixel 16 would see it but for the tile rule"
    assert float(alphas[16]) == 0.0
    _, alphas = blend((0.9, 1.0), x=4.01, variance=16.0)
    assert float(alphas[16]) > 1 / 255


def test_negative_sigma_is_skipped():
    broken = torch.tensor([[0.1, 1.0, 0.1]], dtype=torch.float64)
    centre = torch.tensor([[2.5, 2.5]], dtype=torch.float64)
    _, alphas = blend((0.9, 1.0), conics=broken, means2d=centre)
    # At pixel 0 dx = dy = 2: sigma > 0 and far away; at pixel 4 dx = -2, dy = 2: sigma < 0.
    assert float(alphas[4]) == 0.0
    assert float(alphas[2]) == pytest.approx(0.9 * math.exp(-0.2))
