"""Which file is which camera, and when its frames were taken."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from moegs_ns.preparation.clip_writer import upright_frames
from moegs_ns.preparation.source_videos import find_videos, read_video
from tests.scene.make_video import encode, numbered_frame, numbered_video


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.touch()
    return paths


def test_camera_names_are_kept(tmp_path: Path) -> None:
    touch(tmp_path, "cam07.mp4", "cam00.mp4", "notes.txt")
    assert list(find_videos([tmp_path])) == ["cam00", "cam07"]


def test_other_names_become_cameras_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "GoPro 10.MP4", "GoPro 9.MP4", "left.mov")
    found = find_videos([tmp_path])
    assert {name: path.name for name, path in found.items()} == {
        "cam00": "GoPro 9.MP4",
        "cam01": "GoPro 10.MP4",
        "cam02": "left.mov",
    }


def test_names_that_would_sort_wrongly_are_replaced(tmp_path: Path) -> None:
    touch(tmp_path, "cam10.mp4", "cam9.mp4")
    assert [path.name for path in find_videos([tmp_path]).values()] == ["cam9.mp4", "cam10.mp4"]
    assert list(find_videos([tmp_path])) == ["cam00", "cam01"]


def test_inputs_that_are_no_videos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected videos .* found none"):
        find_videos([tmp_path])
    with pytest.raises(FileNotFoundError, match="no such file"):
        find_videos([tmp_path / "cam00.mp4"])
    (image,) = touch(tmp_path, "cam00.png")
    with pytest.raises(ValueError, match="expected videos"):
        find_videos([image])
    (video,) = touch(tmp_path, "cam00.mp4")
    with pytest.raises(ValueError, match="given twice"):
        find_videos([tmp_path, video])


def test_times_are_those_of_presentation(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "cam00.mp4", 5, fps=25, b_frames=2, pts=[0, 1, 2, 5, 6])
    video = read_video("cam00", path)
    np.testing.assert_allclose(video.times, np.array([0, 1, 2, 5, 6]) / 25)
    assert (video.width, video.height, video.num_frames, video.turn) == (64, 48, 5, 0)
    assert video.fps == pytest.approx(25)
    assert not video.is_even
    assert read_video("cam01", numbered_video(tmp_path / "cam01.mp4", 5, fps=25)).is_even


def test_one_frame_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least two frames"):
        read_video("cam00", numbered_video(tmp_path / "cam00.mp4", 1))


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_videos_that_a_phone_marked_as_turned_stand_upright(tmp_path: Path, turn: int) -> None:
    image = numbered_frame(5)
    image[:, :8] = (255, 0, 0)
    plain = encode(tmp_path / "plain.mp4", [image] * 3, codec_options={"crf": "4"}, pixel_format="yuv444p")
    turned = tmp_path / "turned.mp4"
    mark = ["-display_rotation", str(turn), "-i", str(plain), "-c", "copy", str(turned)]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *mark], check=True)
    video = read_video("cam00", turned)
    assert video.turn == turn
    assert (video.width, video.height) == ((64, 48) if turn == 180 else (48, 64))
    shown = [next(upright_frames(one, np.array([1]))) for one in (read_video("cam00", plain), video)]
    np.testing.assert_array_equal(shown[1], np.rot90(shown[0], turn // 90))  # counter-clockwise, as ffmpeg turns it
