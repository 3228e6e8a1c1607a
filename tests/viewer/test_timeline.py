"""The frame slider sets exact frame times, and a clip plays at the rate asked for."""

import time
from itertools import pairwise

import pytest

from moegs_ns.viewer.timeline import Timeline
from tests.viewer.fake_viewer import FakeGui, fake_running


def connected(num_frames: int, fps: float = 30.0) -> tuple[Timeline, FakeGui]:
    running, gui, _ = fake_running()
    timeline = Timeline(num_frames, fps)
    timeline.install(running)
    return timeline, gui


def test_every_frame_of_a_long_clip_has_its_time() -> None:
    timeline, gui = connected(150)
    for frame in range(150):
        gui.elements["Frame"].value = frame
        assert timeline._running.control_panel.time == pytest.approx(frame / 149)


def test_stepping_wraps_around() -> None:
    _, gui = connected(3)
    shown = []
    for button in ("Next frame", "Next frame", "Next frame", "Previous frame"):
        gui.elements[button].press()
        shown.append(gui.elements["Frame"].value)
    assert shown == [1, 2, 0, 2]


def test_stepping_starts_where_the_time_slider_was_left() -> None:
    timeline, gui = connected(11)
    timeline._running.control_panel.time = 0.52
    gui.elements["Next frame"].press()
    assert gui.elements["Frame"].value == 6


def test_playing_runs_through_the_frames_in_time_and_over_again() -> None:
    _, gui = connected(4)
    frames = []
    gui.elements["Frame"].on_update(lambda _: frames.append((time.monotonic(), gui.elements["Frame"].value)))
    gui.elements["Frames/s"].value = 20
    start = time.monotonic()
    gui.elements["Play clip"].press()
    gui.elements["Play clip"].press()  # once is enough
    assert not gui.elements["Play clip"].visible and gui.elements["Pause clip"].visible
    time.sleep(0.6)
    gui.elements["Pause clip"].press()
    assert gui.elements["Play clip"].visible and not gui.elements["Pause clip"].visible
    count = len(frames)
    assert {frame for _, frame in frames} == {0, 1, 2, 3}
    passed = sum((after - before) % 4 for (_, before), (_, after) in pairwise(frames))
    assert passed <= 20 * (frames[-1][0] - start) + 1  # fewer where a busy machine made it late by whole rounds
    time.sleep(0.2)
    assert len(frames) <= count + 1


def test_nobody_watching_ends_the_play() -> None:
    timeline, gui = connected(4)
    timeline._running.server.get_clients = dict
    gui.elements["Frames/s"].value = 60
    gui.elements["Play clip"].press()
    timeline._player.join(5)
    assert not timeline.playing and gui.elements["Frame"].value == 0


@pytest.mark.parametrize(("recorded", "offered"), [(29.97, 30), (0.2, 1), (240.0, 60)])
def test_the_recorded_rate_is_offered_first(recorded: float, offered: int) -> None:
    assert connected(5, recorded)[1].elements["Frames/s"].value == offered
