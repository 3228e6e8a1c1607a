"""The keyframes' clock and the growing window."""

import numpy as np
import pytest

from moegs_ns.experts.keyframes import GrowingWindow, KeyframeClock


@pytest.mark.parametrize("num_frames", [1, 2, 10, 24, 150, 300])
@pytest.mark.parametrize(("interval", "padding"), [(10, 2), (3, 1), (2, 2), (5, 0)])
def test_every_frame_has_the_keyframes_its_curve_needs(num_frames: int, interval: int, padding: int) -> None:
    clock = KeyframeClock(num_frames, interval, padding)
    frames = clock.keyframes().numpy()
    assert len(frames) == clock.count
    for frame in np.linspace(0, num_frames - 1, 7):
        position = clock.position(frame)
        assert 1 <= position <= clock.count - 2
        assert np.interp(position, np.arange(clock.count), frames) == pytest.approx(frame)
    # And not one keyframe more than the last frame needs.
    assert int(clock.position(num_frames - 1)) + 2 == clock.count - 1


def test_project_time_becomes_frames() -> None:
    clock = KeyframeClock(24, 10, 2)
    assert (clock.frame(0.0), clock.frame(1.0), clock.frame(0.5)) == (0, 23, 11.5)


def test_the_published_window() -> None:
    """Neural 3D Video: ten frames at first, ten more every 400 steps from 800 on, all 300 after 12 000."""
    window = GrowingWindow(last_frame=299, first_end=10, growth=10, interval=400, start=500)
    steps = [0, 400, 500, 799, 800, 1199, 1200, 11999, 12000, 40000]
    assert [window.end(step) for step in steps] == [10, 10, 10, 10, 20, 20, 30, 290, 299, 299]
    growths = [step for step in range(40000) if window.grows_at(step)]
    assert growths == list(range(800, 12001, 400))


def test_other_windows() -> None:
    assert GrowingWindow(299, 10, 10, interval=0, start=500).end(0) == 299
    assert GrowingWindow(4, 10, 10, interval=400, start=500).end(0) == 4
    assert GrowingWindow(0, 10, 10, interval=400, start=500).end(10) == 1
    late = GrowingWindow(99, 5, 5, interval=100, start=250)
    assert [step for step in range(600) if late.grows_at(step)] == [300, 400, 500]
