"""Whole files of formats that scenes may not have, told from damaged ones by their first bytes.

Nothing but these bytes is read, so that saying what a file is opens no more than reading it does.
"""

from __future__ import annotations

import shlex
from pathlib import Path

_START = 1024
# MPEG-TS: packets of 188 bytes that start with "G", in cameras' files behind four bytes of time.
_TS_SYNC, _TS_PACKETS = 0x47, ((0, 188), (4, 192))
_H264_STARTS, _H265_STARTS = (7, 9), (32, 35)  # types of the unit at the start: parameters or a delimiter

_VIDEO_STARTS = {
    b"FLV\x01": "an FLV video",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "a WMV video",
    b"OggS": "an Ogg video",
    b"DKIF": "an IVF video",
    b"YUV4MPEG2": "a Y4M video",
    b"\x06\x0e\x2b\x34": "an MXF video",
    b"\x00\x00\x01\xba": "an MPEG-PS video",
    b"\x00\x00\x01\xb3": "a raw MPEG video",
    b"GIF8": "a GIF",
}
_COPIED = ("an MPEG-TS video", "an FLV video")  # whose frames mostly fit into an MP4 as they are
_IMAGE_STARTS = {
    b"GIF8": ("a GIF", "gif"),
    b"II*\x00": ("a TIFF", "tif"),
    b"MM\x00*": ("a TIFF", "tif"),
    b"\x76\x2f\x31\x01": ("an OpenEXR image", "exr"),
    b"\x00\x00\x00\x0cjP  ": ("a JPEG 2000 image", "jp2"),
}
_IMAGE_BRANDS = {b"avif": ("an AVIF image", "avif"), b"heic": ("an HEIC image", "heic"), b"mif1": ("a HEIF", "heif")}


def other_video(path: Path) -> str | None:
    """What to say of a whole video of a format that is not read: what it seems to be and how to convert it."""
    start = _first_bytes(path)
    kind = next((name for magic, name in _VIDEO_STARTS.items() if start.startswith(magic)), None)
    if kind is None and any(_is_transport_stream(start, *packets) for packets in _TS_PACKETS):
        kind = "an MPEG-TS video"
    if kind is None:
        kind = _raw_video(start)
    if kind is None:
        return None
    rate = "-framerate <its rate> " if " raw " in kind else ""  # such a file does not say it
    how = "-c copy" if kind in _COPIED else "-crf 12"
    command = f"ffmpeg {rate}-i {shlex.quote(path.name)} {how} {shlex.quote(f'{path.stem}-converted.mp4')}"
    return f"found what seems to be {kind}; convert it (`{command}`) and put that in its place"


def other_image(path: Path) -> str | None:
    """What to say of a whole image of a format that is not read: what it seems to be and how to convert it."""
    start = _first_bytes(path)
    found = next((kind for magic, kind in _IMAGE_STARTS.items() if start.startswith(magic)), None)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        found = ("a WebP image", "webp")
    elif start[:2] == b"BM" and start[6:10] == bytes(4):
        found = ("a BMP", "bmp")
    elif start[4:8] == b"ftyp":
        found = _IMAGE_BRANDS.get(start[8:12])
    if found is None:
        return None
    kind, suffix = found
    named, made = shlex.quote(f"{path.stem}.{suffix}"), shlex.quote(f"{path.stem}.png")
    return f"found what seems to be {kind}; rename it to {named} and convert it (`ffmpeg -i {named} {made}`)"


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_START)


def _is_transport_stream(start: bytes, first: int, length: int) -> bool:
    places = range(first, len(start), length)
    return len(places) >= 3 and all(start[place] == _TS_SYNC for place in places)


def _raw_video(start: bytes) -> str | None:
    """Of the units of a raw H.264 or H.265 stream."""
    for code in (b"\x00\x00\x00\x01", b"\x00\x00\x01"):
        if start.startswith(code) and len(start) > len(code):
            unit = start[len(code)]
            if unit < 0x80 and unit & 31 in _H264_STARTS:
                return "a raw H.264 video"
            if unit >> 1 in _H265_STARTS:
                return "a raw H.265 video"
    return None
