"""Photometric losses used in training.

Images are float ``[H,W,C]`` in [0,1]. The structural similarity here pads with zeros ("same" size), as 3D Gaussian
Splatting trainings do; it is a *loss*. Reported SSIM values come from :mod:`moegs_ns.reporting.metrics`, whose border
rule differs.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from moegs_ns.splats.native_photometric import photometric_native
from moegs_ns.splats.native_ssim import ssim_map_native
from moegs_ns.splats.rasterize import takes_native

_WINDOW_SIZE = 11
_WINDOW_SIGMA = 1.5
# Stabilisers of Wang et al. 2004 for a data range of 1.
_C1 = 0.01**2
_C2 = 0.03**2


@functools.lru_cache(maxsize=8)
def _gaussian_window(dtype: torch.dtype, device: torch.device) -> Tensor:
    offsets = torch.arange(_WINDOW_SIZE, dtype=dtype, device=device) - _WINDOW_SIZE // 2
    window = torch.exp(-(offsets**2) / (2 * _WINDOW_SIGMA**2))
    return window / window.sum()


def _blur(stack: Tensor) -> Tensor:
    """Separable Gaussian blur of ``[1,C,H,W]``, zero padded. One depthwise call per axis for all channels at once:
    channels folded into the batch would leave the fast depthwise path and cost about six times as much on CPU."""
    channels = stack.shape[1]
    window = _gaussian_window(stack.dtype, stack.device)
    half = _WINDOW_SIZE // 2
    rows = window.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    columns = window.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    stack = F.conv2d(stack, rows, padding=(0, half), groups=channels)
    return F.conv2d(stack, columns, padding=(half, 0), groups=channels)


def ssim_map(prediction: Tensor, target: Tensor) -> Tensor:
    """Structural similarity per pixel and channel (Wang et al. 2004; Gaussian window 11, sigma 1.5, data range 1).

    Args:
        prediction: ``[H,W,C]``, differentiable.
        target: ``[H,W,C]``, same shape.

    Returns:
        ``[H,W,C]`` in [-1, 1]; 1 where the images are equal all over the window.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != target.shape or prediction.dim() != 3:
        raise ValueError(
            f"expected two images of equal shape [H,W,C], found {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    if _takes_native(prediction, target):
        return ssim_map_native(prediction, target)
    return ssim_map_torch(prediction, target)


def ssim_map_torch(prediction: Tensor, target: Tensor) -> Tensor:
    """The twin of the compiled kernel; see `ssim_map`. Takes every floating dtype and device."""
    x = prediction.permute(2, 0, 1)[None]
    y = target.permute(2, 0, 1)[None]
    mean_x, mean_y, square_x, square_y, product = _blur(torch.cat([x, y, x * x, y * y, x * y], dim=1)).chunk(5, dim=1)
    variance_sum = square_x - mean_x * mean_x + square_y - mean_y * mean_y
    covariance = product - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    denominator = (mean_x * mean_x + mean_y * mean_y + _C1) * (variance_sum + _C2)
    return (numerator / denominator)[0].permute(1, 2, 0)


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of `ssim_map`: a scalar in [-1, 1]; 1 for equal images.

    Raises:
        ValueError: the shapes differ.
    """
    return ssim_map(prediction, target).mean()


def photometric_loss(prediction: Tensor, target: Tensor, ssim_weight: float) -> Tensor:
    """``(1 - w) * L1 + w * (1 - SSIM)``, the training loss of 3D Gaussian Splatting and its dynamic descendants.

    Args:
        prediction, target: ``[H,W,C]`` in [0,1].
        ssim_weight: w in [0,1]; 0 skips the SSIM altogether.
    """
    if ssim_weight == 0:
        return (prediction - target).abs().mean()
    if _takes_native(prediction, target):
        return photometric_native(prediction, target, ssim_weight, maps=False)[0]
    return photometric_loss_torch(prediction, target, ssim_weight)[0]


def photometric_loss_and_errors(prediction: Tensor, target: Tensor, ssim_weight: float) -> tuple[Tensor, Tensor]:
    """`photometric_loss`, and what it is made of in every pixel.

    Returns:
        The loss; ``[H,W,3]`` ones, absolute error and structural similarity, both means over the channels and without
        gradient.
    """
    if _takes_native(prediction, target):
        return photometric_native(prediction, target, ssim_weight, maps=True)
    return photometric_loss_torch(prediction, target, ssim_weight)


def photometric_loss_torch(prediction: Tensor, target: Tensor, ssim_weight: float) -> tuple[Tensor, Tensor]:
    """The twin of the compiled kernel; see `photometric_loss_and_errors`. Takes every floating dtype and device."""
    absolute, similarity = (prediction - target).abs(), ssim_map(prediction, target)
    loss = (1 - ssim_weight) * absolute.mean() + ssim_weight * (1 - similarity.mean())
    error, alike = absolute.detach().mean(dim=-1), similarity.detach().mean(dim=-1)
    return loss, torch.stack([torch.ones_like(error), error, alike], dim=-1)


def _takes_native(prediction: Tensor, target: Tensor) -> bool:
    return (
        prediction.dim() == 3
        and prediction.shape == target.shape
        and takes_native(prediction, target)
        and not (target.requires_grad and torch.is_grad_enabled())
    )
