"""Frames of a source as RGB arrays, in presentation order and exactly once each.

Decoding always starts at the first frame and counts, never seeks: seeking lands on time stamps and key frames, and
streams with B-frames, open groups of pictures or uneven time stamps then yield a neighbour of the wanted frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moegs_ns.scene.frame_sources import FrameSource, files_of
from moegs_ns.scene.media_files import open_image, open_video

if TYPE_CHECKING:
    from av import VideoFrame

# AVColorSpace (ITU-T H.273) values as the stream tags them -> the coefficients swscale shall use. Untagged streams
# are BT.601, as in ffmpeg itself and in every encoder that was given RGB and no other order.
_BT601, _BT709, _BT2020 = 5, 1, 9
_COEFFICIENTS = {1: _BT709, 2: _BT601, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: _BT2020, 10: _BT2020}
_FULL_RANGE = 2


def decoder_version() -> str:
    """Names everything that decides the decoded and resized pixels; part of a cached frame's identity."""
    import av
    import cv2

    swscale = ".".join(str(number) for number in av.library_versions["libswscale"])
    avcodec = ".".join(str(number) for number in av.library_versions["libavcodec"])
    return f"1 avcodec {avcodec} swscale {swscale} cv2 {cv2.__version__}"


def iterate_frames(
    source: FrameSource, first_frame: int, num_frames: int, background: tuple[int, int, int] | None = None
) -> Iterator[np.ndarray]:
    """Yield ``num_frames`` frames from ``first_frame`` on, each uint8 ``[H,W,3]`` RGB at the source's own size.

    Memory does not depend on the length of the clip.

    Args:
        source: a video, a folder of images, or image files.
        first_frame: counted from 0.
        num_frames: how many.
        background: RGB colour transparent images are composited on; None refuses them.

    Raises:
        FileNotFoundError: an image is gone.
        ValueError: the source ends early, is damaged, or its frames are not plain images of one size.
    """
    frames: Iterator[np.ndarray]
    if isinstance(source, tuple) or source.is_dir():
        frames = (_read_image(path, background) for path in files_of(source, first_frame, num_frames))
    else:
        frames = _video_frames(source, first_frame, num_frames)
    name = f"the folder of {source[0]}" if isinstance(source, tuple) else str(source)
    shape = None
    count = 0
    for frame in frames:
        if shape is None:
            shape = frame.shape
        if frame.shape != shape:
            raise ValueError(
                f"expected frames of {shape[1]}x{shape[0]} in {name}, found {frame.shape[1]}x{frame.shape[0]} at "
                f"frame {first_frame + count}; export the camera at one size"
            )
        yield frame
        count += 1
    if count < num_frames:
        raise ValueError(
            f"expected frames {first_frame} to {first_frame + num_frames - 1} in {name}, decoding ended after "
            f"{first_frame + count} frames; the file is damaged or truncated, copy or encode it again"
        )


def _video_frames(path: Path, first_frame: int, num_frames: int) -> Iterator[np.ndarray]:
    import av

    convert = _rgb_converter()
    try:
        with open_video(path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for index, frame in enumerate(container.decode(stream)):
                if index < first_frame:
                    continue
                if index >= first_frame + num_frames:
                    break
                if frame.is_corrupt:
                    raise ValueError(f"expected an intact frame {index} in {path}, found a damaged one; copy it again")
                yield convert(frame)
    except av.error.FFmpegError as error:
        raise ValueError(f"expected a readable video at {path}, decoding failed ({error}); copy it again") from error


def _rgb_converter() -> Callable[[VideoFrame], np.ndarray]:
    """A function from a decoded frame to uint8 ``[H,W,3]`` RGB; one converter serves one stream."""
    import av
    from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

    if not hasattr(Interpolation, "FULL_CHR_H_INP"):
        raise ImportError(
            f"expected PyAV 18 or newer, which offers swscale's accuracy flags, found {av.__version__}; run "
            "`pip install --upgrade av`"
        )
    # Without the two FULL_CHR flags swscale halves the horizontal chroma resolution; without ACCURATE_RND it rounds
    # coarsely. Together they dominate the error of converting 4:2:0 video.
    quality = (
        Interpolation.BICUBIC
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.FULL_CHR_H_INP
        | Interpolation.ACCURATE_RND
        | Interpolation.BITEXACT
    )
    reformatter = VideoReformatter()

    def convert(frame: VideoFrame) -> np.ndarray:
        if frame.format.is_rgb:
            return reformatter.reformat(frame, format="rgb24").to_ndarray()
        full_range = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
        return reformatter.reformat(
            frame,
            format="rgb24",
            src_colorspace=_COEFFICIENTS.get(int(frame.colorspace), _BT601),
            src_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=quality,
        ).to_ndarray()

    return convert


def _read_image(path: Path, background: tuple[int, int, int] | None) -> np.ndarray:
    """uint8 ``[H,W,3]`` RGB of an image file."""
    from PIL import UnidentifiedImageError

    try:
        with open_image(path) as image:
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                return _composited(np.asarray(image.convert("RGBA")), background, path)
            if image.mode not in ("RGB", "L", "P"):
                raise ValueError(f"expected 8-bit RGB or grey images, found mode {image.mode} in {path}; convert them")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # Pillow calls some broken PNG files the latter
        raise ValueError(f"expected a readable image at {path}, decoding failed ({error}); copy it again") from error


def _composited(rgba: np.ndarray, background: tuple[int, int, int] | None, path: Path) -> np.ndarray:
    """uint8 ``[H,W,3]`` of an image ``[H,W,4]`` whose colours are not multiplied with alpha."""
    if rgba[..., 3].min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    if background is None:
        raise ValueError(
            f"expected opaque images, found transparency in {path}; composite them first, or give a colour to "
            "composite them on (--background) where the data parser has that option"
        )
    alpha = rgba[..., 3:].astype(np.uint32)
    mixed = rgba[..., :3] * alpha + np.array(background, dtype=np.uint32) * (255 - alpha)
    return ((2 * mixed + 255) // 510).astype(np.uint8)  # mixed / 255, rounded to nearest
