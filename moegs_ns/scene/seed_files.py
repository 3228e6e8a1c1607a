"""Where a scene's seed points come from: a file of its folder, or random places its cameras see.

numpy only, no torch: data parsers use it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.points import PointCloud, ply_has_time, read_ply

_GREY = 128


def points3d_files(data: Path) -> list[Path]:
    """``points3D*.ply`` of a folder in any spelling, those with times first, then the shortest name."""
    found = [
        entry
        for entry in data.iterdir()
        if entry.name.lower().startswith("points3d") and entry.name.lower().endswith(".ply") and entry.is_file()
    ]
    return sorted(found, key=lambda entry: (not ply_has_time(entry), len(entry.name), entry.name))


def read_seed_cloud(
    data: Path, given: Path | None, candidates: Sequence[Path], random_points: int
) -> PointCloud | None:
    """The seed points of a scene; None where it has no file of them, which a warning says with what happens instead.

    Args:
        data: the scene's folder.
        given: the file a user named, relative to ``data`` or absolute; replaces the candidates.
        candidates: files to take the first of that is there.
        random_points: how many random points will take their place.

    Raises:
        FileNotFoundError: the file a user named is not there.
        ValueError: a file that is no point cloud, or one without points.
    """
    if given is not None:
        path = data / given.expanduser()
    else:
        present = [candidate for candidate in candidates if candidate.is_file()]
        if not present:
            instead = (
                f"{random_points} grey points at random places take their place, from which training is slower and "
                "ends lower: pass --point-cloud where there is one"
                if random_points
                else "training needs some: pass --point-cloud, or --random-points to start from random places"
            )
            warnings.warn(f"no seed points (points3D*.ply) in {data}; {instead}", stacklevel=5)
            return None
        path = present[0]
    cloud = read_points_npy(path) if path.suffix == ".npy" else read_ply(path)
    if not len(cloud):
        raise ValueError(f"expected points in {path}, found none; delete the file or give another --point-cloud")
    return cloud


def read_points_npy(path: Path) -> PointCloud:
    """Points of ``[M,3]`` numbers, as Nerfies' captures have them; colours from ``<name>_rgb.npy`` (uint8 ``[M,3]``)
    beside it, grey without that file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: other shapes, or numbers that are not finite.
    """
    xyz = _read_rows(path)
    colours = path.with_name(f"{path.stem}_rgb.npy")
    rgb = _read_rows(colours) if colours.is_file() else np.full(xyz.shape, _GREY)
    if rgb.shape != xyz.shape or (len(rgb) and not 0 <= rgb.min() <= rgb.max() <= 255):
        raise ValueError(
            f"expected a colour in 0..255 for each of the {len(xyz)} points of {path}, found {list(rgb.shape)} numbers "
            f"in {colours}; write it anew, or delete it for grey points"
        )
    return PointCloud(xyz.astype(np.float32), rgb.astype(np.uint8))


def _read_rows(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"expected points at {path}, found no such file; check --point-cloud")
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise ValueError(f"expected a NumPy array in {path}, found something else ({error}); write it anew") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 3 or rows.dtype.kind not in "fiu":
        found = f"{rows.dtype} {list(rows.shape)}" if isinstance(rows, np.ndarray) else "an archive of arrays"
        raise ValueError(f"expected numbers [M,3] in {path}, found {found}; write it anew")
    if not np.isfinite(rows).all():
        raise ValueError(f"expected finite numbers in {path}, found NaN or infinity; remove those rows")
    return rows


def points_in_view(
    count: int, poses: np.ndarray, pinholes: Sequence[Pinhole], near: float, far: float, seed: int = 0
) -> PointCloud:
    """Grey points at random places that cameras see: a random image, a random pixel of it, and a random depth, as many
    between one distance and its double as between any other two.

    Args:
        count: how many.
        poses: ``[N,3,4]`` camera-to-world, OpenGL axes.
        pinholes: of the same N images.
        near, far: the depths between which points lie, world units.
        seed: of a generator of its own.
    """
    random = np.random.default_rng(seed)
    image = random.integers(len(poses), size=count)
    numbers = np.array([(one.fx, one.fy, one.cx, one.cy, one.width, one.height) for one in pinholes])[image]
    fx, fy, cx, cy, width, height = numbers.T
    depth = np.exp(random.uniform(np.log(near), np.log(far), count))
    x = (random.uniform(0, width) - cx) / fx
    y = (random.uniform(0, height) - cy) / fy
    local = np.stack([x, -y, -np.ones(count)], axis=1) * depth[:, None]
    return _grey(np.einsum("nij,nj->ni", poses[image, :, :3], local) + poses[image, :, 3])


def points_in_cube(count: int, half_edge: float, seed: int = 0) -> PointCloud:
    """Grey points at random places of a cube around the origin, ``half_edge`` from its centre to its faces."""
    return _grey(np.random.default_rng(seed).uniform(-half_edge, half_edge, (count, 3)))


def _grey(xyz: np.ndarray) -> PointCloud:
    return PointCloud(xyz.astype(np.float32), np.full(xyz.shape, _GREY, dtype=np.uint8))
