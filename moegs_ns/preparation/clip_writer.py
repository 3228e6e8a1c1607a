"""A camera's part of the prepared scene: its own file where nothing had to be changed, else a video written anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from moegs_ns.files import written_whole
from moegs_ns.preparation.source_videos import SourceVideo
from moegs_ns.scene.decoding import iterate_frames

# What is trained on should not be compressed twice so that it shows; chroma is kept whole for the same reason, and
# because 4:2:0 knows no odd sizes.
_CONSTANT_RATE_FACTOR = "12"
_PIXEL_FORMAT = "yuv444p"
_LONGEST_DENOMINATOR = 1001  # of broadcast rates such as 30000/1001


def link_or_copy(source: Path, target: Path) -> str:
    """The same file under another name, or a copy where the file system does not link.

    Returns:
        "linked" or "copied".
    """
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
        return "linked"
    except OSError:
        with written_whole(target) as scratch:
            shutil.copyfile(source, scratch)
        return "copied"


def upright_frames(video: SourceVideo, numbers: np.ndarray) -> Iterator[np.ndarray]:
    """Frames of a video by their numbers (ascending, maybe repeated): uint8 ``[H,W,3]``, turned upright.

    Raises:
        ValueError: the video is damaged or ends early.
    """
    first, last = int(numbers[0]), int(numbers[-1])
    wanted = iter(numbers.tolist())
    next_wanted = next(wanted)
    for number, frame in enumerate(iterate_frames(video.path, first, last - first + 1), start=first):
        while next_wanted == number:
            yield np.ascontiguousarray(np.rot90(frame, video.turn // 90)) if video.turn else frame
            next_wanted = next(wanted, -1)


def write_clip(
    path: Path,
    video: SourceVideo,
    numbers: np.ndarray,
    fps: float,
    change: Callable[[np.ndarray], np.ndarray],
    on_frame: Callable[[], None],
) -> None:
    """Write some of a video's frames, changed, as an mp4 (H.264, 4:4:4) that appears only when it is complete.

    Args:
        path: file to write.
        video: where frames come from.
        numbers: int ``[T]`` of the frames, ascending.
        fps: of the clip.
        change: from an upright frame uint8 ``[H,W,3]`` to the picture to write.
        on_frame: called after each frame.

    Raises:
        ValueError: the video is damaged or ends early.
    """
    import av

    with written_whole(path) as scratch, av.open(str(scratch), "w", options={"movflags": "+faststart"}) as container:
        rate = Fraction(fps).limit_denominator(_LONGEST_DENOMINATOR)
        stream = container.add_stream("libx264", rate=rate, options={"crf": _CONSTANT_RATE_FACTOR})
        stream.pix_fmt = _PIXEL_FORMAT
        for index, frame in enumerate(upright_frames(video, numbers)):
            picture = change(frame)
            if index == 0:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            on_frame()
        container.mux(stream.encode(None))
