"""World-space viewing rays of a pinhole camera, an input of the router's network."""

import torch
from torch import Tensor

from moegs_ns.splats.camera import camera_position


def ray_image(viewmat: Tensor, intrinsics: Tensor, width: int, height: int) -> Tensor:
    """Camera centre and unit direction of every pixel's ray.

    Args:
        viewmat: ``[4,4]`` OpenCV world-to-camera.
        intrinsics: ``[3,3]`` pixels, any principal point.
        width, height: image size.

    Returns:
        ``[6,H,W]``: centre xyz (world units, constant over the image), then direction xyz (unit, world axes).
    """
    x = (torch.arange(width, device=viewmat.device) + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (torch.arange(height, device=viewmat.device) + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1]
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    directions = torch.stack([columns, rows, torch.ones_like(rows)]).to(viewmat.dtype)
    directions = torch.nn.functional.normalize(directions, dim=0)
    world = torch.einsum("ji,jhw->ihw", viewmat[:3, :3], directions)  # R^T: camera to world
    center = camera_position(viewmat)[:, None, None].expand_as(world)
    return torch.cat([center, world])
