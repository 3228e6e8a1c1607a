"""Pictures as large as the time allows."""

import pytest

from moegs_ns.viewer.resolution import RenderPace, picture_size


def paced(fixed: float, per_pixel: float, small: int = 10_000, full: int | None = 200_000) -> RenderPace:
    pace = RenderPace()
    for _ in range(5):
        pace.note(small, fixed + per_pixel * small, full=False)
        if full is not None:
            pace.note(full, fixed + per_pixel * full, full=True)
    return pace


def test_costs_are_learnt_from_two_sizes() -> None:
    pace = paced(0.01, 1e-6)
    fixed, per_pixel = pace.costs()
    assert fixed == pytest.approx(0.01) and per_pixel == pytest.approx(1e-6)
    assert pace.pixels_within(0.04, 0) == pytest.approx(30_000)
    assert pace.seconds(full=True) == pytest.approx(0.21)


def test_an_outlier_does_not_shrink_the_picture() -> None:
    pace = paced(0.01, 1e-6)
    pace.note(10_000, 3.0, full=False)
    assert pace.pixels_within(0.04, 0) == pytest.approx(30_000)


def test_pictures_stay_large_where_gaussians_alone_take_too_long() -> None:
    """A rule of rays per second would end at a picture of a few pixels that comes no sooner."""
    pace = paced(0.1, 1e-6)
    assert pace.pixels_within(0.04, 0) == pytest.approx(50_000)


def test_pictures_never_get_too_small_to_see() -> None:
    assert paced(0.0, 1e-3).pixels_within(0.04, 0) == 128 * 96


def test_before_anything_is_known_the_default_holds_then_all_is_pixels() -> None:
    pace = RenderPace()
    assert pace.costs() is None and pace.seconds(full=False) is None
    assert pace.pixels_within(0.04, 123) == 123
    assert paced(0.0, 1e-6, full=None).pixels_within(0.04, 0) == pytest.approx(40_000)
    assert paced(0.0, 1e-6, full=10_001).pixels_within(0.04, 0) == pytest.approx(40_000)


def test_where_full_pictures_cost_no_more_nothing_is_shrunk() -> None:
    assert paced(0.05, 0.0).pixels_within(0.04, 0) == float("inf")


@pytest.mark.parametrize(
    ("pixels", "aspect", "expected"),
    [
        (float("inf"), 4 / 3, (384, 512)),
        (float("inf"), 0.5, (512, 256)),
        (120 * 160, 4 / 3, (120, 160)),
        (1, 4 / 3, (16, 16)),
    ],
)
def test_sizes_fit_the_window(pixels: float, aspect: float, expected: tuple[int, int]) -> None:
    assert picture_size(pixels, aspect, 512) == expected
