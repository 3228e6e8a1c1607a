"""Random Gaussians as models export them, and pictures of them."""

import math

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.reporting.export_losses import viewer_picture
from moegs_ns.reporting.metrics import psnr
from moegs_ns.splats.splats import Splats


def make_splats(count: int = 150, degree: int = 3, seed: int = 0) -> Splats:
    """Long, turned, half transparent Gaussians around the origin, whose colours depend much on the view."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    quats = normal(count, 4)
    sh = torch.cat([normal(count, 1, 3), 0.3 * normal(count, (degree + 1) ** 2 - 1, 3)], dim=1)
    return Splats(
        means=0.7 * normal(count, 3),
        quats=quats / quats.norm(dim=1, keepdim=True),
        scales=(0.5 * normal(count, 3) - 2.2).exp(),
        opacities=(1.5 * normal(count)).sigmoid(),
        sh=sh,
    )


def make_camera(angle: float = 0.4, width: int = 64, height: int = 48) -> Cameras:
    """Three units from the origin, turned about y by ``angle``, a little above."""
    pose = torch.tensor(
        [
            [math.cos(angle), 0.0, math.sin(angle), 3.0 * math.sin(angle)],
            [0.0, 1.0, 0.0, 0.2],
            [-math.sin(angle), 0.0, math.cos(angle), 3.0 * math.cos(angle)],
        ]
    )
    options = {"fx": 60.0, "fy": 62.0, "cx": 30.0, "cy": 25.0, "width": width, "height": height}
    return Cameras(camera_to_worlds=pose[None], **options)


def agreement(splats: Splats, others: Splats, rotation: Tensor | None = None) -> float:
    """Decibels between what a viewer draws of both; ``rotation`` is from the first's world to the second's."""
    camera = make_camera()
    picture = viewer_picture(splats, camera)
    assert picture.std() > 0.1
    return psnr(viewer_picture(others, camera, rotation), picture)
