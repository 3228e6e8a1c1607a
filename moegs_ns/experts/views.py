"""One view of a scene as models meet it: the camera's time, the ground-truth image, the error between images."""

from typing import Any, NamedTuple

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.splats.camera import viewmat_from_camera_to_world

_TRUTH = "ground_truth_of_image"  # key of a batch: its image, and what `ground_truth_image` made of it


class CameraView(NamedTuple):
    """A camera as the rasterizer knows it.

    Attributes:
        viewmat: ``[4,4]`` OpenCV world-to-camera.
        intrinsics: ``[3,3]`` in pixels.
        width, height: pixels.
    """

    viewmat: Tensor
    intrinsics: Tensor
    width: int
    height: int

    @staticmethod
    def of(camera: Cameras, device: torch.device | str) -> "CameraView":
        """Of a camera of size 1."""
        return CameraView(
            viewmat_from_camera_to_world(camera.camera_to_worlds[0].to(device)),
            camera.get_intrinsics_matrices()[0].to(device),
            int(camera.width.item()),
            int(camera.height.item()),
        )


def camera_time(camera: Cameras, default: float) -> float:
    """Time in [0,1] of a camera of size 1: clamped (splined key frames overshoot), ``default`` where it has none."""
    if camera.times is None:
        return default
    return min(1.0, max(0.0, float(camera.times.reshape(-1)[0])))


def is_training_camera(camera: Cameras) -> bool:
    """Whether a camera of size 1 is one of its split's, and no other in between."""
    return "camera_index" in (camera.metadata or {})


def camera_index(camera: Cameras) -> int:
    """Position of a camera of size 1 in its split's list of cameras (``camera_names`` of the metadata)."""
    return int(camera.metadata["camera_index"].reshape(-1)[0])  # type: ignore[index]


def ground_truth_image(batch: dict[str, Any], device: torch.device | str) -> Tensor:
    """``[H,W,3]`` float image in [0,1] of a batch, on ``device``. The batch keeps it: metrics and loss both ask."""
    image, kept = batch["image"], batch.get(_TRUTH)
    if kept is not None and kept[0] is image and kept[1].device == torch.device(device):
        return kept[1]
    moved = image.to(device)[..., :3]
    truth = moved.float().div_(255) if moved.dtype == torch.uint8 else moved
    batch[_TRUTH] = image, truth
    return truth


def image_psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Scalar PSNR in dB of two images in [0,1]; 120 where they are equal."""
    difference = (image - truth).reshape(-1)
    return -10 * torch.log10((difference.dot(difference) / len(difference)).clamp_min(1e-12))
