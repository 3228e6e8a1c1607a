"""One camera's decoded frames as one file in the user cache.

An entry ``frames/<camera>-<W>x<H>-<hash>/`` holds ``frames.rgb24`` (uint8 ``[num_frames,H,W,3]``, C order, no header)
and ``complete.json``, which is written last: an entry without it is unfinished and is decoded again. The hash covers
the source files, the frame range, the size, what is done to the images and the decoder, so a changed source is a new
entry. A file lock beside the folder makes a second process wait for the first and then use its frames.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from moegs_ns.files import require_room, write_json, written_whole
from moegs_ns.paths import user_cache_dir
from moegs_ns.scene.decoding import decoder_version, iterate_frames
from moegs_ns.scene.frame_sources import FrameSource, fingerprint, label_of
from moegs_ns.scene.lens import STRAIGHTENING_VERSION, Lens, straightened

_FRAMES_FILE = "frames.rgb24"
_MARKER_FILE = "complete.json"


@dataclass(frozen=True)
class CameraFrames:
    """Which frames of one source, at which size, and what is done to them on the way."""

    source: FrameSource
    """Video file, image folder, or image files."""
    first_frame: int
    """Of the source; of image files given one by one as a rule 0."""
    num_frames: int
    width: int
    height: int
    lenses: tuple[Lens, ...] = ()
    """What each frame was taken through, in pixels of the frame on disk: its distortion is taken out. Empty where no
    frame has any."""
    background: tuple[int, int, int] | None = None
    """RGB colour transparent images are composited on; None refuses them."""

    def __post_init__(self) -> None:
        if self.lenses and len(self.lenses) != self.num_frames:
            raise ValueError(f"expected a lens for each of {self.num_frames} frames, found {len(self.lenses)}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(num_frames, H, W, 3)``"""
        return self.num_frames, self.height, self.width, 3

    @property
    def num_bytes(self) -> int:
        return self.num_frames * self.height * self.width * 3


@dataclass(frozen=True)
class CacheEntry:
    """Place of one camera's decoded frames; may not exist yet."""

    frames: CameraFrames
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / _FRAMES_FILE

    @property
    def is_complete(self) -> bool:
        try:
            return (self.folder / _MARKER_FILE).is_file() and self.path.stat().st_size == self.frames.num_bytes
        except FileNotFoundError:
            return False

    def lock(self) -> filelock.FileLock:
        """Lies beside the folder, so that deleting the folder never deletes a lock somebody holds."""
        return filelock.FileLock(self.folder.with_name(self.folder.name + ".lock"))


def frame_cache_dir() -> Path:
    """Folder of all entries, created when missing."""
    folder = user_cache_dir() / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_entry(frames: CameraFrames, root: Path) -> CacheEntry:
    """Entry for the source as it is now on disk.

    Raises:
        FileNotFoundError: the source is gone.
    """
    identity: dict[str, Any] = {
        "files": fingerprint(frames.source, frames.first_frame, frames.num_frames),
        "first_frame": frames.first_frame,
        "shape": frames.shape,
        "decoder": decoder_version(),
    }
    # Only where they are something: what was decoded without them stays valid.
    if frames.lenses:
        identity["lenses"] = [asdict(lens) for lens in frames.lenses]
        identity["straightening"] = STRAIGHTENING_VERSION
    if frames.background is not None:
        identity["background"] = frames.background
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]
    return CacheEntry(frames, root / f"{label_of(frames.source)}-{frames.width}x{frames.height}-{digest}")


def decode_into(entry: CacheEntry, on_frame: Callable[[], None], on_wait: Callable[[], None]) -> bool:
    """Make the entry complete. Returns whether this call decoded it (False: somebody else had, or just did).

    Args:
        on_frame: called after each frame written.
        on_wait: called once if another process is at work on this camera.

    Raises:
        ValueError: the source cannot be decoded (see `iterate_frames`).
        OSError: the disk is full.
    """
    if entry.is_complete:
        return False
    lock = entry.lock()
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        on_wait()
        lock.acquire()
    try:
        if entry.is_complete:
            return False
        _decode(entry, on_frame)
        return True
    finally:
        lock.release()


def training_frames(frames: CameraFrames) -> Iterator[np.ndarray]:
    """Frames as they are trained on, each uint8 ``[H,W,3]`` RGB, decoded one by one and kept nowhere.

    Raises:
        FileNotFoundError, ValueError: the source cannot be decoded (see `iterate_frames`).
    """
    images = iterate_frames(frames.source, frames.first_frame, frames.num_frames, frames.background)
    for index, image in enumerate(images):
        if frames.lenses:
            image = straightened(image, frames.lenses[index])
        yield _resize(image, frames.width, frames.height)


def _decode(entry: CacheEntry, on_frame: Callable[[], None]) -> None:
    frames = entry.frames
    entry.folder.mkdir(parents=True, exist_ok=True)
    (entry.folder / _MARKER_FILE).unlink(missing_ok=True)
    # Durable: the marker must never outlive the frames it vouches for.
    with written_whole(entry.path, durable=True) as scratch, scratch.open("wb") as file:
        for image in training_frames(frames):
            file.write(image.data)
            on_frame()
    source = frames.source[0] if isinstance(frames.source, tuple) else frames.source
    marker = {"shape": frames.shape, "first_frame": frames.first_frame, "source": str(source)}
    write_json(entry.folder / _MARKER_FILE, marker)


def _resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Area averaging: every source pixel counts by the part of it that a target pixel covers."""
    if image.shape[:2] != (height, width):
        import cv2

        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image)


def check_disk_space(entries: list[CacheEntry], root: Path) -> None:
    """Raises OSError when the given entries, still to be decoded, do not fit on the cache's disk."""
    require_room(
        root,
        sum(entry.frames.num_bytes for entry in entries),
        f"the decoded frames of {len(entries)} cameras",
        "set MOEGS_CACHE_DIR to a larger disk, use fewer frames (--num-frames) or a larger --downscale, or empty the "
        "cache with moegs_ns.scene.frame_cache.clear_frame_cache()",
    )


def clear_frame_cache() -> int:
    """Delete all decoded frames except cameras being decoded right now. Returns the number of bytes freed.

    Frames come back by decoding when they are next needed. A process that has frames open keeps seeing them.
    """
    freed = 0
    root = frame_cache_dir()
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        lock = filelock.FileLock(folder.with_name(folder.name + ".lock"))
        try:
            with lock.acquire(timeout=0):
                freed += sum(path.stat().st_size for path in folder.iterdir())
                shutil.rmtree(folder)
        except filelock.Timeout:
            continue
    return freed
