"""Where cameras stand, from nothing but their videos: COLMAP's incremental mapping over this project's features.

The cameras stand still, so frames of several instants see the same poses. Their features are pooled, as if each camera
had taken one picture with all of them; matches are made within an instant only, so what moves helps too.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from moegs_ns.preparation.colmap import lens_of, pose_of, quiet, require_pycolmap
from moegs_ns.preparation.features import Features, match
from moegs_ns.preparation.options import LensModel, Sharing
from moegs_ns.preparation.rig import Rig

# Focal length to start from, as a share of the larger side: COLMAP's own guess, the view of a phone.
_FOCAL_GUESS = 1.2
_COLMAP_MODELS = {"pinhole": ("SIMPLE_PINHOLE", 0), "radial": ("SIMPLE_RADIAL", 1), "opencv": ("OPENCV", 4)}
_LEAST_MATCHES = 15
# Pixels of an image about 640 wide; larger ones have proportionally more.
_TOLERANCE = 1.5
_TOLERANCE_WIDTH = 640
# Cameras have lenses of their own where that explains the pictures by so much better.
_CLEARLY_BETTER = 0.9


@dataclass(frozen=True)
class Estimate:
    """What structure from motion found."""

    rig: Rig
    """Of the cameras that were placed; world of arbitrary place, turn and size. Points are those it triangulated."""
    placed: list[int]
    """Positions of these cameras among those given, ascending."""
    lenses: Sharing
    """``shared`` or ``each``: whose lenses were alike."""
    reprojection_error: float
    """Mean, pixels."""
    points: int
    """Triangulated."""
    views_per_point: float


def estimate_cameras(
    features: Sequence[Sequence[Features]],
    sizes: Sequence[tuple[int, int]],
    focal: float | None = None,
    model: LensModel = "radial",
    sharing: Sharing = "auto",
    on_pair: Callable[[], None] = lambda: None,
    seed: int = 0,
) -> Estimate:
    """Place the cameras.

    Args:
        features: of every camera at each of K instants.
        sizes: width and height of every camera's pictures.
        focal: length in pixels where known, the same for all cameras; it is then kept.
        model: what lenses do: nothing, one radial coefficient, or OpenCV's two radial and two tangential ones and a
            focal length per axis. Principal points are taken to be in the middle.
        sharing: whether cameras have the same lens. ``auto`` tries one lens for all cameras of a size, and one each
            only where that explains the pictures clearly better: fewer unknowns are better known.
        on_pair: called after each pair of cameras is matched.
        seed: of COLMAP's random choices.

    Raises:
        RuntimeError: pycolmap is not installed.
        ValueError: no two cameras see enough of the same, or none could be placed.
    """
    pycolmap = require_pycolmap("estimating cameras from videos")
    pairs = _matches(features, on_pair)
    if not any(len(found) >= _LEAST_MATCHES for found in pairs.values()):
        most = max((len(found) for found in pairs.values()), default=0)
        raise ValueError(
            f"expected two cameras that see the same things, found at most {most} matches between any two of "
            f"{len(features)}; cameras too far apart, too dark or too blurred for structure from motion need --poses"
        )
    points = [np.concatenate([one.points for one in camera]) for camera in features]

    def attempt(share: bool) -> Estimate | None:
        with tempfile.TemporaryDirectory(prefix="moegs-sfm-") as folder, quiet(pycolmap):
            return _map(pycolmap, Path(folder), points, pairs, sizes, focal, model, share, seed)

    estimates = [attempt(share) for share in {"auto": (True, False), "shared": (True,), "each": (False,)}[sharing]]
    found = [one for one in estimates if one is not None]
    if not found:
        raise ValueError(
            f"structure from motion placed none of {len(features)} cameras: their views overlap too little, or lack "
            "parallax or texture; film more overlap, name the focal length with --focal, or give cameras with --poses"
        )
    best = found[0]
    for other in found[1:]:
        better = other.reprojection_error < _CLEARLY_BETTER * best.reprojection_error
        if (len(other.placed), better) > (len(best.placed), False):
            best = other
    return best


def _matches(features: Sequence[Sequence[Features]], on_pair: Callable[[], None]) -> dict[tuple[int, int], np.ndarray]:
    """Of every pair of cameras the positions of what matches in their pooled features, uint32 ``[M,2]``."""
    starts = [np.cumsum([0, *(len(one) for one in camera)]) for camera in features]
    pairs = {}
    for one, other in itertools.combinations(range(len(features)), 2):
        found = [
            match(first, second) + np.array([starts[one][instant], starts[other][instant]])
            for instant, (first, second) in enumerate(zip(features[one], features[other], strict=True))
        ]
        pairs[one, other] = np.concatenate(found).astype(np.uint32)
        on_pair()
    return pairs


def _map(
    pycolmap: ModuleType,
    folder: Path,
    points: Sequence[np.ndarray],
    pairs: dict[tuple[int, int], np.ndarray],
    sizes: Sequence[tuple[int, int]],
    focal: float | None,
    model: LensModel,
    share: bool,
    seed: int,
) -> Estimate | None:
    """COLMAP from matches to cameras; None where it places none."""
    names = [f"{index:04d}" for index in range(len(points))]
    tolerance = _TOLERANCE * max(1.0, max(max(size) for size in sizes) / _TOLERANCE_WIDTH)
    database = folder / "database.db"
    _write_database(pycolmap, database, names, points, pairs, sizes, focal, model, share)
    listed = folder / "pairs.txt"
    listed.write_text("".join(f"{names[one]} {names[other]}\n" for one, other in pairs))
    two_views = pycolmap.TwoViewGeometryOptions()
    two_views.ransac.max_error = tolerance
    two_views.ransac.random_seed = seed
    pycolmap.verify_matches(database, listed, two_views)
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = seed
    options.extract_colors = False
    options.multiple_models = False
    options.min_model_size = 2
    options.ba_refine_focal_length = focal is None
    options.ba_refine_principal_point = False
    options.mapper.filter_max_reproj_error = tolerance
    output = folder / "model"
    output.mkdir()
    reconstructions = pycolmap.incremental_mapping(database, folder, output, options)
    if not reconstructions:
        return None
    best = max(reconstructions.values(), key=lambda one: one.num_reg_images())
    images = {image.name: image for image in best.images.values() if image.has_pose}
    placed = [index for index, name in enumerate(names) if name in images]
    found = [images[names[index]] for index in placed]
    lenses = [lens_of(best.cameras[image.camera_id], "what COLMAP estimated") for image in found]
    cloud = np.array([point.xyz for point in best.points3D.values()], dtype=np.float64).reshape(-1, 3)
    return Estimate(
        rig=Rig(np.array([pose_of(image) for image in found]), lenses, points=cloud),
        placed=placed,
        lenses="shared" if share else "each",
        reprojection_error=float(best.compute_mean_reprojection_error()),
        points=len(cloud),
        views_per_point=float(best.compute_mean_track_length()),
    )


def _write_database(
    pycolmap: ModuleType,
    path: Path,
    names: Sequence[str],
    points: Sequence[np.ndarray],
    pairs: dict[tuple[int, int], np.ndarray],
    sizes: Sequence[tuple[int, int]],
    focal: float | None,
    model: LensModel,
    share: bool,
) -> None:
    """COLMAP's database: cameras, one image each with its pooled points, and matches yet to be verified."""
    database = pycolmap.Database.open(path)
    images: list[int] = []
    known: dict[tuple[int, int], tuple[Any, int]] = {}
    for name, size, keypoints in zip(names, sizes, points, strict=True):
        if not share or size not in known:
            known[size] = _write_camera(pycolmap, database, size, focal, model)
        camera, rig = known[size]
        image = pycolmap.Image(name=name, camera_id=camera.camera_id)
        image.image_id = database.write_image(image)
        frame = pycolmap.Frame()
        frame.rig_id = rig
        frame.add_data_id(image.data_id)
        database.write_frame(frame)
        database.write_keypoints(image.image_id, keypoints.astype(np.float32))
        images.append(image.image_id)
    for (one, other), found in pairs.items():
        if len(found):
            database.write_matches(images[one], images[other], found)
    database.close()


def _write_camera(
    pycolmap: ModuleType, database: Any, size: tuple[int, int], focal: float | None, model: LensModel
) -> tuple[Any, int]:
    """A camera of a size, alone on its rig: the camera and the rig's number."""
    width, height = size
    name, coefficients = _COLMAP_MODELS[model]
    length = _FOCAL_GUESS * max(size) if focal is None else focal
    focals = [length] * (2 if model == "opencv" else 1)
    parameters = [*focals, width / 2, height / 2, *([0.0] * coefficients)]
    camera = pycolmap.Camera(model=name, width=width, height=height, params=parameters)
    camera.has_prior_focal_length = focal is not None
    camera.camera_id = database.write_camera(camera)
    rig = pycolmap.Rig()
    rig.add_ref_sensor(camera.sensor_id)
    return camera, database.write_rig(rig)
