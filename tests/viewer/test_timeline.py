"""The frame slider sets exact frame times."""

from types import SimpleNamespace

import pytest

from moegs_ns.viewer.timeline import Timeline


def connected(num_frames: int) -> tuple[Timeline, SimpleNamespace]:
    timeline = Timeline(num_frames)
    panel = SimpleNamespace(time=0.0)
    timeline.control.viewer = SimpleNamespace(control_panel=panel)  # type: ignore[attr-defined]
    return timeline, panel


def test_every_frame_of_a_long_clip_has_its_time() -> None:
    timeline, panel = connected(150)
    for frame in range(150):
        timeline._show(SimpleNamespace(value=frame))
        assert panel.time == pytest.approx(frame / 149)


def test_stepping_wraps_around() -> None:
    timeline, panel = connected(3)
    shown = []
    timeline.slider = SimpleNamespace()  # type: ignore[assignment]
    for by in (1, 1, 1, -1):
        timeline._step(by)
        shown.append(timeline.slider.value)
        panel.time = timeline.time_of(timeline.slider.value)
    assert shown == [1, 2, 0, 2]


def test_a_still_has_no_timeline() -> None:
    assert Timeline(1).elements() == {}
    assert set(Timeline(2).elements()) == {"viewer_control", "frame_slider", "previous_frame", "next_frame"}
