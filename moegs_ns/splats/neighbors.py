"""Nearest-neighbour distances of a point cloud, used for the initial size of Gaussians."""

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor


def neighbor_rms_distance(points: Tensor, neighbors: int = 3) -> Tensor:
    """Root mean squared distance of every point to its nearest neighbours (3D Gaussian Splatting's initial scale).

    Args:
        points: ``[N,3]`` world units, on any device.
        neighbors: how many other points count; fewer are used when the cloud is smaller.

    Returns:
        ``[N]`` float32 on the device of ``points``. Zero where all neighbours coincide with the point, and for a
        cloud of a single point.
    """
    count = points.shape[0]
    available = min(neighbors, count - 1)
    if available < 1:
        return torch.zeros(count, device=points.device)
    cloud = points.detach().cpu().numpy().astype(np.float64)
    # The nearest "neighbour" of a cloud point in its own tree is itself: ask for one more and drop the first.
    distances, _ = cKDTree(cloud).query(cloud, k=available + 1, workers=-1)
    mean_square = (distances[:, 1:] ** 2).mean(axis=1)
    return torch.from_numpy(np.sqrt(mean_square)).to(device=points.device, dtype=torch.float32)
