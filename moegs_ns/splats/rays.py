"""World-space viewing rays of a pinhole camera, an input of small networks over images."""

import torch
from torch import Tensor

from moegs_ns.splats.camera import camera_position


def ray_image(viewmat: Tensor, intrinsics: Tensor, width: int, height: int) -> Tensor:
    """Camera centre and unit direction of every pixel's ray, through the pixel's centre.

    Args:
        viewmat: ``[4,4]`` OpenCV world-to-camera.
        intrinsics: ``[3,3]`` in pixels, any principal point, no skew.
        width, height: image size.

    Returns:
        ``[6,H,W]``: centre xyz (world units, constant over the image), then direction xyz (unit, world axes).
    """
    x = torch.arange(width, dtype=viewmat.dtype, device=viewmat.device) + 0.5
    y = torch.arange(height, dtype=viewmat.dtype, device=viewmat.device) + 0.5
    x = (x - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (y - intrinsics[1, 2]) / intrinsics[1, 1]
    # Rows of the world-to-camera rotation are the camera's axes in world coordinates. Summing them by broadcasting, and
    # normalising in camera coordinates, is far faster on CPU than torch's normalize over the first axis.
    right, down, forward = viewmat[:3, :3, None, None]
    length = (1 + x**2 + y[:, None] ** 2).sqrt()
    directions = (right * x + (down * y[:, None] + forward)) / length
    return torch.cat([camera_position(viewmat)[:, None, None].expand_as(directions), directions])
