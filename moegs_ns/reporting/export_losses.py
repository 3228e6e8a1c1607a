"""What a picture loses when a model leaves this project as a file and a standard viewer draws it.

A standard viewer projects by `VIEWER_SETTINGS`, evaluates spherical harmonics, and draws over black.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.reporting.metrics import psnr
from moegs_ns.splats.camera import camera_position, viewmat_from_camera_to_world
from moegs_ns.splats.projection import VIEWER_SETTINGS
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.splats.sh import view_colors
from moegs_ns.splats.splats import Splats, sh_of


@dataclass(frozen=True)
class PictureLoss:
    """One camera at one frame; decibels between pictures, at most 100.

    Attributes:
        camera: its name.
        frame: number in the clip.
        psnr: the file as a viewer draws it, against the model's own picture.
        file_psnr: the file against the very Gaussians that went into it, both as a viewer draws them: what the format
            cannot hold.
        drawing_psnr: those Gaussians as a viewer draws them, against the model's own picture: what other conventions
            (blur, antialiasing, background) cost.
        truth_psnr: the model's own picture against the true image.
        exported_truth_psnr: the file as a viewer draws it against the true image.
    """

    camera: str
    frame: int
    psnr: float
    file_psnr: float
    drawing_psnr: float
    truth_psnr: float
    exported_truth_psnr: float


#: What each measure is called in summaries, in order.
MEASURES = ("psnr", "file_psnr", "drawing_psnr", "truth_psnr", "exported_truth_psnr")


@torch.no_grad()
def viewer_picture(
    splats: Splats, camera: Cameras, rotation: Tensor | None = None, background: Tensor | None = None
) -> Tensor:
    """``[H,W,3]`` in [0,1]: Gaussians as a standard viewer draws them.

    Args:
        splats: with ``sh [N,B,3]``.
        camera: of size 1, in the model's world.
        rotation: ``[3,3]`` from that world to the Gaussians'; None where they are the same.
        background: ``[3]`` what they are drawn over; None is black.
    """
    device = splats.means.device
    viewmat = viewmat_from_camera_to_world(camera.camera_to_worlds[0].to(device))
    if rotation is not None:
        viewmat[:3, :3] = viewmat[:3, :3] @ rotation.to(viewmat).T
    sh = sh_of(splats)
    colors = view_colors(math.isqrt(sh.shape[1]) - 1, splats.means, camera_position(viewmat), sh)
    drawn = rasterize(
        splats,
        colors,
        viewmat,
        camera.get_intrinsics_matrices()[0].to(device),
        int(camera.width.item()),
        int(camera.height.item()),
        settings=VIEWER_SETTINGS,
        background=None if background is None else background.to(device),
    )
    return drawn.images[0].clamp(0.0, 1.0)


def picture_loss(camera: tuple[str, int], own: Tensor, drawn: Tensor, read_back: Tensor, truth: Tensor) -> PictureLoss:
    """The decibels between pictures ``[H,W,3]`` in [0,1].

    Args:
        camera: name and frame.
        own: the model's own picture.
        drawn: `viewer_picture` of the Gaussians that went into the file.
        read_back: `viewer_picture` of those that came out of it.
        truth: the true image.
    """
    own = own.clamp(0.0, 1.0)
    return PictureLoss(
        *camera,
        psnr=psnr(read_back, own),
        file_psnr=psnr(read_back, drawn),
        drawing_psnr=psnr(drawn, own),
        truth_psnr=psnr(own, truth),
        exported_truth_psnr=psnr(read_back, truth),
    )


def mean_losses(losses: Sequence[PictureLoss]) -> Mapping[str, float]:
    """Mean of every measure over pictures, of which there is at least one."""
    return {name: sum(getattr(one, name) for one in losses) / len(losses) for name in MEASURES}
