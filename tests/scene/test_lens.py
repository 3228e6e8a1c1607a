"""Lenses against OpenCV's own model, and photographs straightened into pictures of pinholes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from moegs_ns.scene.lens import Lens, Pinhole, straightened

WIDTH, HEIGHT = 320, 200
#: As of a phone: barrel distortion that turns, and an off-centre principal point.
PHONE = Lens(260.0, 250.0, 170.5, 92.25, radial=(0.0955, -0.232, 0.01), tangential=(0.0025, -0.011))
BARREL = Lens(250.0, 250.0, 160.0, 100.0, radial=(-0.18, 0.03))
SKEWED = Lens(250.0, 240.0, 150.0, 110.0, skew=6.5)
LENSES = {"phone": PHONE, "barrel": BARREL, "skewed": SKEWED}


def opencv_pixels(lens: Lens, directions: np.ndarray) -> np.ndarray:
    """Pixels ``[N,2]`` by OpenCV, which knows no skew and counts pixel centres as whole numbers."""
    k1, k2, k3 = (*lens.radial, 0.0, 0.0, 0.0)[:3]
    matrix = np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])
    points = np.column_stack([directions, np.ones(len(directions))])
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array([k1, k2, *lens.tangential, k3]))[0][
        :, 0
    ]


def some_pixels(count: int = 200) -> np.ndarray:
    return np.random.default_rng(0).uniform([0, 0], [WIDTH, HEIGHT], (count, 2))


@pytest.mark.parametrize("name", ["phone", "barrel"])
def test_directions_appear_where_opencv_says(name: str) -> None:
    directions = np.random.default_rng(1).uniform([-0.6, -0.4], [0.6, 0.4], (200, 2))
    np.testing.assert_allclose(LENSES[name].project(directions), opencv_pixels(LENSES[name], directions), atol=1e-9)


def test_skew_shifts_columns_by_the_height_above_the_axis() -> None:
    (pixel,) = SKEWED.project(np.array([[0.2, -0.1]]))
    np.testing.assert_allclose(pixel, [250 * 0.2 + 6.5 * -0.1 + 150, 240 * -0.1 + 110])


@pytest.mark.parametrize("name", LENSES)
def test_unprojection_is_the_inverse(name: str) -> None:
    pixels = some_pixels()
    np.testing.assert_allclose(LENSES[name].project(LENSES[name].unproject(pixels)), pixels, atol=1e-7)


@pytest.mark.parametrize("name", LENSES)
def test_the_pinhole_picture_lies_inside_the_photograph_and_touches_its_edges(name: str) -> None:
    lens = LENSES[name]
    pinhole = lens.pinhole(WIDTH, HEIGHT)
    assert (pinhole.width, pinhole.height) == (WIDTH, HEIGHT)
    x, y = np.linspace(0, WIDTH, 161), np.linspace(0, HEIGHT, 101)
    grid = np.stack(np.meshgrid((x - pinhole.cx) / pinhole.fx, (y - pinhole.cy) / pinhole.fy), axis=-1)
    pixels = lens.project(grid)
    low, high = pixels.min(axis=(0, 1)), pixels.max(axis=(0, 1))
    assert (low > -0.05).all() and (high < [WIDTH + 0.05, HEIGHT + 0.05]).all()
    assert (low < 0.1 * WIDTH).all() and (high > [0.9 * WIDTH, 0.9 * HEIGHT]).all()  # no more is lost than must be


def test_without_distortion_nothing_changes() -> None:
    lens = Lens(250.0, 240.0, 150.0, 110.0, radial=(0.0, 0.0, 0.0))
    assert lens.is_pinhole
    assert lens.pinhole(WIDTH, HEIGHT) == Pinhole(250.0, 240.0, 150.0, 110.0, WIDTH, HEIGHT)
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    assert straightened(image, lens) is image


@pytest.mark.parametrize("name", LENSES)
def test_what_is_straightened_appears_where_the_pinhole_sees_it(name: str) -> None:
    """Dots drawn where the lens shows some directions are found where the pinhole shows them."""
    lens = LENSES[name]
    pinhole = lens.pinhole(WIDTH, HEIGHT)
    for direction in np.array([[0.0, 0.0], [0.4, 0.22], [-0.38, 0.2], [-0.35, -0.25], [0.3, -0.3]]):
        rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        column, row = lens.project(direction[None])[0]
        dot = 255 * np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * 2.0**2))
        seen = straightened(np.repeat(dot[..., None].round().astype(np.uint8), 3, axis=2), lens)[..., 0].astype(float)
        found = np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
        expected = direction * [pinhole.fx, pinhole.fy] + [pinhole.cx, pinhole.cy]
        np.testing.assert_allclose(found, expected, atol=0.1)


def test_photographs_at_another_size_have_the_same_directions() -> None:
    half = PHONE.resized(0.5, 0.5)
    pixels = some_pixels()
    np.testing.assert_allclose(half.unproject(pixels / 2), PHONE.unproject(pixels), atol=1e-9)
    whole, small = PHONE.pinhole(WIDTH, HEIGHT), half.pinhole(WIDTH // 2, HEIGHT // 2)
    np.testing.assert_allclose([small.fx, small.cy], [whole.fx / 2, whole.cy / 2], rtol=1e-9)
    odd = whole.resized(100, 50)
    assert (odd.fx, odd.cx) == pytest.approx((whole.fx * 100 / WIDTH, whole.cx * 100 / WIDTH))
    assert (odd.fy, odd.cy) == pytest.approx((whole.fy * 50 / HEIGHT, whole.cy * 50 / HEIGHT))


def test_a_distortion_that_folds_the_image_is_refused() -> None:
    folding = Lens(100.0, 100.0, 160.0, 100.0, radial=(-0.9,))
    with pytest.raises(ValueError, match=r"can be undone all over the image, found radial \[-0.9\]"):
        folding.pinhole(WIDTH, HEIGHT)
