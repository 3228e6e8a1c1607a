"""Motion statistics and track errors against cases worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from moegs_ns.reporting.motion import (
    Motion,
    TrackError,
    motion_statistics,
    read_tracks,
    statistics_table,
    track_error,
    track_table,
)  # fmt: skip


def straight(frames: int, velocities: list[float], opacity: float = 1.0) -> Motion:
    """Gaussians that move along x, one unit apart in y."""
    x = np.arange(frames)[:, None] * np.asarray(velocities)
    y = np.broadcast_to(np.arange(len(velocities)), x.shape)
    return Motion(np.stack([x, y, 0 * x], axis=-1), np.full(x.shape, opacity), extent=10.0)


def test_ways_speeds_and_straightness() -> None:
    motion = straight(5, [0.0, 0.5])
    found = motion_statistics(motion)
    assert (found.moving, found.lifetime, found.straightness) == (0.5, 1.0, 1.0)
    assert found.path == pytest.approx(np.percentile([0.0, 2.0], (50, 90, 99)))
    assert found.speed == pytest.approx(0.5)


def test_there_and_back_is_not_straight() -> None:
    motion = straight(5, [0.5])
    motion.positions[:, 0, 0] = [0, 1, 2, 1, 0.4]
    assert motion_statistics(motion).straightness == pytest.approx(0.4 / 3.6)


def test_drift_while_transparent_does_not_count() -> None:
    motion = straight(6, [1.0, 0.0])
    motion.opacities[2:, 0] = 0.0
    found = motion_statistics(motion)
    assert found.path == pytest.approx(np.percentile([0.0, 1.0], (50, 90, 99)))
    assert found.lifetime == pytest.approx((2 / 6 + 1) / 2)


def test_nothing_visible_is_refused() -> None:
    with pytest.raises(ValueError, match="a visible Gaussian, found 3 and 0"):
        motion_statistics(straight(3, [1.0], opacity=0.05))


def test_track_error_of_followers_and_of_what_stands_still() -> None:
    tracks = straight(6, [0.2, 0.2]).positions
    follower = track_error(straight(6, [0.2, 0.2]), tracks, step=2)
    assert follower == TrackError(followed=1.0, error=pytest.approx(0.0), motion=pytest.approx(0.4))
    # Gaussian 0 stands still where track 0 begins: near enough (0.15) at frame 0 only; Gaussian 1 follows.
    half = track_error(straight(6, [0.0, 0.2]), tracks, step=2)
    assert half.followed == pytest.approx((1 + 4) / 8)
    assert half.error == pytest.approx(0.4 / 5) and half.motion == pytest.approx(0.4)


def test_a_gaussian_that_vanishes_on_the_way_follows_nothing() -> None:
    motion = straight(4, [0.2])
    motion.opacities[3] = 0.0
    found = track_error(motion, straight(4, [0.2]).positions, step=1)
    assert found.followed == pytest.approx(2 / 3)
    motion.opacities[:] = 0.0
    nothing = track_error(motion, straight(4, [0.2]).positions, step=1)
    assert nothing.followed == 0 and np.isnan(nothing.error)


@pytest.mark.parametrize(("frames", "step", "words"), [(3, 1, "tracks of 4 frames"), (4, 4, "a step of 1 to 3")])
def test_tracks_that_do_not_fit_are_refused(frames: int, step: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        track_error(straight(4, [0.2]), straight(frames, [0.2]).positions, step)


def test_tracks_of_the_sample_scene(sample_scene: Path, tmp_path: Path) -> None:
    tracks = read_tracks(sample_scene)
    assert tracks is not None and set(tracks) == {"rotor", "ball", "cloth"}
    assert all(one.shape[0] == 24 and one.shape[2] == 3 for one in tracks.values())
    assert read_tracks(tmp_path) is None


def test_tables_have_a_row_per_expert() -> None:
    motion, tracks = straight(5, [0.0, 0.5]), straight(5, [0.1, 0.5]).positions
    table = statistics_table("motion", {"stg": motion_statistics(motion)})
    assert table.rows[0][:3] == ["stg", "50.0 %", "100 %"] and len(table.rows[0]) == len(table.header)
    errors = track_table("tracks", {"stg": {("ball", 1): track_error(motion, tracks, 1)}})
    assert errors.header == ["", "ball, 1 frame"] and errors.rows[0][0] == "stg"
