"""``poses_bounds.npy``, the camera file of LLFF and of the Neural 3D Video scenes.

Row = 15 numbers, row-major 3x5 ``[down, right, backward, centre, (H, W, focal)]`` (unit axes and centre in world
coordinates, H, W and focal in pixels), then near and far. A pinhole without distortion, principal point at the image
centre, focal per row. Row i belongs to the i-th camera in sorted order of the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moegs_ns.files import written_whole
from moegs_ns.scene.geometry import check_rotations


@dataclass(frozen=True)
class PosesBounds:
    """Cameras of a scene, world units untouched."""

    camera_to_worlds: np.ndarray
    """``[N,3,4]`` float64, OpenGL axes (x right, y up, z backward), as in nerfstudio."""
    sizes: np.ndarray
    """``[N,2]`` int64 (width, height) in pixels that ``focals`` refers to."""
    focals: np.ndarray
    """``[N]`` float64 pixels."""
    near_far: np.ndarray
    """``[N,2]`` float64 world units."""

    def __len__(self) -> int:
        return len(self.focals)


def read_poses_bounds(path: Path) -> PosesBounds:
    """Read and check the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an ``[N,17]`` array of finite numbers, sizes or focals that are none, or rotations that are
            not orthonormal and right-handed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected camera poses at {path}, found no such file; an N3V-layout scene needs it")
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise ValueError(f"expected a NumPy array in {path}, found something else ({error}); write it anew") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 17 or rows.dtype.kind not in "fiu":
        found = f"{rows.dtype} {list(rows.shape)}" if isinstance(rows, np.ndarray) else "an archive of arrays"
        raise ValueError(
            f"expected float [N,17] in {path} (3x5 pose, near, far per camera), found {found}; write it anew"
        )
    rows = rows.astype(np.float64)
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()
        raise ValueError(f"expected finite numbers in {path}, found NaN or infinity in rows {bad}; estimate them anew")
    poses = rows[:, :15].reshape(-1, 3, 5)
    heights, widths, focals = poses[:, :, 4].T
    sizes = np.stack([widths, heights], axis=1)
    not_whole = np.abs(sizes - sizes.round()) > 1e-3
    bad_rows = np.flatnonzero((sizes < 1).any(axis=1) | not_whole.any(axis=1) | (focals <= 0))
    if len(bad_rows):
        bad_row = int(bad_rows[0])
        raise ValueError(
            f"expected height, width (whole pixels) and focal > 0 in column 4 of each 3x5 pose in {path}, found "
            f"{poses[bad_row, :, 4].tolist()} in row {bad_row}; correct it"
        )
    down, right, backward, centre = np.moveaxis(poses[:, :, :4], 2, 0)
    rotations = np.stack([right, -down, backward], axis=2)
    check_rotations(
        rotations,
        f"axes [down, right, backward] in {path}",
        [f"row {row}" for row in range(len(rotations))],
        "a pose stored in another axis order or with a scale in it has to be converted first",
    )
    return PosesBounds(
        camera_to_worlds=np.concatenate([rotations, centre[:, :, None]], axis=2),
        sizes=sizes.round().astype(np.int64),
        focals=focals.copy(),
        near_far=rows[:, 15:].copy(),
    )


def write_poses_bounds(path: Path, cameras: PosesBounds) -> None:
    """Inverse of `read_poses_bounds`."""
    right, up, backward, centre = np.moveaxis(cameras.camera_to_worlds, 2, 0)
    widths, heights = cameras.sizes.T
    intrinsics = np.stack([heights, widths, cameras.focals], axis=1)
    poses = np.stack([-up, right, backward, centre, intrinsics], axis=2)
    with written_whole(path) as scratch:
        np.save(scratch, np.concatenate([poses.reshape(-1, 15), cameras.near_far], axis=1))
