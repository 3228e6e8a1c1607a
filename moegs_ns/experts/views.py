"""One view of a scene as models meet it: the camera's time, the ground-truth image, the error between images."""

from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor


def camera_time(camera: Cameras, default: float) -> float:
    """Time in [0,1] of a camera of size 1: clamped (splined key frames overshoot), ``default`` where it has none."""
    if camera.times is None:
        return default
    return min(1.0, max(0.0, float(camera.times.reshape(-1)[0])))


def camera_index(camera: Cameras) -> int:
    """Position of a camera of size 1 in its split's list of cameras (``camera_names`` of the metadata)."""
    return int(camera.metadata["camera_index"].reshape(-1)[0])  # type: ignore[index]


def ground_truth_image(batch: dict[str, Any], device: torch.device | str) -> Tensor:
    """``[H,W,3]`` float image in [0,1] of a batch, on ``device``."""
    image = batch["image"].to(device)
    return image[..., :3].float().div_(255) if image.dtype == torch.uint8 else image[..., :3]


def image_psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Scalar PSNR in dB of two images in [0,1]; 120 where they are equal."""
    return -10 * torch.log10((image - truth).square().mean().clamp_min(1e-12))
