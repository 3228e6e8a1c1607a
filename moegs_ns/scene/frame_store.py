"""Decoded frames of many cameras: decoded once into the user cache, then read through memory maps.

RAM stays bounded however long the clip is: decoding holds one frame, reading holds a bounded number of open maps, and
their touched pages are given back to the kernel (whose page cache keeps them as long as memory is free).
"""

from __future__ import annotations

import mmap
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from moegs_ns.scene.frame_cache import (
    CacheEntry,
    CameraFrames,
    cache_entry,
    check_disk_space,
    decode_into,
    frame_cache_dir,
)
from moegs_ns.scene.frame_sources import label_of

RESIDENT_BYTES = 128 << 20
# Whoever reads a page has Linux map 64 KiB around it as well, and the rest of the pieces that its cache keeps these in.
_FAULT_WINDOW = 256 << 10


class FrameStore:
    """Frames of several cameras by (camera, frame).

    A camera is decoded when it is first asked for, or with others by `prepare`. Views stay valid for as long as they
    are referenced. Safe to use from several threads, after a fork, and pickled into another process.

    Args:
        cameras: which frames of which sources; the position in this list is the camera's index.
        root: cache folder; default ``user_cache_dir() / "frames"``.
        max_open_cameras: memory maps (and file descriptors) kept at a time; least recently used ones are closed.
        max_resident_bytes: of frames in this process's memory; before more are, all pages are given back to the
            kernel. A single frame may be larger.
    """

    def __init__(
        self,
        cameras: Sequence[CameraFrames],
        root: Path | None = None,
        max_open_cameras: int = 64,
        max_resident_bytes: int = RESIDENT_BYTES,
    ) -> None:
        if max_open_cameras < 1:
            raise ValueError(f"expected max_open_cameras >= 1, found {max_open_cameras}")
        self.cameras = tuple(cameras)
        self._root = root
        self._max_open_cameras = max_open_cameras
        self._max_resident_bytes = max_resident_bytes
        self._entries: dict[int, CacheEntry] = {}
        self._forget_maps()

    def _forget_maps(self) -> None:
        self._maps: OrderedDict[int, tuple[mmap.mmap, np.ndarray]] = OrderedDict()
        self._touched_bytes = 0
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for key in ("_maps", "_touched_bytes", "_lock"):
            del state[key]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_maps()

    def __len__(self) -> int:
        return len(self.cameras)

    def frame(self, camera_index: int, frame_index: int) -> np.ndarray:
        """Read-only view uint8 ``[H,W,3]`` RGB of a frame; ``frame_index`` counts from the camera's first frame.

        Raises:
            IndexError: no such camera or frame.
            ValueError, FileNotFoundError, OSError: the camera had to be decoded first and could not be.
        """
        if not 0 <= camera_index < len(self.cameras):
            raise IndexError(f"expected a camera index in [0, {len(self.cameras)}), found {camera_index}")
        frames = self.cameras[camera_index]
        if not 0 <= frame_index < frames.num_frames:
            raise IndexError(f"expected a frame index in [0, {frames.num_frames}), found {frame_index}")
        with self._lock:
            frame = self._map(camera_index)[frame_index]
            self._give_pages_back(_touched_bytes(frame))
            return frame

    def prepare(self, camera_indices: Sequence[int] | None = None) -> list[int]:
        """Decode these cameras (default: all) unless they already are, with a progress bar.

        Returns the cameras this call decoded itself; the others were complete or were decoded by another process.
        """
        wanted = range(len(self.cameras)) if camera_indices is None else camera_indices
        root = self._root or frame_cache_dir()
        entries = {index: self._entry(index) for index in wanted}
        missing = {index: entry for index, entry in entries.items() if not entry.is_complete}
        if not missing:
            return []
        check_disk_space(list(missing.values()), root)
        decoded = []
        # Its own console: rich allows one live display per console, and callers may have a progress bar of their own.
        with Progress(
            TextColumn("Decoding {task.fields[camera]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("frames"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        ) as progress:
            total = sum(entry.frames.num_frames for entry in missing.values())
            task = progress.add_task("decode", total=total, camera="")
            done = 0
            for index, entry in missing.items():
                name = label_of(entry.frames.source)
                progress.update(task, camera=name)
                if decode_into(
                    entry,
                    on_frame=partial(progress.advance, task),
                    on_wait=partial(progress.update, task, camera=f"{name} (waiting for another process)"),
                ):
                    decoded.append(index)
                done += entry.frames.num_frames
                progress.update(task, completed=done)
        return decoded

    def _entry(self, camera_index: int) -> CacheEntry:
        # Looked up once per process: a source that changes under a running training does not change its images.
        if camera_index not in self._entries:
            self._entries[camera_index] = cache_entry(self.cameras[camera_index], self._root or frame_cache_dir())
        return self._entries[camera_index]

    def _map(self, camera_index: int) -> np.ndarray:
        """uint8 ``[num_frames,H,W,3]`` over the cached file."""
        if camera_index in self._maps:
            self._maps.move_to_end(camera_index)
            return self._maps[camera_index][1]
        entry = self._entry(camera_index)
        for attempt in range(2):
            self.prepare([camera_index])
            try:
                with entry.path.open("rb") as file:
                    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                break
            except FileNotFoundError:  # the cache was cleared between the check and the opening
                if attempt == 1:
                    raise
        images = np.frombuffer(mapped, dtype=np.uint8).reshape(entry.frames.shape)
        while len(self._maps) >= self._max_open_cameras:
            self._maps.popitem(last=False)  # unmapped when its last view goes
        self._maps[camera_index] = (mapped, images)
        return images

    def _give_pages_back(self, frame_bytes: int) -> None:
        """Keep the resident size of this process flat; views stay valid, their pages fault in again.

        Args:
            frame_bytes: what reading the frame that is handed out now will make resident.
        """
        self._touched_bytes += frame_bytes
        if self._touched_bytes <= self._max_resident_bytes or not hasattr(mmap, "MADV_DONTNEED"):
            return
        self._touched_bytes = frame_bytes
        for mapped, _ in self._maps.values():
            mapped.madvise(mmap.MADV_DONTNEED)


def _touched_bytes(frame: np.ndarray) -> int:
    """Bytes that may become resident when a frame is read, by `_FAULT_WINDOW`: of small pictures many times their own
    size."""
    start = frame.__array_interface__["data"][0]
    return (-(-(start + frame.nbytes) // _FAULT_WINDOW) - start // _FAULT_WINDOW) * _FAULT_WINDOW
