"""Videos, read back with the decoder the frame store uses and checked against what was written."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from moegs_ns.exporting.video import write_video


def moving_gradient(count: int, height: int, width: int) -> list[np.ndarray]:
    x, y = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 200, height))
    return [np.stack([x, y, np.full_like(x, 20.0 * number)], axis=-1).astype(np.uint8) for number in range(count)]


def read(path: Path) -> tuple[av.VideoStream, list[np.ndarray]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream, [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


def test_frames_come_back_in_order_and_nearly_as_they_were(tmp_path: Path) -> None:
    frames = moving_gradient(7, 64, 96)
    path = write_video(tmp_path / "new" / "clip.mp4", iter(frames), 29.97)
    stream, decoded = read(path)
    assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    assert float(stream.average_rate) == pytest.approx(29.97, abs=0.001)
    assert len(decoded) == 7
    for frame, back in zip(frames, decoded, strict=True):
        assert np.abs(frame.astype(int) - back).mean() < 3.0
    assert [path.name for path in path.parent.iterdir()] == ["clip.mp4"]


def test_odd_sizes_are_made_even_by_repeating_the_border(tmp_path: Path) -> None:
    frames = moving_gradient(2, 63, 95)
    _, decoded = read(write_video(tmp_path / "clip.mp4", frames, 30))
    assert decoded[0].shape == (64, 96, 3)
    assert np.abs(decoded[0][:63, :95].astype(int) - frames[0]).mean() < 3.0
    assert np.abs(decoded[0][63].astype(int) - decoded[0][62]).mean() < 3.0


def test_the_index_comes_first_so_that_browsers_play_while_loading(tmp_path: Path) -> None:
    content = write_video(tmp_path / "clip.mp4", moving_gradient(3, 32, 32), 30).read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_colours_are_bt709_and_say_so(tmp_path: Path) -> None:
    """Patches of strong colours come back only by the coefficients they were made with."""
    rng = np.random.default_rng(0)
    patches = np.kron(rng.integers(0, 256, (4, 6, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    path = write_video(tmp_path / "clip.mp4", [patches] * 3, 30, quality=1)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        frame = next(container.decode(stream))
        inside = (slice(4, None, 16), slice(4, None, 16))

        def error(colorspace: Colorspace) -> float:
            back = frame.reformat(format="rgb24", src_colorspace=colorspace).to_ndarray()
            return float(np.abs(back[inside].astype(int) - patches[inside]).max())

        assert error(Colorspace.ITU709) <= 6 < error(Colorspace.ITU601)


def test_the_quality_decides_the_size(tmp_path: Path) -> None:
    noise = [np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8) for number in range(3)]
    good, poor = (write_video(tmp_path / f"{crf}.mp4", noise, 30, crf).stat().st_size for crf in (10, 40))
    assert poor < good / 2


@pytest.mark.parametrize("size", [(64, 96), (63, 95), (1, 1)])
def test_lossless_videos_give_back_every_bit(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = [np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8) for number in range(5)]
    stream, decoded = read(write_video(tmp_path / "clip.mkv", frames, 24))
    assert (stream.codec_context.name, float(stream.average_rate)) == ("ffv1", 24.0)
    np.testing.assert_array_equal(decoded, frames)


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\*\.mp4 .* or \*\.mkv .*found clip\.gif"):
        write_video(tmp_path / "clip.gif", moving_gradient(2, 32, 32), 30)
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_the_old_video_and_no_scraps(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", moving_gradient(3, 32, 32), 30)
    before = path.read_bytes()

    def broken() -> Iterator[np.ndarray]:
        yield from moving_gradient(2, 32, 32)
        yield np.zeros((16, 16, 3), np.uint8)

    with pytest.raises(ValueError, match=r"of one size \(32, 32, 3\), found uint8 \(16, 16, 3\)"):
        write_video(path, broken(), 30)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame"),
        ([np.zeros((4, 4, 3), np.float32)], "float32"),
        ([np.zeros((4, 4), np.uint8)], "uint8"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path: Path, frames: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "clip.mp4", frames, 30)
