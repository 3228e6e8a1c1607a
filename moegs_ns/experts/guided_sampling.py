"""Guided sampling of Gaussians: new points along the rays of what training cameras keep getting wrong.

STG (Li et al., CVPR 2024, "Guided Sampling of Gaussians"; switched off in its released configurations). Where the seed
cloud holds nothing, as a triangulated one does on plain walls and in the distance, densification has nothing to grow
from. After a number of steps the training cameras are ranked by the similarity of their first rendering; of the worst,
when they come again and are still bad, the pixels of largest error get new Gaussians at several depths.

The depths are shares of the camera's farthest content. Ours is the 99th percentile of the depths of the seed points it
sees; the authors take the largest median depth of a rendering of the initial cloud. New Gaussians start upright; the
authors' zero quaternion is no rotation.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor, nn

from moegs_ns.experts.views import camera_index
from moegs_ns.losses import ssim
from moegs_ns.splats.camera import camera_position, viewmat_from_camera_to_world
from moegs_ns.splats.rays import ray_image

# The authors' numbers. Similarity below which a camera is a candidate, and below which it is still bad later on.
_CANDIDATE_SSIM, _STILL_BAD_SSIM = 0.91, 0.88
# A pixel counts above this quantile of the errors; a patch with more than this share of such pixels is kept.
_ERROR_QUANTILE, _PATCH, _PATCH_SHARE = 0.6, 16, 0.85
_BORDER = 0.1
_DEPTH_JITTER = 0.05
_FAR_QUANTILE = 0.99


class GuidedSampling(nn.Module):
    """Chooses training cameras and proposes points; its buffers travel in the expert's checkpoint.

    Args:
        cameras: number of training cameras.
        chosen: at most this many of them, the worst, are sampled, each once; none where fewer qualify.
        depths: where points are put on a ray, as shares of the camera's farthest content.
        rest: fewest steps between two cameras.
    """

    first_ssim: Tensor
    waiting: Tensor
    last_event: Tensor

    def __init__(self, cameras: int, chosen: int, depths: Sequence[float], rest: int) -> None:
        super().__init__()
        self._chosen, self._depths, self._rest = chosen, tuple(depths), rest
        self.register_buffer("first_ssim", torch.full((cameras,), torch.nan))
        self.register_buffer("waiting", torch.zeros(cameras, dtype=torch.bool))
        self.register_buffer("last_event", torch.zeros((), dtype=torch.int64))
        self._views: list[tuple[Cameras, Tensor, Tensor]] = []

    def see(self, camera: Cameras, rendering: Tensor, truth: Tensor) -> None:
        """Take note of one view of the present training step; ``rendering`` and ``truth`` are ``[H,W,3]``."""
        self._views.append((camera, rendering.detach(), truth))

    @torch.no_grad()
    def sample(self, iteration: int, seeds: Tensor) -> tuple[Tensor, Tensor] | None:
        """New points of this step, from the views seen since the last call.

        Args:
            iteration: optimizer step, counted from 1.
            seeds: ``[M,3]`` the scene's seed points, for the depths.

        Returns:
            ``(points [P,3], colors [P,3])``, or None in almost every step. Draws from the global random generator.
        """
        views, self._views = self._views, []
        for camera, rendering, truth in views:
            index = camera_index(camera)
            if bool(self.first_ssim[index].isnan()):
                self.first_ssim[index] = ssim(rendering, truth)
                self._choose()
        if not views:
            return None
        camera, rendering, truth = views[-1]  # as the authors: the last camera of a step only
        index = camera_index(camera)
        rested = int(self.last_event) == 0 or iteration > int(self.last_event) + self._rest
        if not (bool(self.waiting[index]) and rested and float(ssim(rendering, truth)) < _STILL_BAD_SSIM):
            return None
        rows, columns = worst_pixels(rendering, truth).nonzero(as_tuple=True)
        viewmat = viewmat_from_camera_to_world(camera.camera_to_worlds[0].to(rendering.device))
        intrinsics = camera.get_intrinsics_matrices()[0].to(rendering.device)
        far = farthest_seed(seeds.to(viewmat), viewmat, intrinsics, truth.shape[1], truth.shape[0])
        if far is None or not len(rows):
            return None
        self.waiting[index] = False
        self.last_event.fill_(iteration)
        rows, columns = rows.repeat(len(self._depths)), columns.repeat(len(self._depths))
        shares = torch.tensor(self._depths, device=rows.device).repeat_interleave(len(rows) // len(self._depths))
        jitter = 1 + _DEPTH_JITTER * (2 * torch.rand(len(rows)).to(rows.device) - 1)
        rays = ray_image(viewmat, intrinsics, truth.shape[1], truth.shape[0])
        points = points_on_rays(rays[3:, rows, columns].T, far * shares * jitter, viewmat)
        return points, truth[rows, columns]

    def _choose(self) -> None:
        """Once every camera was seen, choose the worst."""
        if bool(self.first_ssim.isnan().any()):
            return
        candidates = (self.first_ssim < _CANDIDATE_SSIM).nonzero()[:, 0]
        if len(candidates) >= self._chosen:
            order = self.first_ssim[candidates].argsort()
            self.waiting[candidates[order[: self._chosen]]] = True


def worst_pixels(rendering: Tensor, truth: Tensor) -> Tensor:
    """Mask of the pixels whose surroundings are wrong as a whole.

    Errors are of images divided by their mean brightness. Patches nearly full of large errors are kept, without the
    image's border; of four neighbouring pixels, three.

    Args:
        rendering, truth: ``[H,W,3]``.

    Returns:
        ``[H,W]`` bool.
    """
    error = (rendering / (rendering.mean() + 0.01) - truth / (truth.mean() + 0.01)).abs().sum(dim=-1)
    height, width = error.shape
    rank = max(1, round(_ERROR_QUANTILE * error.numel()))
    large = (error > error.flatten().kthvalue(rank).values).float()
    kept = torch.zeros_like(large, dtype=torch.bool)
    if height >= _PATCH and width >= _PATCH:
        full = F.avg_pool2d(large[None, None], _PATCH)[0, 0] > _PATCH_SHARE
        full = full.repeat_interleave(_PATCH, 0).repeat_interleave(_PATCH, 1)
        kept[: full.shape[0], : full.shape[1]] = full
    kept[::2, ::2] = False
    inside = torch.zeros_like(kept)
    rows, columns = int(_BORDER * height), int(_BORDER * width)
    inside[rows : height - rows, columns : width - columns] = True
    return kept & inside


def farthest_seed(seeds: Tensor, viewmat: Tensor, intrinsics: Tensor, width: int, height: int) -> float | None:
    """z-depth (world units) of nearly the farthest seed point ``[M,3]`` that a camera sees; None where it sees none."""
    x, y, z = (seeds @ viewmat[:3, :3].T + viewmat[:3, 3]).unbind(-1)
    z_safe = torch.where(z > 0, z, 1.0)
    u = intrinsics[0, 0] * x / z_safe + intrinsics[0, 2]
    v = intrinsics[1, 1] * y / z_safe + intrinsics[1, 2]
    seen = (z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    if not bool(seen.any()):
        return None
    depths = z[seen]
    return float(depths.kthvalue(max(1, round(_FAR_QUANTILE * len(depths)))).values)


def points_on_rays(directions: Tensor, depths: Tensor, viewmat: Tensor) -> Tensor:
    """``[P,3]`` points at z-depths ``[P]`` on a camera's rays of directions ``[P,3]`` (world axes)."""
    forward = viewmat[2, :3]
    return camera_position(viewmat) + directions * (depths / (directions @ forward))[:, None]
