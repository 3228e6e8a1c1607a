"""A camera's frames on disk: one video file, one folder of images, or image files one by one.

Finds the cameras of a scene folder, and tells size, number of frames and rate of a source without decoding it.
Data parsers call this at every start, so it imports PyAV and Pillow only when a file is looked into, and no torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from moegs_ns.scene.media_files import open_image, open_video

FrameSource = Path | tuple[Path, ...]
"""A video file, a folder of images in the order of their names, or image files in the order given."""

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

_CAMERA_NAME = re.compile(r"cam[_-]?\d+", re.IGNORECASE)
_HASHED_BYTES = 1 << 16


@dataclass(frozen=True)
class SourceInfo:
    """What a source holds, before any decoding."""

    width: int
    height: int
    num_frames: int
    fps: float | None
    """Frames per second; None for image folders, which do not say."""


def find_cameras(scene: Path) -> dict[str, Path]:
    """Cameras of an N3V-layout folder: name -> video file or image folder, in sorted order of the names.

    A camera is called ``cam`` + digits and is ``camNN.mp4`` (or another video suffix), ``camNN/images/*`` or
    ``camNN/*`` with png or jpg images. Where both a video and a folder exist the video counts: folders are often
    left behind by other tools, at other resolutions.

    Raises:
        FileNotFoundError: the folder or any camera in it is missing.
        ValueError: two videos of one camera, an empty camera folder, or names whose order is ambiguous.
    """
    if not scene.is_dir():
        raise FileNotFoundError(f"expected a scene folder at {scene}, found none; check --data")
    found: dict[str, Path] = {}
    folders: dict[str, Path] = {}
    for entry in sorted(scene.iterdir()):
        if entry.is_symlink() and _CAMERA_NAME.fullmatch(entry.stem) and not entry.exists():
            raise FileNotFoundError(
                f"expected a video or a folder behind the link {entry}, found nothing; mend the link"
            )
        is_video = entry.is_file() and entry.suffix.lower() in VIDEO_SUFFIXES
        name = entry.stem if is_video else entry.name
        if not _CAMERA_NAME.fullmatch(name):
            continue
        if is_video:
            if name in found:
                raise ValueError(
                    f"expected one video per camera, found {found[name].name} and {entry.name} in {scene}; "
                    "remove one of them"
                )
            found[name] = entry
        elif entry.is_dir():
            folders[name] = entry
    for name, folder in folders.items():
        if name in found:
            continue
        images = folder / "images" if (folder / "images").is_dir() else folder
        if not list_images(images):
            raise ValueError(
                f"expected images ({', '.join(IMAGE_SUFFIXES)}) in {folder} or {folder / 'images'}, found none; "
                f"add them, or put the video {name}.mp4 into {scene}"
            )
        found[name] = images
    if not found:
        raise FileNotFoundError(
            f"expected cam00.mp4, cam01.mp4, ... or cam00/images/*.png, ... in {scene}, found no camera; check --data"
        )
    names = sorted(found)
    if names != sorted(names, key=natural_order):
        raise ValueError(
            f"expected camera names that sort like their numbers, found {', '.join(names)} in {scene}; rows of "
            "poses_bounds.npy follow the sorted names, so pad the numbers with zeros (cam02, cam10)"
        )
    return {name: found[name] for name in names}


def list_images(folder: Path) -> list[Path]:
    """Images of a folder in frame order (numbers in names compare as numbers)."""
    images = [entry for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
    return sorted(images, key=lambda path: natural_order(path.name))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file, from its header.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected an image at {path}, found no such file; copy it again")
    stat = path.stat()
    return _image_size(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1 << 16)
def _image_size(path: Path, size: int, mtime_ns: int) -> tuple[int, int]:
    """`image_size` remembered for as long as the file does not change."""
    del size, mtime_ns
    from PIL import UnidentifiedImageError

    try:
        with open_image(path) as image:
            return image.size
    except UnidentifiedImageError as error:
        raise ValueError(f"expected an image at {path}, found something else; copy it again") from error


def probe(source: Path) -> SourceInfo:
    """Size, exact number of frames and rate of a source.

    The frames of a video are counted over its packets, which are read but not decoded; the header alone may lie.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: not a readable video, a truncated one, or a folder without images.
    """
    if not source.exists():
        raise FileNotFoundError(f"expected a video or a folder of images at {source}, found nothing")
    stat = source.stat()
    return _probe(source, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _probe(source: Path, size: int, mtime_ns: int) -> SourceInfo:
    """`probe` remembered for as long as the file does not change: a scene is parsed once per split."""
    del size, mtime_ns
    return _probe_images(source) if source.is_dir() else _probe_video(source)


def _probe_images(folder: Path) -> SourceInfo:
    images = list_images(folder)
    if not images:
        raise ValueError(f"expected images ({', '.join(IMAGE_SUFFIXES)}) in {folder}, found none")
    width, height = image_size(images[0])
    return SourceInfo(width=width, height=height, num_frames=len(images), fps=None)


def _probe_video(path: Path) -> SourceInfo:
    import av

    try:
        with open_video(path) as container:
            if not container.streams.video:
                raise ValueError(f"expected a video stream in {path}, found none; replace the file")
            stream = container.streams.video[0]
            announced = stream.frames  # 0 where the container does not say
            total = shown = 0
            for packet in container.demux(stream):
                if packet.size:
                    total += 1
                    shown += not packet.is_discard  # an edit list hides frames that decoding will not return either
            context = stream.codec_context
            info = SourceInfo(
                width=context.width,
                height=context.height,
                num_frames=shown,
                fps=float(stream.average_rate) if stream.average_rate else None,
            )
    except av.error.FFmpegError as error:
        raise ValueError(
            f"expected a readable video at {path}, found a damaged or unfinished file ({error}); copy it again"
        ) from error
    if announced > total:
        raise ValueError(
            f"expected {announced} frames in {path} as its header announces, found {total}: the file is truncated; "
            "copy it again"
        )
    if info.num_frames == 0 or info.width == 0:
        raise ValueError(f"expected a video with frames at {path}, found {info.num_frames}; replace the file")
    return info


def files_of(source: FrameSource, first_frame: int, num_frames: int) -> list[Path]:
    """The files that hold the frames ``[first_frame, first_frame + num_frames)``: the video, or so many images.

    Raises:
        FileNotFoundError: one of them is gone.
    """
    if isinstance(source, tuple):
        files = list(source[first_frame : first_frame + num_frames])
    elif source.is_dir():
        files = list_images(source)[first_frame : first_frame + num_frames]
    else:
        files = [source]
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"expected a video, a folder of images or an image at {path}, found nothing")
    return files


def label_of(source: FrameSource) -> str:
    """A short name for messages and cache entries: of the video, the camera's folder, or the first image."""
    if isinstance(source, tuple):
        return source[0].stem
    return source.parent.name if source.name == "images" else source.stem


def fingerprint(source: FrameSource, first_frame: int, num_frames: int) -> list[list[str | int]]:
    """Identity of the frames ``[first_frame, first_frame + num_frames)``: changes whenever their files change.

    One row per file: path, size, modification time in ns; and a hash of the head and tail of the first and last
    file, because copying tools may keep the time stamp of a file of equal size.
    """
    files = files_of(source, first_frame, num_frames)
    rows: list[list[str | int]] = []
    for index, path in enumerate(files):
        stat = path.stat()
        digest = _head_and_tail(path, stat.st_size) if index in (0, len(files) - 1) else ""
        rows.append([str(path.absolute()), stat.st_size, stat.st_mtime_ns, digest])
    return rows


def files_digest(sources: Sequence[FrameSource], first_frame: int, num_frames: int) -> str:
    """Short digest of what the frames' files hold: sizes, and heads and tails as `fingerprint` hashes them. Copies
    elsewhere have the same."""
    return digest_of_rows(row for source in sources for row in fingerprint(source, first_frame, num_frames))


def digest_of_rows(rows: Iterable[Sequence[str | int]]) -> str:
    """Short digest of what rows of `fingerprint` say, apart from where and when."""
    contents = [[row[1], row[3]] for row in rows]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:16]


def _head_and_tail(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(_HASHED_BYTES))
        file.seek(max(0, size - _HASHED_BYTES))
        digest.update(file.read(_HASHED_BYTES))
    return digest.hexdigest()


def natural_order(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that compares runs of digits as numbers."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]
