"""Comparisons of renderings and gradients that tolerate what rounding may do, and nothing more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from moegs_ns.splats.rasterize import Rasterized


@dataclass(frozen=True, eq=False)
class Rendered:
    """A rendering and the gradients of one fixed random function of it."""

    result: Rasterized
    gradients: dict[str, Tensor]  # means, quats, scales, opacities, channels, means2d, absgrad (when asked)


def compare_images(
    actual: Tensor,
    expected: Tensor,
    *,
    tolerance: float = 1e-5,
    flip_share: float = 1e-3,
    flip_size: float = 1.0 / 255.0,
    what: str = "image",
) -> None:
    """Asserts that two renderings agree, up to rare threshold flips.

    A Gaussian's alpha may fall on the other side of 1/255, or a pixel's transmittance on the other side of 1e-4, by
    rounding alone. So: at most ``flip_share`` of the pixels (and never fewer than one in images of more than 100
    pixels) may differ by more than ``tolerance``, none by ``flip_size`` or more, and the PSNR exceeds 70 dB. All
    relative to the largest expected magnitude where that is above 1.

    Args:
        actual: [K, H, W, C] or [K, H, W].
        expected: the same shape.
        tolerance: largest error of an ordinary pixel.
        flip_share: share of pixels that may be off.
        flip_size: bound on the error of those.
        what: for the message.
    """
    assert actual.shape == expected.shape, f"{what}: shapes {tuple(actual.shape)} and {tuple(expected.shape)}"
    if expected.numel() == 0:
        return
    actual, expected = actual.detach().double().cpu(), expected.detach().double().cpu()
    assert torch.isfinite(actual).all(), f"{what}: not finite"
    scale = max(1.0, float(expected.abs().max()))
    error = (actual - expected).abs() / scale
    per_pixel = error.amax(dim=-1) if error.ndim == 4 else error
    count = per_pixel.numel()
    allowed = max(int(flip_share * count), 1 if count > 100 else 0)
    flipped = int((per_pixel > tolerance).sum())
    assert flipped <= allowed, (
        f"{what}: {flipped} of {count} pixels are off by more than {tolerance} (allowed {allowed}); "
        f"largest error {float(per_pixel.max()):.3g}"
    )
    assert float(per_pixel.max()) < flip_size, f"{what}: largest error {float(per_pixel.max()):.3g} >= {flip_size:.3g}"
    mean_square = float(error.square().mean())
    assert mean_square < 1e-7, f"{what}: PSNR {-10 * math.log10(mean_square):.1f} dB, expected above 70 dB"


def compare_gradients(
    actual: Tensor,
    expected: Tensor,
    *,
    tolerance: float = 1e-5,
    flip_share: float = 0.02,
    flip_size: float = 1e-2,
    what: str = "gradient",
) -> None:
    """Asserts that two gradients [N, ...] agree in relative L2 norm, up to the few rows a threshold flip touches.

    The worst ``flip_share`` of the rows are left out when the rest is held to ``tolerance``; with them the relative
    error stays below ``flip_size``.
    """
    assert actual.shape == expected.shape, f"{what}: shapes {tuple(actual.shape)} and {tuple(expected.shape)}"
    if expected.numel() == 0:
        return
    actual, expected = actual.detach().double().cpu(), expected.detach().double().cpu()
    assert torch.isfinite(actual).all(), f"{what}: not finite"
    norm = float(expected.norm())
    if norm == 0.0:
        assert not actual.any(), f"{what}: expected zeros, found norm {float(actual.norm()):.3g}"
        return
    row_errors = (actual - expected).flatten(1).norm(dim=1) if actual.ndim > 1 else (actual - expected).abs()
    overall = float(row_errors.norm()) / norm
    assert overall < flip_size, f"{what}: relative error {overall:.3g}, expected below {flip_size}"
    ordinary = row_errors.sort().values[: len(row_errors) - int(flip_share * len(row_errors))]
    remaining = float(ordinary.norm()) / norm
    assert remaining < tolerance, (
        f"{what}: relative error {remaining:.3g} without the worst rows, expected below {tolerance}"
    )


def compare_radii(actual: Tensor, expected: Tensor) -> None:
    """Asserts equal radii; rounding may move a ceil() by one step, or across an edge of the image, in 2 % of rows."""
    different = int((actual.cpu() != expected.cpu()).sum())
    allowed = int(0.02 * len(expected))
    assert different <= allowed, f"radii: {different} of {len(expected)} differ (allowed {allowed})"


def compare_renderings(
    actual: Rendered,
    expected: Rendered,
    *,
    tolerance: float = 1e-5,
    gradient_tolerance: float = 1e-5,
    rounding: float = 1.0,
) -> None:
    """``compare_images`` on all outputs and ``compare_gradients`` on all gradients of two ``render`` results.

    ``rounding`` multiplies both tolerances; pass ``scene.rounding`` when the precisions differ.
    """
    tolerance, gradient_tolerance = tolerance * rounding, gradient_tolerance * rounding
    compare_images(actual.result.images, expected.result.images, tolerance=tolerance, what="images")
    compare_images(actual.result.alphas, expected.result.alphas, tolerance=tolerance, what="alphas")
    if expected.result.depths is not None:
        assert actual.result.depths is not None
        # Where alpha is a few 1/255 a flip moves the quotient much more than the colour.
        seen = expected.result.alphas > 0.05
        masked = [torch.where(seen.to(d.device), d, 0.0) for d in (actual.result.depths, expected.result.depths)]
        compare_images(*masked, tolerance=10 * tolerance, flip_size=0.1, what="depths")
    compare_radii(actual.result.radii, expected.result.radii)
    assert actual.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        compare_gradients(actual.gradients[name], gradient, tolerance=gradient_tolerance, what=f"gradient of {name}")
