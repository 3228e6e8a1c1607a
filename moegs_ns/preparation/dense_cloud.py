"""A dense cloud of an existing reconstruction as seed points: one point per voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moegs_ns.scene.points import PointCloud, read_ply

# Default voxels: so many along the middle 98 % of the cloud's longest side, which leaves some ten thousand points.
_VOXELS = 200


def read_dense_cloud(path: Path, voxel: float | None) -> tuple[PointCloud, float]:
    """Read a PLY file, or that of a COLMAP workspace, and thin it out.

    Args:
        path: ``fused.ply``, or a folder that holds it or ``dense/fused.ply``.
        voxel: edge length, world units. Default: by the cloud's extent.

    Returns:
        The cloud, without times, and the edge length.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no point cloud, without points, or an edge length that is not above 0.
    """
    path = path.expanduser()
    if path.is_dir():
        places = [path / "fused.ply", path / "dense" / "fused.ply", path / "dense" / "0" / "fused.ply"]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise FileNotFoundError(
                f"expected fused.ply in {path} or its dense/, found none; run `colmap stereo_fusion`, or name the file"
            )
        path = found
    cloud = read_ply(path)
    if not len(cloud):
        raise ValueError(f"expected points in {path}, found none; leave --dense-cloud out or name another file")
    if voxel is None:
        low, high = np.percentile(cloud.xyz, [1, 99], axis=0)
        voxel = float((high - low).max()) / _VOXELS or 1.0
    return one_per_voxel(cloud, voxel), voxel


def one_per_voxel(cloud: PointCloud, voxel: float) -> PointCloud:
    """The mean place and colour of the points in each cube of the given edge length.

    Raises:
        ValueError: the edge length is not above 0.
    """
    if not voxel > 0:
        raise ValueError(f"expected --voxel above 0, found {voxel}")
    cells = np.floor(cloud.xyz.astype(np.float64) / voxel).astype(np.int64)
    _, cell, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    cell = cell.reshape(-1)

    def mean(values: np.ndarray) -> np.ndarray:
        columns = [np.bincount(cell, weights=column, minlength=len(counts)) for column in values.T.astype(np.float64)]
        return np.stack(columns, axis=1) / counts[:, None]

    return PointCloud(mean(cloud.xyz).astype(np.float32), mean(cloud.rgb).round().astype(np.uint8))
