"""Copies of an N3V-layout scene, each broken in one way that `moegs data check` has to find.

Files that stay as they are become links, so a copy costs next to nothing.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import av
import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from moegs_ns.scene.decoding import iterate_frames
from moegs_ns.scene.frame_sources import find_cameras, probe
from moegs_ns.scene.points import PointCloud, write_ply
from moegs_ns.scene.poses_bounds import read_poses_bounds, write_poses_bounds
from moegs_ns.scene.seed_files import points3d_files

#: Of the sorted cameras, which are broken: none is the first, which is the test camera.
BROKEN, OTHER = 5, 2
DELAY = 3
TURN_DEGREES = 2.0


@dataclass(frozen=True)
class Fault:
    """One way of being broken.

    Attributes:
        name: of it.
        apply: breaks a copy in place, given it and its cameras' names; returns the names of the cameras concerned,
            empty where it is none.
        checks: names of checks of which one has to flag it.
        says: words of its sentence.
    """

    name: str
    apply: Callable[[Path, list[str]], tuple[str, ...]]
    checks: tuple[str, ...]
    says: str


def copy_scene(source: Path, folder: Path) -> list[str]:
    """Links to the videos or image folders and the clouds of a scene, a copy of its poses; the cameras' names."""
    folder.mkdir(parents=True, exist_ok=True)
    cameras = find_cameras(source)
    for name, path in cameras.items():
        (folder / (path.name if path.is_file() else name)).symlink_to(path.absolute())
    for cloud in points3d_files(source):
        (folder / cloud.name).symlink_to(cloud.absolute())
    shutil.copy(source / "poses_bounds.npy", folder / "poses_bounds.npy")
    return list(cameras)


def break_scene(source: Path, folder: Path, fault: Fault) -> tuple[str, ...]:
    """A broken copy in ``folder``; the cameras concerned."""
    return fault.apply(folder, copy_scene(source, folder))


def turn_camera(axis: tuple[float, float, float], degrees: float = TURN_DEGREES) -> Callable[..., tuple[str, ...]]:
    """A camera's pose, turned about an axis of its own (x right, y up, z backward)."""

    def apply(folder: Path, names: list[str]) -> tuple[str, ...]:
        path = folder / "poses_bounds.npy"
        cameras = read_poses_bounds(path)
        poses = cameras.camera_to_worlds.copy()
        turn = Rotation.from_rotvec(np.radians(degrees) * np.array(axis) / np.linalg.norm(axis)).as_matrix()
        poses[BROKEN, :, :3] = poses[BROKEN, :, :3] @ turn
        write_poses_bounds(path, replace(cameras, camera_to_worlds=poses))
        return (names[BROKEN],)

    return apply


def delay_camera(folder: Path, names: list[str]) -> tuple[str, ...]:
    """One camera shows everything `DELAY` frames later; all clips are cut to what remains."""
    for index, (name, path) in enumerate(find_cameras(folder).items()):
        frames = probe(path).num_frames - DELAY
        first = 0 if index == BROKEN else DELAY
        replace_video(folder, name, path, iterate_frames(path, first, frames))
    return (names[BROKEN],)


def swap_videos(folder: Path, names: list[str]) -> tuple[str, ...]:
    """Two cameras' files exchange their names."""
    cameras = find_cameras(folder)
    one, other = (cameras[names[index]] for index in (OTHER, BROKEN))
    spare = folder / "spare"
    one.rename(spare)
    other.rename(one)
    spare.rename(other)
    return names[OTHER], names[BROKEN]


def halve_video(folder: Path, names: list[str]) -> tuple[str, ...]:
    """One camera's video has half the size of the others'."""
    return _resized(folder, names, enlarge=False)


def soften_video(folder: Path, names: list[str]) -> tuple[str, ...]:
    """One camera's video was halved and enlarged again."""
    return _resized(folder, names, enlarge=True)


def reverse_rows(folder: Path, names: list[str]) -> tuple[str, ...]:
    """The rows of the poses are in the opposite order."""
    path = folder / "poses_bounds.npy"
    np.save(path, np.load(path)[::-1])
    return tuple(names)


def empty_cloud(folder: Path, names: list[str]) -> tuple[str, ...]:
    """The file of seed points holds none."""
    del names
    for path in points3d_files(folder):
        path.unlink()
    write_ply(folder / "points3D.ply", PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)))
    return ()


def truncate_video(folder: Path, names: list[str]) -> tuple[str, ...]:
    """One camera's file ends after 60 % of its bytes."""
    path = find_cameras(folder)[names[BROKEN]]
    held = path.read_bytes()
    path.unlink()
    path.write_bytes(held[: len(held) * 6 // 10])
    return (names[BROKEN],)


FAULTS = (
    # About the camera's upright axis: in a row of cameras epipolar lines do not move, only points along them.
    Fault("pose turned by 2 degrees", turn_camera((0, 1, 0)), ("poses", "epipolar"), "pose"),
    Fault("camera delayed by 3 frames", delay_camera, ("synchrony",), "3 frames late"),
    Fault("two video files swapped", swap_videos, ("order",), "swapped"),
    Fault("video of half the size", halve_video, ("files",), "size"),
    Fault("rows of poses reversed", reverse_rows, ("order",), "another order"),
    Fault("empty point cloud", empty_cloud, ("reading",), "expected points"),
    Fault("truncated video", truncate_video, ("files",), "copy it again"),
)
#: Beyond what is asked for.
FURTHER_FAULTS = (
    Fault("pose rolled by 2 degrees", turn_camera((0, 0, 1)), ("poses", "epipolar"), "pose"),
    Fault("pose tilted by 2 degrees", turn_camera((1, 0, 0)), ("poses", "epipolar"), "pose"),
    Fault("video enlarged from half the size", soften_video, ("sharpness",), "Softer"),
)


def _resized(folder: Path, names: list[str], enlarge: bool) -> tuple[str, ...]:
    path = find_cameras(folder)[names[BROKEN]]

    def images() -> Iterator[np.ndarray]:
        for image in iterate_frames(path, 0, probe(path).num_frames):
            height, width = image.shape[:2]
            small = cv2.resize(image, (width // 4 * 2, height // 4 * 2), interpolation=cv2.INTER_AREA)
            yield cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) if enlarge else small

    replace_video(folder, names[BROKEN], path, images())
    return (names[BROKEN],)


def replace_video(folder: Path, name: str, path: Path, images: Iterable[np.ndarray]) -> None:
    """The camera's video, or image folder, becomes a video of these images."""
    rate = round(probe(path).fps or 30)
    new = folder / "new.mp4"
    with av.open(str(new), "w") as container:
        stream = None
        for image in images:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate)
                stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], "yuv444p"
                stream.options = {"preset": "veryfast", "crf": "12"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        if stream is not None:
            container.mux(stream.encode(None))
    path.unlink()
    new.rename(folder / f"{name}.mp4")
