"""Motion statistics and track errors against cases worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from moegs_ns.reporting.motion import (
    Motion,
    TrackError,
    errors_from_plain,
    motion_statistics,
    motion_summary,
    read_tracks,
    statistics_from_plain,
    track_error,
    track_errors,
)  # fmt: skip
from moegs_ns.reporting.motion_tables import statistics_table, track_table


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


def test_coherence_compares_steps_with_the_neighbours() -> None:
    assert motion_statistics(straight(4, [0.5] * 5)).coherence == pytest.approx(1.0)
    # Of three, each is compared with the mean of the others: of 0.375 + 0.5 twice and of 0.5 + 0.25.
    wanted = 1 - (0.125 + 0.125 + 0.25) / (0.875 + 0.875 + 0.75)
    assert motion_statistics(straight(4, [0.5, 0.5, 0.25])).coherence == pytest.approx(wanted)
    # Against the mean of an equal and an opposite one, which is no step; or against its opposite.
    assert motion_statistics(straight(4, [0.5, 0.5, -0.5])).coherence == pytest.approx(0.0)
    # Twice as fast as the only neighbour: 1 - 0.5 / 1.5.
    assert motion_statistics(straight(4, [0.5, 1.0])).coherence == pytest.approx(2 / 3)
    assert np.isnan(motion_statistics(straight(4, [0.5, 0.0])).coherence)  # the other one stands still


def test_coherence_of_gaussians_in_one_place_counts_the_others_only() -> None:
    count = 12  # more than there are neighbours
    motion = straight(3, [0.5] * count)
    motion.positions[..., 1] = 0.0
    assert motion_statistics(motion).coherence == pytest.approx(1.0)


def test_turning_is_the_angle_between_steps_in_a_row() -> None:
    angles = np.radians(np.arange(8) * 30.0)
    circle = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=-1)[:, None]
    assert motion_statistics(Motion(circle, np.ones((8, 1)), extent=1.0)).turning == pytest.approx(30.0)
    assert motion_statistics(straight(4, [0.5])).turning == pytest.approx(0.0)
    corner = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [2, 2, 0]], float)[:, None]
    found = motion_statistics(Motion(corner, np.ones((4, 1)), extent=1.0))
    assert found.turning == pytest.approx((90 * 3 + 0 * 2) / 5)  # by lengths of 2 + 1 and 1 + 1
    blinking = Motion(circle, np.tile([1.0, 1.0, 0.0, 1.0], 2)[:, None], extent=1.0)
    assert motion_statistics(blinking).turning == pytest.approx(30.0)  # of frames 3, 4 and 5 alone


def test_errors_over_as_many_frames_as_there_are() -> None:
    motion = straight(5, [0.2, 0.2])
    assert set(track_errors(motion, {"ball": motion.positions})) == {("ball", 1), ("ball", 4)}
    assert track_errors(motion, {"ball": motion.positions[:4]}) == {}


def test_a_summary_is_plain_data_and_comes_back_as_it_was() -> None:
    motion = straight(5, [0.0, 0.5])
    far = motion.positions + 100.0
    summary = motion_summary(motion, {"ball": motion.positions, "far": far})
    assert json.loads(json.dumps(summary, allow_nan=False)) == json.loads(json.dumps(summary))
    again = json.loads(json.dumps(summary))
    assert repr(statistics_from_plain(again["statistics"])) == repr(
        motion_statistics(motion)
    )  # NaN differs from itself
    points = statistics_from_plain(again["points"])
    assert points.moving == pytest.approx(0.5) and points.path == pytest.approx(np.percentile([0, 2] * 2, (50, 90, 99)))
    errors = errors_from_plain(again)
    assert errors["ball", 4] == track_error(motion, motion.positions, 4)
    assert errors["far", 1].followed == 0 and np.isnan(errors["far", 1].error)
    without = motion_summary(motion, None)
    assert without["tracks"] is None and without["points"] is None and errors_from_plain(without) == {}


def test_tables_have_a_row_per_expert_and_means_over_seeds() -> None:
    motion, tracks = straight(5, [0.0, 0.5]), straight(5, [0.1, 0.5]).positions
    table = statistics_table("motion", {"stg": [motion_statistics(motion)]})
    assert table.rows[0][:3] == ["stg", "50.0 %", "100 %"] and len(table.rows[0]) == len(table.header)
    assert table.rows[0][-2:] == ["n/a", "0"]
    seeds = [motion_statistics(straight(5, [0.5])), motion_statistics(straight(5, [1.0]))]
    assert statistics_table("motion", {"stg": seeds}).rows[0][3] == "3.000 ± 1.414"
    one, other = (track_errors(straight(5, speeds), {"ball": tracks}) for speeds in ([0.0, 0.5], [0.1, 0.5]))
    errors = track_table("tracks", {"stg": [one], "ed3dgs": [other]})
    assert errors.header == ["", "ball"]
    assert [row[0] for row in errors.rows] == ["stg, 1 frame", "ed3dgs, 1 frame", "stg, 4 frames", "ed3dgs, 4 frames"]
    assert errors.rows[1][1] == "0.000 / 0.300 (100 %)"
