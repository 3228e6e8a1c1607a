"""Tiny videos whose every frame says its own number, and scenes made of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from moegs_ns.scene.points import PointCloud, write_ply
from moegs_ns.scene.poses_bounds import PosesBounds, write_poses_bounds

WIDTH, HEIGHT = 64, 48
_BITS = 8


def numbered_frame(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """uint8 ``[H,W,3]``: the number in binary as black and white columns, over a band that moves with it."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    column = width // _BITS
    for bit in range(_BITS):
        if number >> bit & 1:
            image[: height // 2, bit * column : (bit + 1) * column] = 255
    start = number * 3 % width
    image[height // 2 :, start : start + column] = (200, 60, 120)  # motion, so that B-frames have something to predict
    return image


def read_number(image: np.ndarray) -> int:
    """The number a (possibly resized, lossy) frame shows."""
    column = image.shape[1] // _BITS
    rows = slice(image.shape[0] // 8, image.shape[0] * 3 // 8)
    levels = [image[rows, bit * column + column // 4 : (bit + 1) * column - column // 4].mean() for bit in range(_BITS)]
    return sum(1 << bit for bit, level in enumerate(levels) if level > 128)


def encode(
    path: Path,
    images: Iterable[np.ndarray],
    fps: int = 30,
    codec_options: dict[str, str] | None = None,
    gop_size: int = 12,
    b_frames: int = 0,
    pts: Iterable[int] | None = None,
    pixel_format: str = "yuv420p",
) -> Path:
    """H.264 video of RGB images; ``pts`` overrides the time stamps (in frames) for uneven rates."""
    stamps = iter(pts) if pts is not None else iter(range(1 << 30))
    with av.open(str(path), "w") as container:
        stream = None
        for image in images:
            if stream is None:
                stream = container.add_stream("libx264", rate=fps)
                stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], pixel_format
                stream.codec_context.gop_size = gop_size
                stream.codec_context.max_b_frames = b_frames
                stream.options = {"preset": "ultrafast", "crf": "18", **(codec_options or {})}
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = next(stamps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbered_video(path: Path, num_frames: int, first_number: int = 0, **options: object) -> Path:
    """Video whose frame i shows ``first_number + i``."""
    return encode(path, (numbered_frame(first_number + index) for index in range(num_frames)), **options)


def ring_of_cameras(count: int, width: int = WIDTH, height: int = HEIGHT) -> PosesBounds:
    """Cameras on a circle of radius 3 in the xy plane, looking at the origin, z up; focal differs per camera."""
    poses = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        backward = np.array([np.cos(angle), np.sin(angle), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        poses.append(np.stack([np.cross(up, backward), up, backward, 3 * backward], axis=1))
    return PosesBounds(
        camera_to_worlds=np.array(poses),
        sizes=np.tile(np.array([[width, height]]), (count, 1)),
        focals=60.0 + np.arange(count),
        near_far=np.tile(np.array([[1.0, 6.0]]), (count, 1)) + 0.1 * np.arange(count)[:, None],
    )


def numbered_scene(folder: Path, num_cameras: int = 3, num_frames: int = 6) -> Path:
    """N3V layout: camera k's frame i shows ``20 * k + i``."""
    folder.mkdir(parents=True, exist_ok=True)
    for camera in range(num_cameras):
        numbered_video(folder / f"cam{camera:02d}.mp4", num_frames, first_number=20 * camera)
    write_poses_bounds(folder / "poses_bounds.npy", ring_of_cameras(num_cameras))
    xyz = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    write_ply(folder / "points3D.ply", PointCloud(xyz, np.full((50, 3), 90, np.uint8)))
    return folder
