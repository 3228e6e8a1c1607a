"""Colours and sharpness of views that show one texture far away, so that equal pixels show equal things."""

from dataclasses import replace

import cv2
import numpy as np

from moegs_ns.checking.colours import check_colours, gains
from moegs_ns.checking.matching import Pair
from moegs_ns.checking.result import Verdict
from moegs_ns.checking.sharpness import check_sharpness
from moegs_ns.checking.views import View
from tests.checking.rigs import HEIGHT, INTRINSICS, WIDTH


def texture() -> np.ndarray:
    random = np.random.default_rng(0)
    noise = random.normal(0, 60, (HEIGHT, WIDTH, 3)).astype(np.float32)
    return (128 + noise / 4 + 3 * cv2.GaussianBlur(noise, (0, 0), 2.0)).clip(30, 160).astype(np.uint8)


def views_side_by_side(pictures: list[np.ndarray]) -> tuple[list[View], list[Pair]]:
    """Cameras in a row, all looking ahead: what is far away has the same pixel in all."""
    views = []
    for index, picture in enumerate(pictures):
        viewmat = np.eye(4)
        viewmat[0, 3] = -index
        views.append(View(f"cam{index:02d}", index, viewmat, INTRINSICS, {0: picture}))
    pixels = np.random.default_rng(1).uniform(20, 220, (100, 2))
    frames = np.zeros(100, dtype=np.int64)
    ends = [(one, other) for one in range(len(views)) for other in range(one + 1, len(views))]
    return views, [Pair(one, other, pixels, pixels, frames, frames, 100) for one, other in ends]


def test_gains_are_measured() -> None:
    picture = texture()
    warm = (picture * np.array([1.4, 1.0, 0.6])).clip(0, 255).astype(np.uint8)
    views, pairs = views_side_by_side([picture, picture, warm, picture])
    found = gains(views, pairs)
    np.testing.assert_allclose(found[2], [1.4, 1.0, 0.6], rtol=0.02)
    np.testing.assert_allclose(found[[0, 1, 3]], 1, rtol=0.01)
    result = check_colours(views, pairs)
    assert (result.verdict, result.cameras) == (Verdict.DOUBTFUL, ("cam02",))
    assert "blue x0.60" in result.sentence and "camera-gains" in result.sentence
    mild = [picture, (picture * 0.8).astype(np.uint8), picture]
    assert check_colours(*views_side_by_side(mild)).verdict == Verdict.FINE


def test_a_soft_view_is_named_whatever_it_shows() -> None:
    picture = texture()
    soft = cv2.resize(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), (WIDTH, HEIGHT))
    result = check_sharpness(*views_side_by_side([picture, soft, picture, picture]))
    assert (result.verdict, result.cameras) == (Verdict.DOUBTFUL, ("cam01",))
    assert check_sharpness(*views_side_by_side([picture] * 3)).verdict == Verdict.FINE


def test_matches_that_do_not_fit_the_poses_do_not_count() -> None:
    picture = texture()
    views, pairs = views_side_by_side([picture, (picture * 0.5).astype(np.uint8)])
    away = [replace(pair, pixels_other=pair.pixels_other + np.array([0, 30])) for pair in pairs]
    assert check_colours(views, away).skipped and check_sharpness(views, away).skipped
