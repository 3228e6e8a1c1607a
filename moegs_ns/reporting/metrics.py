"""The metrics protocol: one declared implementation per metric, stamped into every result.

Published numbers differ by more than a decibel's worth of ranking for reasons nobody writes down: SSIM with data range
1 or 2, LPIPS with AlexNet or VGG and inputs in [0,1] or [-1,1]. Here each is fixed and described beside the values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from moegs_ns.reporting.lpips import LazyLpips, Network

MEAN_SQUARED_ERROR_FLOOR = 1e-10
"""PSNR of identical images is reported as 100 dB, because JSON knows no infinity."""


@dataclass
class MetricsProtocol:
    """How a rendered image is compared with the camera's image.

    PSNR: data range 1, mean squared error over the whole image and all channels. SSIM: torchmetrics, Gaussian window
    11x11 with sigma 1.5, data range 1, K1 0.01, K2 0.03, mean over the whole image (borders mirrored). LPIPS: see
    `LazyLpips`. The prediction is clamped to [0,1] and compared as float, not rounded to 8 bits.
    """

    lpips: Sequence[Network] = ("alex", "vgg")
    """LPIPS backbones to evaluate; empty for none."""
    _networks: dict[str, LazyLpips] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._networks = {network: LazyLpips(network) for network in self.lpips}

    def measure(self, prediction: Tensor, target: Tensor, lpips: bool = True) -> dict[str, float]:
        """Metrics of one image.

        Args:
            prediction: ``[H,W,3]`` float rendering; values outside [0,1] are clamped.
            target: ``[H,W,3]`` the camera's image, uint8 in 0..255 or float in [0,1]; may lie on another device.
            lpips: whether to evaluate the (slow) LPIPS networks.

        Returns:
            ``psnr`` in dB, ``ssim`` in [-1,1], ``lpips_<network>``; finite floats. A network that is not available
            has no entry, and `describe` says why.

        Raises:
            ValueError: shapes differ or are not ``[H,W,3]``, or the prediction has NaN or infinite values.
        """
        target = as_float_image(target).to(prediction.device)
        if prediction.shape != target.shape or prediction.dim() != 3 or prediction.shape[-1] != 3:
            raise ValueError(
                f"expected a rendering and a camera image of one shape [H,W,3], found {tuple(prediction.shape)} "
                f"and {tuple(target.shape)}"
            )
        if not bool(torch.isfinite(prediction).all()):
            raise ValueError("expected finite pixel values in the rendering, found NaN or infinity; the model diverged")
        prediction = prediction.detach().float().clamp(0.0, 1.0)
        values = {"psnr": psnr(prediction, target), "ssim": ssim(prediction, target)}
        if lpips:
            for network, metric in self._networks.items():
                value = metric(prediction, target)
                if value is not None:
                    values[f"lpips_{network}"] = value
        return values

    def describe(self) -> dict[str, Any]:
        """Implementations and ranges as plain data; call it after measuring, when LPIPS knows whether it works."""
        import torchmetrics

        described: dict[str, Any] = {
            "prediction": "clamped to [0,1], float32, whole image",
            "psnr": "10 log10(1 / MSE), data range 1, MSE over all pixels and channels, at most 100 dB",
            "ssim": f"torchmetrics {torchmetrics.__version__} structural_similarity_index_measure, Gaussian window "
            "11x11 sigma 1.5, data range 1, mirrored borders included",
        }
        for network, metric in self._networks.items():
            described[f"lpips_{network}"] = metric.describe()
        return described


def as_float_image(image: Tensor) -> Tensor:
    """uint8 0..255 becomes float32 in [0,1]; a float image is taken to be in [0,1] already."""
    return image.float() / 255.0 if image.dtype == torch.uint8 else image.detach().float()


def psnr(prediction: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two images of equal shape with data range 1, at most 100 dB."""
    return decibel(float((prediction.double() - target.double()).square().mean()))


def decibel(mean_squared_error: float) -> float:
    """PSNR of data range 1, at most 100 dB."""
    return -10.0 * math.log10(max(mean_squared_error, MEAN_SQUARED_ERROR_FLOOR))


def ssim(prediction: Tensor, target: Tensor) -> float:
    """Structural similarity of two images ``[H,W,3]`` in [0,1], larger than 5 pixels a side (torchmetrics)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(prediction.shape[:2]) <= 5:
        raise ValueError(f"expected images larger than 5 pixels a side for SSIM, found {tuple(prediction.shape)}")
    value = structural_similarity_index_measure(
        prediction.permute(2, 0, 1)[None],
        target.permute(2, 0, 1)[None],
        gaussian_kernel=True,
        sigma=1.5,
        kernel_size=11,
        data_range=1.0,
    )
    return float(value)
