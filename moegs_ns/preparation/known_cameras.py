"""Cameras that are known beforehand: ``poses_bounds.npy``, Technicolor's ``cameras_parameters.txt``, a COLMAP model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moegs_ns.preparation.colmap import lens_of, pose_of, require_pycolmap
from moegs_ns.preparation.rig import Rig
from moegs_ns.preparation.source_videos import SourceVideo
from moegs_ns.scene.lens import Lens
from moegs_ns.scene.poses_bounds import read_poses_bounds
from moegs_ns.scene.technicolor_cameras import read_technicolor_cameras

_COLMAP_FILES = ("cameras.bin", "cameras.txt")
# A principal point farther from the centre than this share of the image's size belongs to an image of another size.
_FARTHEST_PRINCIPAL_POINT = 0.25
_SAME_SHAPE = 1e-2  # of width to height


def read_known_cameras(path: Path, videos: Sequence[SourceVideo]) -> Rig:
    """The cameras of the videos, in their order.

    Rows of ``poses_bounds.npy`` and lines of ``cameras_parameters.txt`` belong to the videos in the order of their
    names; images of a COLMAP model by theirs: ``cam00.png``, ``cam00/000000.png`` or ``cam00_000000.png`` are those of
    ``cam00.mp4``.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a file of another kind, cameras that are more or fewer than the videos or of another image shape.
        RuntimeError: a COLMAP model, and pycolmap is not installed.
    """
    path = path.expanduser()
    if path.is_dir():
        return _from_colmap(path, videos)
    if path.suffix == ".npy":
        rig, sizes = _from_poses_bounds(path)
    elif path.suffix == ".txt":
        cameras = read_technicolor_cameras(path)
        rig, sizes = Rig(cameras.camera_to_worlds, cameras.lenses), None
    elif not path.exists():
        raise FileNotFoundError(f"expected cameras at {path}, found nothing; check --poses")
    else:
        raise ValueError(
            f"expected poses_bounds.npy, Technicolor's cameras_parameters.txt or the folder of a COLMAP model, found "
            f"{path}; check --poses"
        )
    if len(rig) != len(videos):
        raise ValueError(
            f"expected one camera in {path} per video, found {len(rig)} cameras and {len(videos)} videos "
            f"({videos[0].path.name} to {videos[-1].path.name}); remove rows or videos that belong to no other"
        )
    lenses = []
    for index, (video, lens) in enumerate(zip(videos, rig.lenses, strict=True)):
        size = (video.width, video.height) if sizes is None else tuple(sizes[index].tolist())
        lenses.append(_for_video(lens, size, video, path))
    return Rig(rig.camera_to_worlds, lenses, rig.near_far)


def _from_poses_bounds(path: Path) -> tuple[Rig, np.ndarray]:
    poses = read_poses_bounds(path)
    lenses = [
        Lens(float(focal), float(focal), width / 2, height / 2)
        for focal, (width, height) in zip(poses.focals, poses.sizes.tolist(), strict=True)
    ]
    return Rig(poses.camera_to_worlds, lenses, poses.near_far), poses.sizes


def _from_colmap(folder: Path, videos: Sequence[SourceVideo]) -> Rig:
    pycolmap = require_pycolmap("reading a COLMAP model")
    models = [folder, folder / "sparse", folder / "sparse" / "0", folder / "0"]
    model = next((one for one in models if any((one / name).is_file() for name in _COLMAP_FILES)), None)
    if model is None:
        raise FileNotFoundError(
            f"expected a COLMAP model ({' or '.join(_COLMAP_FILES)}) in {folder} or its sparse/0, found none; check "
            "--poses"
        )
    reconstruction = pycolmap.Reconstruction(model)
    images = sorted((image for image in reconstruction.images.values() if image.has_pose), key=lambda one: one.name)
    lenses, poses = [], []
    for video in videos:
        image = next((one for one in images if _shows(one.name, video)), None)
        if image is None:
            found = ", ".join(one.name for one in images[:5])
            raise ValueError(
                f"expected an image of {video.path.stem} in the COLMAP model {model}, found {len(images)} others "
                f"({found}, ...); rename images or videos, or leave the video out"
            )
        camera = reconstruction.cameras[image.camera_id]
        lenses.append(_for_video(lens_of(camera, str(model)), (camera.width, camera.height), video, model))
        poses.append(pose_of(image))
    points = np.array([point.xyz for point in reconstruction.points3D.values()], dtype=np.float64).reshape(-1, 3)
    return Rig(np.array(poses), lenses, points=points if len(points) else None)


def _shows(image_name: str, video: SourceVideo) -> bool:
    """Whether a model's image is, by its name, of a video's camera."""
    path = Path(image_name)
    words = {path.stem, path.stem.split("_")[0], *(part for part in path.parent.parts)}
    return bool(words & {video.name, video.path.stem})


def _for_video(lens: Lens, size: tuple[int, int], video: SourceVideo, source: Path) -> Lens:
    """The lens in pixels of the video, which may be larger or smaller than what was calibrated, but not cut."""
    width, height = size
    if abs(width / height / (video.width / video.height) - 1) > _SAME_SHAPE:
        raise ValueError(
            f"expected {video.path.name} to have the shape of {width}x{height} that {source} states, found "
            f"{video.width}x{video.height}; put rows and videos in the same order, or replace the video"
        )
    lens = lens.resized(video.width / width, video.height / height)
    off = max(abs(lens.cx / video.width - 0.5), abs(lens.cy / video.height - 0.5))
    if off > _FARTHEST_PRINCIPAL_POINT:
        raise ValueError(
            f"expected cameras for {video.path.name} of {video.width}x{video.height}, found a principal point "
            f"({lens.cx:g}, {lens.cy:g}) in {source}; use videos of the size that was calibrated"
        )
    return lens
