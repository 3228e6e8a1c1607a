"""The scene of a run as films need it: which cameras and times the frames of a film have."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from rich.console import Console

from moegs_ns.exporting.camera_moves import Rig, along, orbit, spiral, spiral_radius, through_rig
from moegs_ns.exporting.camera_path_files import read_camera_path
from moegs_ns.exporting.film import Film, film_along
from moegs_ns.scene.dataset import FrameDataset
from moegs_ns.training.load_run import dataset_of, images_of

_MOST_FRAMES = 1_000_000  # more is a slip of the finger
_SPLITS = ("test", "val", "train")  # in this order a camera is looked for


class Studio:
    """The scene of a run, as films need it; nothing is read before it is asked for.

    Args:
        record: of the run.
        fps: frames per second of the film; None is the scene's.
        console: is told what a user did not ask for.
    """

    def __init__(self, record: dict[str, Any], fps: float | None, console: Console) -> None:
        self._record, self._console, self._wanted_fps = record, console, fps
        scene = record["scene"]
        self._frames, self._first = int(scene["num_frames"]), int(scene.get("first_frame", 0))
        self._datasets: dict[str, FrameDataset] = {}
        self.photographs: FrameDataset | None = None

    @property
    def fps(self) -> float:
        """Frames per second of the film."""
        return float(self._record["scene"]["fps"] if self._wanted_fps is None else self._wanted_fps)

    # -- time ----------------------------------------------------------------------------------------------------------

    def instant(self, time: float | None, frame: int | None) -> float | None:
        """The time in [0,1] of a time or the number of a frame; None where neither is given.

        Raises:
            ValueError: both are given, or one that is not in the clip.
        """
        if time is not None and frame is not None:
            raise ValueError(f"expected --time or --frame, found both ({time} and {frame})")
        if frame is None:
            if time is not None and not 0 <= time <= 1:
                raise ValueError(f"expected --time from 0 (first frame) to 1 (last), found {time}")
            return time
        if not 0 <= frame - self._first < self._frames:
            last = self._first + self._frames - 1
            raise ValueError(f"expected --frame from {self._first} to {last}, found {frame}")
        return (frame - self._first) / max(1, self._frames - 1)

    def frames_of(self, seconds: float) -> int:
        """Number of frames of a film.

        Raises:
            ValueError: a length that makes fewer than two, or no end of them.
        """
        if not self.fps > 0 or not np.isfinite(self.fps):
            raise ValueError(f"expected frames per second above 0, found {self.fps}; change --fps")
        count = round(seconds * self.fps) if np.isfinite(seconds) else 0
        if not 2 <= count <= _MOST_FRAMES:
            raise ValueError(
                f"expected --seconds for two frames at least and {_MOST_FRAMES:,} at most, found {seconds} at "
                f"{self.fps} per second"
            )
        return count

    def running(self, seconds: float | None, shortest: float) -> np.ndarray:
        """Times of a film in which the clip is shown once; by default in its own length, or ``shortest`` seconds."""
        clip = self._frames / float(self._record["scene"]["fps"])
        return np.linspace(0.0, 1.0, self.frames_of(max(clip, shortest) if seconds is None else seconds))

    # -- cameras -------------------------------------------------------------------------------------------------------

    def standing(self, name: str | None, pose_frame: int | None, seconds: float | None) -> Film:
        """One camera while time runs, with its photographs where it did stand still."""
        split, indices = self._images_of(name)
        dataset = self._dataset(split)
        cameras = dataset.cameras[torch.tensor(indices)]
        assert cameras.times is not None
        if len(torch.unique(cameras.camera_to_worlds, dim=0)) > 1:
            frames = [images_of(dataset)[index][1] for index in indices]
            if pose_frame is not None and pose_frame not in frames:
                raise ValueError(f"expected --pose-frame among {frames} of the {split} split, found {pose_frame}")
            place = 0 if pose_frame is None else frames.index(pose_frame)
            self._say(f"This camera moved; the film stands where it stood in frame {frames[place]}.")
            times = self.running(seconds, 0.0)
            return film_along(_poses(cameras[place : place + 1]).repeat(len(times), 0), cameras[place], times, self.fps)
        if pose_frame is not None:
            raise ValueError(
                f"expected --pose-frame for a camera that moved only, found {pose_frame} for one that stood still; "
                "leave it out"
            )
        if seconds is None:
            self.photographs = dataset
            return Film(cameras, self.fps, tuple(indices))
        times = np.linspace(0.0, 1.0, self.frames_of(seconds))
        nearest = np.abs(times[:, None] - cameras.times.numpy().T).argmin(axis=1)
        self.photographs = dataset
        cameras = cameras[torch.from_numpy(nearest)]
        cameras.times = torch.from_numpy(times).float()[:, None]
        return Film(cameras, self.fps, tuple(indices[number] for number in nearest))

    def interpolation(self, names: Sequence[str], times: Sequence[float] | np.ndarray) -> Film:
        """Past training cameras, those named or all."""
        if not names:
            poses = through_rig(self._rig, len(times), fixed=self._stands)
            return film_along(poses, self._lens(self._rig.poses[self._rig.central]), times, self.fps)
        dataset = self._dataset("train")
        first: dict[str, int] = {}
        for index, (camera, _) in enumerate(images_of(dataset)):
            first.setdefault(camera, index)
        unknown = [name for name in names if name not in first]
        if unknown:
            raise ValueError(f"expected training cameras among {', '.join(first)}, found {', '.join(unknown)}")
        chosen = dataset.cameras[torch.tensor([first[name] for name in names])]
        return film_along(along(_poses(chosen), len(times)), chosen[0], times, self.fps)

    def spiral(self, name: str | None, radius: float | None, turns: int, times: Sequence[float] | np.ndarray) -> Film:
        """Circles around a camera."""
        pose, lens = self._start(name)
        distance = self._rig.distance(pose)
        radius = spiral_radius(self._rig, distance) if radius is None else radius
        return film_along(spiral(pose, distance, radius, turns, len(times)), lens, times, self.fps)

    def orbit(self, name: str | None, degrees: float | None, times: Sequence[float] | np.ndarray) -> Film:
        """Around the middle of the scene."""
        pose, lens = self._start(name)
        return film_along(orbit(self._rig, pose, len(times), degrees), lens, times, self.fps)

    def path(self, file: Path, instant: float | None) -> Film:
        """A camera path of the viewer; ``instant`` holds the time."""
        path = read_camera_path(file)
        cameras, count = path.cameras, len(path.cameras)
        if instant is not None:
            cameras.times = torch.full((count, 1), instant)
        elif cameras.times is None:
            self._say("Not every entry of the camera path has a time; time runs through the clip once.")
            cameras.times = torch.linspace(0.0, 1.0, count)[:, None]
        return Film(cameras, path.fps if self._wanted_fps is None else self._wanted_fps)

    def _start(self, name: str | None) -> tuple[np.ndarray, Cameras]:
        """The pose ``[3,4]`` a move begins at, and its lens."""
        if name is None:
            pose = self._rig.poses[self._rig.central]
            return pose, self._lens(pose)
        split, indices = self._images_of(name)
        camera = self._dataset(split).cameras[indices[0] : indices[0] + 1]
        return _poses(camera)[0], camera

    def _lens(self, pose: np.ndarray) -> Cameras:
        """The training image taken from there."""
        cameras = self._dataset("train").cameras
        index = int(np.abs(_poses(cameras) - pose).sum(axis=(1, 2)).argmin())
        return cameras[index : index + 1]

    @cached_property
    def _rig(self) -> Rig:
        scene = self._record["scene"]
        default = float(np.sqrt(float(scene["near"]) * float(scene["far"])))
        return Rig.of(_poses(self._dataset("train").cameras), default)

    @property
    def _stands(self) -> bool:
        """Whether each training camera stands still."""
        cameras = self._dataset("train").cameras
        return len(self._rig.poses) <= len(torch.unique(cameras.metadata["camera_index"]))

    def _images_of(self, name: str | None) -> tuple[str, list[int]]:
        """A camera's images by their number in its split; None is the first test camera."""
        known: dict[str, list[str]] = {}
        for split in self._split_names():
            names = [camera for camera, _ in images_of(self._dataset(split))]
            wanted = names[0] if name is None else name
            if wanted in names:
                return split, [index for index, camera in enumerate(names) if camera == wanted]
            known[split] = list(dict.fromkeys(names))
        listed = "; ".join(f"{split}: {', '.join(names)}" for split, names in known.items())
        raise ValueError(f"expected a camera of the scene ({listed}), found '{name}'")

    def _split_names(self) -> list[str]:
        cameras = self._record["scene"].get("cameras", {})
        return [split for split in _SPLITS if cameras.get(split) or split == "train"]

    def _dataset(self, split: str) -> FrameDataset:
        if split not in self._datasets:
            self._datasets[split] = dataset_of(self._record, split)
        return self._datasets[split]

    def _say(self, text: str) -> None:
        self._console.print(text, style="yellow", soft_wrap=True, highlight=False)


def _poses(cameras: Cameras) -> np.ndarray:
    """``[N,3,4]``."""
    return cameras.camera_to_worlds.double().cpu().numpy()
