"""The videos a scene is prepared from: which file is which camera, and when each of its frames was taken.

Headers may lie and phones record at uneven rates, so times are those at which frames are presented, read from the
packets without decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moegs_ns.scene.frame_sources import VIDEO_SUFFIXES, natural_order, probe
from moegs_ns.scene.media_files import open_video

_TURNS = (0, 90, 180, 270)
# Two times this close, in shares of a frame, are of one frame rate.
_UNEVEN = 0.25


@dataclass(frozen=True)
class SourceVideo:
    """One camera's recording, as it lies on disk."""

    name: str
    """Of the camera in the prepared scene: ``cam00``."""
    path: Path
    width: int
    """Pixels of the upright picture, after `turn`."""
    height: int
    times: np.ndarray
    """float64 ``[N]``: seconds from the first frame at which each is presented, ascending."""
    turn: int = 0
    """Degrees, counter-clockwise, by which decoded frames have to be turned to stand upright: what phones write
    into the file instead of turning the picture."""

    @property
    def num_frames(self) -> int:
        return len(self.times)

    @property
    def fps(self) -> float:
        """Frames per second: by the straight line through the times where they are even, else by the median time
        between frames, which lost ones do not change."""
        if self.is_even:
            return 1.0 / float(np.polyfit(np.arange(self.num_frames), self.times, 1)[0])
        return 1.0 / float(np.median(np.diff(self.times)))

    @property
    def is_even(self) -> bool:
        """Whether frame i was taken at i / fps throughout, to a quarter of a frame."""
        step = self.times[-1] / (self.num_frames - 1)
        return bool(np.abs(self.times - np.arange(self.num_frames) * step).max() < _UNEVEN * step)


def find_videos(inputs: Sequence[Path]) -> dict[str, Path]:
    """Camera name -> file, of videos named one by one and of all videos in folders.

    Videos that are all called ``cam`` + digits keep their names; others become cam00, cam01, ... in the order of their
    names, in which numbers count as numbers.

    Raises:
        FileNotFoundError: an input does not exist, or a folder holds no video.
        ValueError: an input is no video, or one is named twice.
    """
    files: list[Path] = []
    for given in inputs:
        path = given.expanduser()
        if path.is_dir():
            inside = [entry for entry in path.iterdir() if entry.is_file() and entry.suffix.lower() in VIDEO_SUFFIXES]
            if not inside:
                raise FileNotFoundError(
                    f"expected videos ({', '.join(VIDEO_SUFFIXES)}) in {path}, found none; check the path"
                )
            files += inside
        elif path.suffix.lower() not in VIDEO_SUFFIXES:
            raise ValueError(f"expected videos ({', '.join(VIDEO_SUFFIXES)}) or folders of them, found {path}")
        elif not path.is_file():
            raise FileNotFoundError(f"expected a video at {path}, found no such file")
        else:
            files.append(path)
    if len({file.resolve() for file in files}) != len(files):
        raise ValueError("expected every video once, found some that are given twice; name the folder or its files")
    files.sort(key=lambda file: natural_order(file.name))
    names = [file.stem for file in files]
    if not _usable_as_they_are(names):
        digits = max(2, len(str(len(files) - 1)))
        names = [f"cam{number:0{digits}d}" for number in range(len(files))]
    return dict(zip(names, files, strict=True))


def _usable_as_they_are(names: list[str]) -> bool:
    """Whether these are camera names whose alphabetical order, that of rows in poses_bounds.npy, is theirs."""
    return (
        all(name[:3] == "cam" and name[3:].isdigit() for name in names)
        and names == sorted(names)
        and len(set(names)) == len(names)
    )


def read_video(name: str, path: Path) -> SourceVideo:
    """Look into a video: size, times of its frames, how it is turned. Decodes one frame.

    Raises:
        ValueError: not a readable video, truncated, of a single frame, or with times that do not ascend.
    """
    info = probe(path)
    with open_video(path) as container:
        stream = container.streams.video[0]
        first = next(container.decode(stream), None)
        turn = 0 if first is None else round(first.rotation) % 360
    with open_video(path) as container:
        stream = container.streams.video[0]
        stamps = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
        unit = stream.time_base
    if turn not in _TURNS:
        raise ValueError(f"expected a video turned by a multiple of 90 degrees, found {turn} in {path}; encode it anew")
    if len(stamps) < 2:
        raise ValueError(f"expected a video of at least two frames at {path}, found {len(stamps)}")
    if unit is None or any(stamp is None for stamp in stamps):
        raise ValueError(f"expected a time for each frame of {path}, found frames without; encode it anew")
    ticks = np.sort(np.array(stamps, dtype=np.int64))
    if (np.diff(ticks) <= 0).any():
        raise ValueError(f"expected times that ascend in {path}, found frames of one time; encode it anew")
    width, height = (info.width, info.height) if turn in (0, 180) else (info.height, info.width)
    return SourceVideo(name, path, width, height, (ticks - ticks[0]) * float(unit), turn)
