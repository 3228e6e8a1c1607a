"""Which view is blamed when one pose is wrong, and when poses are in another order, over known cameras and points."""

import numpy as np
import pytest

from moegs_ns.checking.epipolar import check_epipolar, pair_errors
from moegs_ns.checking.order import assign, check_order, with_order
from moegs_ns.checking.poses import check_poses
from moegs_ns.checking.result import Verdict
from moegs_ns.checking.tracks import agreement, link
from tests.checking.rigs import make_pairs, make_views, reordered, turned

VIEWS = make_views(9)
PAIRS = make_pairs(VIEWS)


def test_a_sound_rig_is_fine() -> None:
    tracks = link(VIEWS, PAIRS)
    assert tracks.seen.shape == (9, 150) and tracks.seen.all()  # each point is one track through all views
    found = agreement(tracks)
    assert (found.points == 150).all()
    assert (found.errors < 0.6).all() and (found.errors > 0.05).all()  # the noise of 0.2 pixels
    for result in (
        check_poses(VIEWS, tracks, True),
        check_epipolar(VIEWS, pair_errors(VIEWS, PAIRS)),
        check_order(VIEWS, assign(VIEWS, PAIRS)),
    ):
        assert (result.verdict, result.cameras) == (Verdict.FINE, ())


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
@pytest.mark.parametrize("camera", [0, 4])
def test_a_turned_camera_is_blamed_alone(camera: int, axis: tuple[float, float, float]) -> None:
    views = turned(VIEWS, camera, axis)
    result = check_poses(views, link(views, PAIRS), True)
    assert result.verdict > Verdict.FINE and result.cameras == (VIEWS[camera].name,)
    assert f"{VIEWS[camera].name} (" in result.sentence
    # Not a matter of order.
    assert check_order(views, assign(views, PAIRS)).verdict == Verdict.FINE


def test_two_turned_cameras_are_blamed_and_no_other() -> None:
    views = turned(turned(VIEWS, 2, (1, 0, 0)), 6, (0, 1, 0), -2.0)
    assert set(check_poses(views, link(views, PAIRS), True).cameras) == {"cam02", "cam06"}


def test_epipolar_lines_tell_a_tilted_camera() -> None:
    views = turned(VIEWS, 4, (1, 0, 0))
    result = check_epipolar(views, pair_errors(views, PAIRS))
    assert (result.verdict, result.cameras) == (Verdict.UNUSABLE, ("cam04",))
    off = [pair for pair in result.numbers["pairs"] if pair["error_share_of_diagonal"] > 0.003]
    assert all("cam04" in pair["views"] for pair in off) and len(off) >= 4


def test_a_few_degrees_in_a_thousand_are_fine() -> None:
    views = turned(VIEWS, 4, (1, 0, 0), 0.02)
    assert check_poses(views, link(views, PAIRS), True).verdict == Verdict.FINE


def test_swapped_views_are_named() -> None:
    order = np.arange(9)
    order[[3, 7]] = order[[7, 3]]
    views = reordered(VIEWS, order)
    found = assign(views, PAIRS)
    result = check_order(views, found)
    assert (result.verdict, result.cameras) == (Verdict.UNUSABLE, ("cam03", "cam07"))
    assert "cam03 and cam07 are swapped" in result.sentence
    mended = with_order(views, found)
    assert check_poses(mended, link(mended, PAIRS), True).verdict == Verdict.FINE


@pytest.mark.parametrize(
    "order", [np.arange(9)[::-1], np.roll(np.arange(9), 1), np.random.default_rng(3).permutation(9)]
)
def test_any_order_is_recovered(order: np.ndarray) -> None:
    views = reordered(VIEWS, order)
    found = assign(views, PAIRS)
    assert found.misfit < 0.01 < found.misfit_as_given
    np.testing.assert_array_equal(order[list(found.poses)], np.arange(9))
    result = check_order(views, found)
    assert len(result.cameras) == (order != np.arange(9)).sum() and "another order" in result.sentence


def test_without_matches_nothing_is_said() -> None:
    result = check_poses(VIEWS, link(VIEWS, []), True)
    assert result.verdict == Verdict.DOUBTFUL and "cannot be said" in result.sentence
    assert assign(VIEWS, []).moved == []
