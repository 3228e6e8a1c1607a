"""Starts of cameras from curves of motion, of which the truth is known."""

from pathlib import Path

import numpy as np
import pytest

from moegs_ns.preparation.source_videos import SourceVideo, read_video
from moegs_ns.preparation.start_times import estimate_starts, motion_curve
from tests.scene.make_video import encode, numbered_frame


def activity(times: np.ndarray) -> np.ndarray:
    """How much goes on: bursts at uneven distances."""
    return sum(np.exp(-(((times - at) / 0.15) ** 2)) for at in (0.8, 1.7, 1.9, 3.1, 4.4, 4.6))


def filmed(name: str, start: float, fps: float = 30.0, seed: int = 0) -> tuple[SourceVideo, np.ndarray]:
    times = np.arange(int(5 * fps)) / fps
    video = SourceVideo(name, Path(f"{name}.mp4"), 64, 48, times)
    middles = (times[1:] + times[:-1]) / 2 + start
    noise = np.random.default_rng(seed).uniform(0, 0.1, len(middles))
    return video, (3 + seed) * (activity(middles) + noise) / fps  # each camera sees it at another size


def test_starts_are_found_to_a_frame() -> None:
    truth = {"cam00": 0.0, "cam01": 0.1, "cam02": 0.35, "cam03": 0.0}
    made = [filmed(name, start, seed=index) for index, (name, start) in enumerate(truth.items())]
    found = estimate_starts([video for video, _ in made], {video.name: curve for video, curve in made})
    assert found.seconds == pytest.approx(truth, abs=1.01 / 30)
    assert found.correlation > 0.5


def test_cameras_of_other_rates_compare() -> None:
    made = [filmed("cam00", 0.2, 30, seed=0), filmed("cam01", 0.0, 50, seed=1)]
    found = estimate_starts([video for video, _ in made], {video.name: curve for video, curve in made})
    assert found.seconds == pytest.approx({"cam00": 0.2, "cam01": 0.0}, abs=1.1 / 30)


def test_motion_that_tells_nothing_is_refused() -> None:
    made = [filmed("cam00", 0.0), filmed("cam01", 0.0)]
    curves = {"cam00": made[0][1], "cam01": np.random.default_rng(3).uniform(0, 1, len(made[1][1]))}
    with pytest.raises(ValueError, match="found none that tells when cam0[01] started .* give start times"):
        estimate_starts([video for video, _ in made], curves)


def test_a_curve_is_high_where_frames_change(tmp_path: Path) -> None:
    images = [numbered_frame(number) for number in (0, 0, 0, 15, 15)]
    curve = motion_curve(read_video("cam00", encode(tmp_path / "cam00.mp4", images)))
    assert curve.argmax() == 2
    assert curve[2] > 10 * curve[[0, 1, 3]].max()
