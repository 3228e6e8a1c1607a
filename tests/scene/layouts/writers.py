"""Writers of the layouts the data parsers read, from the formats' descriptions and not from the parsers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from moegs_ns.scene.points import PointCloud, write_ply
from tests.scene.layouts.clip import Clip, Distortion, Shot

FLIP = np.diag([1.0, -1.0, -1.0])


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def _cloud(folder: Path, clip: Clip) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_ply(folder / "points3D.ply", PointCloud(clip.xyz.astype(np.float32), clip.rgb.astype(np.uint8)))


def write_n3v(folder: Path, clip: Clip) -> Path:
    """Image folders and ``poses_bounds.npy``: of every camera all frames, one pose, a centred principal point."""
    _cloud(folder, clip)
    rows = []
    for camera in clip.cameras:
        for frame in range(clip.num_frames):
            _save(folder / camera / "images" / f"{frame:04d}.png", clip.of(camera, frame).image)
        shot = clip.of(camera, 0)
        assert (shot.cx, shot.cy) == (shot.size[0] / 2, shot.size[1] / 2) and shot.fx == shot.fy
        right, up, backward, centre = shot.pose.T
        size = np.array([shot.size[1], shot.size[0], shot.fx])
        rows.append([*np.stack([-up, right, backward, centre, size], axis=1).ravel(), *clip.near_far])
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return folder


def write_technicolor(
    folder: Path, clip: Clip, scene: str = "Birthday", first_frame: int = 151, skew: float = 0.0
) -> Path:
    """Flat PNGs and ``cameras_parameters.txt``: of every camera all frames and one pose."""
    _cloud(folder, clip)
    lines = ["f(pixel) cu cv ar sk  qw qx qy qz  tx ty tz   # calibration"]
    for number, camera in enumerate(clip.cameras):
        for frame in range(clip.num_frames):
            name = f"{scene}_undist_{first_frame + frame:05d}_{number:02d}.png"
            _save(folder / name, clip.of(camera, frame).image)
        shot = clip.of(camera, 0)
        rotation = (shot.pose[:, :3] @ FLIP).T  # world to camera, OpenCV axes
        x, y, z, w = Rotation.from_matrix(rotation).as_quat()
        translation = -rotation @ shot.pose[:, 3]
        numbers = [shot.fx, shot.cx, shot.cy, shot.fy / shot.fx, skew, w, x, y, z, *translation]
        lines.append("  ".join(f"{number:.12g}" for number in numbers) + " ")
    (folder / "cameras_parameters.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_hypernerf(
    folder: Path,
    clip: Clip,
    train: Callable[[Shot], bool] | None,
    distortion: Distortion | None = None,
    levels: Sequence[int] = (1,),
    scale: float = 0.25,
    cloud: bool = True,
) -> Path:
    """A capture by one camera or two: ids ``<camera>1_<frame>``.

    Args:
        folder: to write to.
        clip: with one image per camera and frame at most.
        train: which images train, the others are held out; None for ``val_ids`` that are empty.
        distortion: of every image.
        levels: the folders ``rgb/<N>x`` written; images are those of the largest, averaged.
        scale: of ``scene.json``.
        cloud: whether there is ``points.npy``.
    """
    ids, moments = {}, {}
    cameras = clip.cameras
    for shot in sorted(clip.shots, key=lambda one: (one.camera, one.frame)):
        name = f"{shot.camera}1_{shot.frame:06d}"
        ids[name] = shot
        moments[name] = {"warp_id": shot.frame, "appearance_id": shot.frame, "camera_id": cameras.index(shot.camera)}
        image = shot.image if distortion is None else distortion.photograph(shot)
        for level in levels:
            height, width = image.shape[0] // level, image.shape[1] // level
            blocks = image[: height * level, : width * level].reshape(height, level, width, level, 3)
            _save(folder / "rgb" / f"{level}x" / f"{name}.png", blocks.mean(axis=(1, 3)).round().astype(np.uint8))
        lens = distortion or Distortion()
        _json(
            folder / "camera" / f"{name}.json",
            {
                "orientation": (shot.pose[:, :3] @ FLIP).T.tolist(),
                "position": shot.pose[:, 3].tolist(),
                "focal_length": shot.fx,
                "principal_point": [shot.cx, shot.cy],
                "skew": lens.skew,
                "pixel_aspect_ratio": shot.fy / shot.fx,
                "radial_distortion": list(lens.radial),
                "tangential_distortion": list(lens.tangential),
                "image_size": list(shot.size),
            },
        )
    chosen = [name for name, shot in ids.items() if train is None or train(shot)]
    held_out = [name for name in ids if name not in chosen]
    _json(
        folder / "dataset.json",
        {"count": len(ids), "num_exemplars": len(chosen), "ids": [*ids], "train_ids": chosen, "val_ids": held_out},
    )
    _json(folder / "metadata.json", moments)
    near, far = (bound * scale for bound in clip.near_far)
    _json(folder / "scene.json", {"scale": scale, "center": [0.3, 0.1, 2.0], "near": near, "far": far})
    if cloud:
        np.save(folder / "points.npy", clip.xyz.astype(np.float32))
    return folder


def write_transforms(
    folder: Path, clip: Clip, distortion: Distortion | None = None, extra: Mapping[str, Any] | None = None
) -> Path:
    """nerfstudio's ``transforms.json`` with a time per image, intrinsics in every frame."""
    _cloud(folder, clip)
    frames = []
    lens = distortion or Distortion()
    assert lens.skew == 0
    for shot in clip.shots:
        path = f"{shot.camera}/images/{shot.frame:04d}.png"
        _save(folder / path, shot.image if distortion is None else distortion.photograph(shot))
        k1, k2, k3 = lens.radial
        p1, p2 = lens.tangential
        frames.append(
            {
                "file_path": path,
                "time": shot.frame / (clip.num_frames - 1),
                "transform_matrix": [*shot.pose.tolist(), [0, 0, 0, 1]],
                "fl_x": shot.fx,
                "fl_y": shot.fy,
                "cx": shot.cx,
                "cy": shot.cy,
                "w": shot.size[0],
                "h": shot.size[1],
                "k1": k1,
                "k2": k2,
                "k3": k3,
                "p1": p1,
                "p2": p2,
            }
        )
    _json(folder / "transforms.json", {"camera_model": "OPENCV", "frames": frames, **(extra or {})})
    return folder


def write_blender(folder: Path, splits: Mapping[str, Clip], alpha: Callable[[Shot], np.ndarray]) -> Path:
    """``transforms_<split>.json`` and PNGs with alpha, as Blender renders them: square pixels, centred.

    Args:
        folder: to write to.
        splits: images by split.
        alpha: uint8 ``[H,W,4]`` of an image.
    """
    for split, clip in splits.items():
        frames = []
        for index, shot in enumerate(clip.shots):
            _save(folder / split / f"r_{index:03d}.png", alpha(shot))
            frames.append(
                {
                    "file_path": f"./{split}/r_{index:03d}",
                    "rotation": 0.3,
                    "time": shot.frame / (clip.num_frames - 1),
                    "transform_matrix": [*shot.pose.tolist(), [0, 0, 0, 1]],
                }
            )
        first = clip.shots[0]
        assert (first.cx, first.cy) == (first.size[0] / 2, first.size[1] / 2) and first.fx == first.fy
        angle = 2 * math.atan(first.size[0] / 2 / first.fx)
        _json(folder / f"transforms_{split}.json", {"camera_angle_x": angle, "frames": frames})
    return folder


def _json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1))
