"""Reference pictures every mixture is measured against: what its experts give without a router.

*Mean of experts* blends all experts equally. The *pixel oracle* takes, per pixel, the expert with the smallest error;
part of its lead is per-pixel noise. The *smoothed oracle* chooses by the error averaged over a window and keeps what a
router could plausibly learn. Neither bounds a mixture, which blends: two experts that err to opposite sides may give a
picture better than both.
"""

import torch.nn.functional as F
from torch import Tensor

SMOOTHING_WINDOW = 9


def mean_of_experts(images: Tensor) -> Tensor:
    """``[K,H,W,3]`` -> ``[H,W,3]``, all experts with equal weight."""
    return images.mean(dim=0)


def oracle(images: Tensor, truth: Tensor, window: int = 1) -> Tensor:
    """Per pixel the expert whose squared error, averaged over ``window x window`` pixels, is smallest.

    Args:
        images: ``[K,H,W,3]`` the experts' images.
        truth: ``[H,W,3]``.
        window: odd; 1 is the pixel oracle. At the border the window holds only pixels inside the image.

    Returns:
        ``[H,W,3]``.
    """
    errors = smoothed(squared_errors(images, truth), window)
    best = errors.argmin(dim=0)[None, :, :, None].expand(1, -1, -1, images.shape[-1])
    return images.gather(0, best)[0]


def squared_errors(images: Tensor, truth: Tensor) -> Tensor:
    """``[K,H,W,3]`` and ``[H,W,3]`` -> ``[K,H,W]``, mean over the channels."""
    return (images - truth).square().mean(dim=-1)


def smoothed(errors: Tensor, window: int) -> Tensor:
    """Errors ``[K,H,W]`` averaged over ``window x window`` pixels (odd), at the border over those inside the image."""
    if window < 1 or window % 2 == 0:
        raise ValueError(f"expected an odd window, found {window}")
    if window == 1:
        return errors
    return F.avg_pool2d(errors[:, None], window, stride=1, padding=window // 2, count_include_pad=False)[:, 0]


def reference_pictures(images: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """All reference pictures by row name: ``mean_of_experts``, ``smoothed_oracle``, ``pixel_oracle``."""
    return {
        "mean_of_experts": mean_of_experts(images),
        "smoothed_oracle": oracle(images, truth, SMOOTHING_WINDOW),
        "pixel_oracle": oracle(images, truth),
    }
