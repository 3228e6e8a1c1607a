"""Frames of the same instants, of cameras with other rates and starts."""

from pathlib import Path

import numpy as np
import pytest

from moegs_ns.preparation.source_videos import SourceVideo
from moegs_ns.preparation.timing import align


def video(name: str, frames: int, fps: float, jitter: float = 0.0) -> SourceVideo:
    times = np.arange(frames) / fps + jitter * np.random.default_rng(0).uniform(-1, 1, frames)
    return SourceVideo(name, Path(f"{name}.mp4"), 64, 48, times - times[0])


def test_equal_videos_are_taken_frame_by_frame() -> None:
    videos = [video("cam00", 10, 30), video("cam01", 10, 30, jitter=0.002)]
    clip = align(videos, {})
    assert (clip.num_frames, clip.worst) == (10, 0.0)
    assert clip.fps == pytest.approx(30, rel=0.1)
    assert all(clip.is_whole(one) for one in videos)


def test_the_shortest_ends_the_clip() -> None:
    videos = [video("cam00", 10, 30), video("cam01", 8, 30)]
    clip = align(videos, {})
    assert clip.num_frames == 8
    assert [clip.is_whole(one) for one in videos] == [False, True]


def test_a_camera_that_started_later_shows_later_instants() -> None:
    clip = align([video("cam00", 30, 30), video("cam01", 30, 30)], {"cam01": 0.1})
    assert clip.num_frames == 27
    np.testing.assert_array_equal(clip.frames["cam00"], np.arange(3, 30))
    np.testing.assert_array_equal(clip.frames["cam01"], np.arange(27))
    assert clip.worst == pytest.approx(0, abs=1e-9)


def test_the_slowest_rate_is_everyones() -> None:
    clip = align([video("cam00", 60, 60), video("cam01", 25, 25)], {})
    assert clip.fps == pytest.approx(25)
    np.testing.assert_array_equal(clip.frames["cam01"], np.arange(25))
    assert np.abs(clip.frames["cam00"] / 60 - np.arange(25) / 25).max() <= 0.5 / 60 + 1e-9
    assert clip.worst <= 0.5 / 60 + 1e-9


def test_a_rate_can_be_chosen() -> None:
    clip = align([video("cam00", 60, 60), video("cam01", 60, 60)], {}, fps=20)
    np.testing.assert_array_equal(clip.frames["cam00"][:4], [0, 3, 6, 9])


def test_lost_frames_do_not_shift_the_rest() -> None:
    whole = video("cam00", 30, 30)
    kept = np.delete(np.arange(30), [10, 11])
    lossy = SourceVideo("cam01", Path("cam01.mp4"), 64, 48, kept / 30)
    clip = align([whole, lossy], {})
    assert clip.num_frames == 30
    np.testing.assert_array_equal(kept[clip.frames["cam01"]][12:], np.arange(12, 30))


def test_a_part_of_the_clip() -> None:
    clip = align([video("cam00", 10, 30), video("cam01", 10, 30)], {}, first_frame=4, num_frames=3)
    np.testing.assert_array_equal(clip.frames["cam01"], [4, 5, 6])


def test_what_cannot_be_is_refused() -> None:
    videos = [video("cam00", 10, 30), video("cam01", 10, 30)]
    with pytest.raises(ValueError, match="expected start times of cam00, cam01, found cam02"):
        align(videos, {"cam02": 1.0})
    with pytest.raises(ValueError, match="that all cameras show, found 0 shared"):
        align(videos, {"cam01": 5.0})
    with pytest.raises(ValueError, match="8 to 11, that all cameras show"):
        align(videos, {}, first_frame=8, num_frames=4)
    with pytest.raises(ValueError, match="--fps above 0"):
        align(videos, {}, fps=0)
