"""Nearest neighbours in a point cloud: the initial size of Gaussians, and which ones should move alike."""

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor


def nearest_neighbors(points: Tensor, neighbors: int) -> tuple[Tensor, Tensor]:
    """The nearest other points of every point.

    Args:
        points: ``[N,3]`` world units, on any device.
        neighbors: how many, k; fewer are found when the cloud is smaller.

    Returns:
        ``(index [N,k] int64, distance [N,k])`` from near to far, on the device and (distance) in the dtype of
        ``points``. A point is never its own neighbour, also where others lie in the same place.
    """
    index, distance = _query(points, neighbors)
    return (
        torch.from_numpy(index).to(points.device),
        torch.from_numpy(distance).to(device=points.device, dtype=points.dtype),
    )


def neighbor_rms_distance(points: Tensor, neighbors: int = 3) -> Tensor:
    """Root mean squared distance of every point to its nearest neighbours (3D Gaussian Splatting's initial scale).

    Args:
        points: ``[N,3]`` world units, on any device.
        neighbors: how many other points count; fewer are used when the cloud is smaller.

    Returns:
        ``[N]`` float32 on the device of ``points``. Zero where all neighbours coincide with the point, and for a
        cloud of a single point.
    """
    _, distance = _query(points, neighbors)
    if not distance.shape[1]:
        return torch.zeros(points.shape[0], device=points.device)
    mean_square = (distance**2).mean(axis=1)
    return torch.from_numpy(np.sqrt(mean_square)).to(device=points.device, dtype=torch.float32)


def _query(points: Tensor, neighbors: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and float64 distances ``[N, min(neighbors, N - 1)]``."""
    count = points.shape[0]
    available = min(neighbors, count - 1)
    if available < 1:
        return np.zeros((count, 0), dtype=np.int64), np.zeros((count, 0))
    cloud = points.detach().cpu().numpy().astype(np.float64)
    # A cloud point finds itself as well, first or among others in the same place: ask for one more, leave it out.
    tree = cKDTree(cloud)
    # In the tree's own order one point's neighbours are in the cache when the next one's are looked for.
    order = tree.indices
    found = tree.query(cloud[order], k=available + 1, workers=-1)
    distance, index = np.empty_like(found[0]), np.empty_like(found[1])
    distance[order], index[order] = found
    itself = index == np.arange(count)[:, None]
    itself[~itself.any(axis=1), -1] = True  # crowded out by more than k others in its place
    kept = ~itself
    return index[kept].reshape(count, available), distance[kept].reshape(count, available)
