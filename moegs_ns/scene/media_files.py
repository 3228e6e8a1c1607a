"""Videos and images of unknown origin, opened as nothing but what a scene may hold.

FFmpeg and Pillow choose a reader by what is in a file, whatever its name: a "video" may be a list of other files or an
address to fetch, an "image" a PostScript program that Pillow gives to Ghostscript.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moegs_ns.scene.foreign_formats import other_image, other_video

if TYPE_CHECKING:
    from av.container import InputContainer
    from PIL.Image import Image

# Demuxers of the suffixes that scenes may have, by FFmpeg's names; they read one file. MPEG-TS would be as safe, but
# says neither its rate nor how many frames it has, so a cut off one looks whole: it is to be converted.
_VIDEO_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"}
_IMAGE_FORMATS = ("PNG", "JPEG")


def open_video(path: Path) -> InputContainer:
    """A container with a video file, which is to be closed. Nothing but this file is read.

    Raises:
        ValueError: a whole video of another format.
        av.error.FFmpegError: damaged, or no video known here.
    """
    import av

    # An absolute path: "http:/cam00.mp4" may be that of a file.
    try:
        return av.open(str(path.absolute()), options=dict(_VIDEO_OPTIONS))
    except (av.error.InvalidDataError, av.error.ArgumentError) as error:
        if other := other_video(path):
            raise ValueError(f"expected an MP4, MOV, MKV, WebM or AVI video at {path}, {other}") from error
        raise


def open_image(path: Path) -> Image:
    """An image, whose pixels are not read yet; it is to be closed.

    Raises:
        PIL.UnidentifiedImageError: damaged, or no image known here.
        ValueError: a whole image of another format, or so many pixels that a file of kilobytes might fill the memory.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path, formats=_IMAGE_FORMATS)
    except UnidentifiedImageError as error:
        if other := other_image(path):
            raise ValueError(f"expected a PNG or JPEG image at {path}, {other}") from error
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(f"expected an image of a camera at {path}, found far more pixels ({error})") from error
