"""Bytes over frames come back, and what stands still takes no space."""

import dataclasses
import zlib

import numpy as np
import pytest

from moegs_ns.exporting.frame_tracks import read_track, write_track


def noise(frames: int, gaussians: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, gaussians, width), dtype=np.uint8)


@pytest.mark.parametrize(("frames", "gaussians", "width"), [(1, 5, 16), (4, 9, 8), (3, 64, 16), (2, 0, 16)])
def test_tracks_come_back(frames: int, gaussians: int, width: int) -> None:
    values = noise(frames, gaussians, width)
    assert np.array_equal(read_track(write_track(values)), values)


def test_what_stands_still_is_kept_once() -> None:
    values = np.repeat(noise(1, 1000, 16), 30, axis=0)
    still = write_track(values)
    assert still.changing == 0
    assert len(still.data) < 1.02 * values[0].size + 200
    values[7:, 10:20, 4] += 1
    few = write_track(values)
    assert few.changing == 10
    assert len(few.data) < len(still.data) + 200
    assert np.array_equal(read_track(few), values)


def test_layout_is_what_the_player_reads() -> None:
    values = np.array([[[1, 2], [3, 4], [5, 6]], [[1, 2], [2, 4], [5, 9]]], np.uint8)
    track = write_track(values)
    assert zlib.decompress(track.data) == bytes([0b110, 1, 3, 5, 2, 4, 6, 255, 0, 0, 3])


def test_damage_is_told() -> None:
    track = write_track(noise(2, 3, 16))
    with pytest.raises(ValueError, match="expected a track of"):
        read_track(dataclasses.replace(track, gaussians=4))
    with pytest.raises(ValueError, match="at least one frame"):
        write_track(noise(0, 3, 16))
