"""Centred pinholes out of photographs, held against where known directions fall."""

import numpy as np
import pytest

from moegs_ns.preparation.straightening import centred_pinhole, is_straight, simplified, straighten
from moegs_ns.scene.lens import Lens

SIZE = (320, 240)


@pytest.mark.parametrize(
    "lens",
    [
        Lens(300, 300, 150, 128),
        Lens(300, 305, 165, 118, skew=1.0),
        Lens(250, 250, 160, 120, radial=(-0.15, 0.02)),
        Lens(250, 250, 155, 121, radial=(0.1,), tangential=(0.002, -0.001)),
    ],
)
@pytest.mark.parametrize("target", [SIZE, (200, 200)])
def test_the_picture_lies_within_the_photograph_and_touches_its_border(lens: Lens, target: tuple[int, int]) -> None:
    pinhole = centred_pinhole(lens, SIZE, target)
    assert (pinhole.fx, pinhole.cx, pinhole.cy) == (pinhole.fy, target[0] / 2, target[1] / 2)
    along = np.linspace(-1, 1, 41)
    edges = [np.stack([along, side * np.ones(41)], axis=1) for side in (-1, 1)]
    border = np.concatenate([*edges, *(edge[:, ::-1] for edge in edges)])
    pixels = lens.project(border * [pinhole.cx / pinhole.fx, pinhole.cy / pinhole.fy])
    distances = np.minimum(pixels, np.array(SIZE) - pixels)
    assert distances.min() >= -0.05
    assert distances.min() < 3


def test_pictures_show_the_directions_they_claim() -> None:
    lens = Lens(300, 310, 150, 128, radial=(-0.1,))
    rows, columns = np.mgrid[:240, :320] + 0.5
    directions = lens.unproject(np.stack([columns, rows], axis=-1))
    photograph = np.clip(127.5 + 200 * np.concatenate([directions, directions[..., :1]], axis=-1), 0, 255)
    for target in (SIZE, (160, 120)):
        pinhole = centred_pinhole(lens, SIZE, target)
        picture = straighten(photograph.round().astype(np.uint8), lens, pinhole).astype(float)
        assert picture.shape == (target[1], target[0], 3)
        x = (np.arange(target[0]) + 0.5 - pinhole.cx) / pinhole.fx
        y = (np.arange(target[1]) + 0.5 - pinhole.cy) / pinhole.fy
        inner = slice(3, -3)
        expected = 127.5 + 200 * x
        np.testing.assert_allclose(
            picture[inner, inner, 0], np.broadcast_to(expected, target[::-1])[inner, inner], atol=2
        )
        np.testing.assert_allclose(
            picture[inner, inner, 1], np.broadcast_to((127.5 + 200 * y)[:, None], target[::-1])[inner, inner], atol=2
        )


def test_what_needs_no_change() -> None:
    assert is_straight(Lens(300, 300, 160, 120), SIZE, SIZE)
    assert not is_straight(Lens(300, 300, 161, 120), SIZE, SIZE)
    assert not is_straight(Lens(300, 303, 160, 120), SIZE, SIZE)
    assert not is_straight(Lens(300, 300, 160, 120, radial=(0.01,)), SIZE, SIZE)
    assert not is_straight(Lens(300, 300, 160, 120), SIZE, (160, 120))


def test_distortion_nobody_could_see_is_dropped() -> None:
    faint, clear = Lens(300, 300, 160, 120, radial=(3e-4,)), Lens(300, 300, 160, 120, radial=(0.02,))
    assert simplified(faint, *SIZE) == Lens(300, 300, 160, 120)
    assert simplified(clear, *SIZE) == clear


def test_a_principal_point_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a principal point inside"):
        centred_pinhole(Lens(300, 300, -10, 120), SIZE, SIZE)
