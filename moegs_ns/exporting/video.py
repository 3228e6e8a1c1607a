"""Videos: H.264 that every browser plays, or FFV1 without any loss."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from moegs_ns.files import written_whole
from moegs_ns.scene.media_files import open_video

QUALITY = 17  # H.264's constant rate factor: visually lossless; the pictures are to be compared
_LONGEST_DENOMINATOR = 1001  # of broadcast rates such as 30000/1001


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float, quality: int = QUALITY) -> Path:
    """Write a video, in the format its name asks for.

    ``.mp4`` is H.264, yuv420p, and playable while it loads. Its colours are BT.709 and say so: players guess where
    nothing is said, and guess differently. ``.mkv`` is FFV1 and gives back every frame as it was.

    Args:
        path: file to write, ``.mp4`` or ``.mkv``; appears only when complete.
        frames: uint8 ``[H,W,3]`` RGB, all of one size. In an mp4 an odd last row or column is repeated: 4:2:0 needs
            even sizes.
        fps: frames per second.
        quality: constant rate factor of H.264, 0 (best) to 51.

    Raises:
        ValueError: another kind of file, no frame, frames that are no such images, or of different sizes.
    """
    check_video_name(path)
    add_stream = _FORMATS[path.suffix]
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("expected at least one frame to write a video of, found none")
    options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    with written_whole(path) as scratch, av.open(str(scratch), "w", options=options) as container:
        rate = Fraction(fps).limit_denominator(_LONGEST_DENOMINATOR)
        stream, to_frame = add_stream(container, rate, first.shape[0], first.shape[1], quality)
        for frame in _checked(chain([first], frames), first.shape):
            container.mux(stream.encode(to_frame(frame)))
        container.mux(stream.encode(None))
    return path


def check_video_name(path: Path) -> None:
    """Raises ValueError where `write_video` knows no format for the name."""
    if path.suffix not in _FORMATS:
        raise ValueError(
            f"expected a video called *.mp4 (H.264) or *.mkv (FFV1, lossless), found {path.name}; or write PNG files"
        )


_ToFrame = Callable[[np.ndarray], av.VideoFrame]


def _h264(container: Any, rate: Fraction, height: int, width: int, quality: int) -> tuple[Any, _ToFrame]:
    stream = container.add_stream("libx264", rate=rate, options={"crf": str(quality)})
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    stream.codec_context.colorspace = Colorspace.ITU709
    stream.codec_context.color_primaries = ColorPrimaries.BT709
    stream.codec_context.color_trc = ColorTrc.BT709
    stream.codec_context.color_range = ColorRange.MPEG

    def to_frame(image: np.ndarray) -> av.VideoFrame:
        frame = av.VideoFrame.from_ndarray(_even(image), format="rgb24")
        return frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)

    return stream, to_frame


def _ffv1(container: Any, rate: Fraction, height: int, width: int, quality: int) -> tuple[Any, _ToFrame]:
    del quality  # there is one: all of it
    stream = container.add_stream("ffv1", rate=rate)
    stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"  # RGB, not YUV
    return stream, lambda image: av.VideoFrame.from_ndarray(image, format="rgb24")


_FORMATS = {".mp4": _h264, ".mkv": _ffv1}


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
    with open_video(path) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")
