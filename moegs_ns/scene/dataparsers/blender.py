"""Data parser for synthetic scenes of one object around the origin, as D-NeRF rendered them with Blender.

It may import very little of nerfstudio: see `moegs_ns.scene.dataparsers.base`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from moegs_ns.scene.dataparsers.base import near_and_far
from moegs_ns.scene.dataparsers.transforms import TransformsDataParser, TransformsDataParserConfig
from moegs_ns.scene.lens import Pinhole
from moegs_ns.scene.points import PointCloud
from moegs_ns.scene.seed_files import points3d_files, points_in_cube, read_seed_cloud
from moegs_ns.scene.transforms_files import Transforms

# Of a camera's distance from the origin: how near its content may be at most where the cube surrounds it.
_NEAREST_SHARE = 0.01


@dataclass
class BlenderDataParserConfig(TransformsDataParserConfig):
    """Synthetic objects around the origin with a time per image: transforms_train.json and others, transparent PNGs."""

    _target: type = field(default_factory=lambda: BlenderDataParser)
    data: Path = Path()
    """Folder with transforms_train.json, transforms_test.json and maybe transforms_val.json: camera_angle_x, and for
    each frame time in [0,1], file_path and transform_matrix."""
    test_cams: tuple[str, ...] | None = None
    """Held-out images, by file_path without suffix (test/r_004), frame number (4) or slice of the images in the order
    of time (4::8). Default: those of transforms_test.json."""
    val_cams: tuple[str, ...] = ()
    """Images for choosing settings, named likewise: not trained on, not tested on. Frame numbers and slices choose
    among those that would train. Default: those of transforms_val.json."""
    exclude_cams: tuple[str, ...] = ()
    """Images to leave out altogether, named likewise."""
    point_cloud: Path | None = None
    """PLY file of seed points, relative to the data folder or absolute. Default: points3D*.ply in the data folder."""
    random_points: int = 2000
    """Without a point cloud, start from this many grey points at random places of the cube around the origin; 0 = none,
    and training then refuses to start."""
    half_edge: float = 1.3
    """Half the edge of the cube around the origin that holds the object, in world units."""
    near: float | None = None
    """Near distance in world units. Default: up to the cube's corners from the nearest camera."""
    far: float | None = None
    """Far distance in world units. Default: beyond the cube's corners from the farthest camera."""
    background: Literal["white", "black"] | None = "white"
    """What the transparent images are composited on; choose the same --pipeline.model.background."""


@dataclass
class BlenderDataParser(TransformsDataParser):
    """Single images of one object, from anywhere around it."""

    config: BlenderDataParserConfig
    layout = "blender"

    def seeds_and_bounds(
        self, transforms: Transforms, poses: np.ndarray, pinholes: Sequence[Pinhole]
    ) -> tuple[PointCloud | None, tuple[float, float]]:
        config = self.config
        if config.half_edge <= 0:
            raise ValueError(f"expected --half-edge > 0, found {config.half_edge}")
        cloud = read_seed_cloud(config.data, config.point_cloud, points3d_files(config.data), config.random_points)
        if cloud is None and config.random_points:
            cloud = points_in_cube(config.random_points, config.half_edge)
        distances = np.linalg.norm(poses[:, :, 3], axis=1)
        corner = math.sqrt(3) * config.half_edge
        nearest, farthest = float(distances.min()), float(distances.max())
        bounds = max(nearest - corner, _NEAREST_SHARE * nearest), farthest + corner
        return cloud, near_and_far(config, bounds, "from the cube around the origin")
