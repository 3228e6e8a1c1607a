"""H.264 videos that every browser plays."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

_CONSTANT_RATE_FACTOR = "17"  # visually lossless; the pictures are to be compared
_LONGEST_DENOMINATOR = 1001  # of broadcast rates such as 30000/1001


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> Path:
    """Write an mp4 (H.264, yuv420p, playable while it loads).

    Args:
        path: file to write, ``.mp4``; appears only when complete.
        frames: uint8 ``[H,W,3]`` RGB, all of one size. An odd last row or column is repeated: 4:2:0 needs even sizes.
        fps: frames per second.

    Raises:
        ValueError: no frame, frames that are no such images, or of different sizes.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("expected at least one frame to write a video of, found none")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    try:
        with av.open(str(scratch), "w", options={"movflags": "+faststart"}) as container:
            rate = Fraction(fps).limit_denominator(_LONGEST_DENOMINATOR)
            stream = container.add_stream("libx264", rate=rate, options={"crf": _CONSTANT_RATE_FACTOR})
            height, width = first.shape[0] + first.shape[0] % 2, first.shape[1] + first.shape[1] % 2
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for frame in _checked(chain([first], frames), first.shape):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(_even(frame), format="rgb24")))
            container.mux(stream.encode(None))
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return path


def _checked(frames: Iterable[np.ndarray], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    for frame in frames:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or frame.shape != shape:
            raise ValueError(
                f"expected uint8 frames [H,W,3] of one size {shape}, found {frame.dtype} {tuple(frame.shape)}"
            )
        yield frame


def _even(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.ascontiguousarray(np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))


def read_video(path: Path) -> Iterator[np.ndarray]:
    """The frames of a video, uint8 ``[H,W,3]`` RGB, one in memory at a time."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")
