"""What is said of whole files of formats that scenes may not have."""

from pathlib import Path

import pytest

from moegs_ns.scene.foreign_formats import other_image, other_video
from moegs_ns.scene.media_files import open_video
from tests.scene.make_video import numbered_video

VIDEOS = {
    "MPEG-TS": (b"\x47" + bytes(187)) * 4,
    "MPEG-TS with times": (bytes(4) + b"\x47" + bytes(187)) * 4,
    "raw H.264": b"\x00\x00\x00\x01\x67\x64",
    "raw H.265": b"\x00\x00\x00\x01\x40\x01",
    "FLV": b"FLV\x01\x05",
    "MPEG-PS": b"\x00\x00\x01\xba\x44",
}
IMAGES = {
    "WebP": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
    "BMP": b"BM\x10\x00\x00\x00\x00\x00\x00\x00",
    "TIFF": b"II*\x00\x08",
    "AVIF": b"\x00\x00\x00\x1cftypavif",
}
DAMAGED = {
    "empty": b"",
    "text": b"BM is what this text begins with",
    "zeros": bytes(999),
    "half a start": b"\x00\x00\x01",
}


@pytest.mark.parametrize("kind", VIDEOS)
def test_a_video_of_another_format_is_to_be_converted(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "cam 1.mp4"
    file.write_bytes(VIDEOS[kind])
    said = other_video(file)
    assert said is not None and kind.removesuffix(" with times") in said and "-i 'cam 1.mp4' " in said
    with pytest.raises(ValueError, match="found what seems to be"):
        open_video(file)


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_of_another_format_is_to_be_converted(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "0000.jpg"
    file.write_bytes(IMAGES[kind])
    said = other_image(file)
    assert said is not None and kind in said and said.endswith(" 0000.png`)")


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_of_no_format(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert other_video(tmp_path / "file") is None and other_image(tmp_path / "file") is None


def test_a_video_that_is_read_is_of_no_other_format(tmp_path: Path) -> None:
    assert other_video(numbered_video(tmp_path / "cam00.mp4", 2)) is None
