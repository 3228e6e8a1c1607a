"""Charts as files: what is drawn, and that the same numbers give the same bytes."""

from pathlib import Path

import numpy as np
from PIL import Image

from moegs_ns.exporting.palette import expert_color
from moegs_ns.exporting.plots import Panel, Series, draw_curves, draw_points

FRAMES = (0.0, 1.0, 2.0)
CURVES = (
    Series("stg", FRAMES, (30.0, 31.0, 30.5)),
    Series("ex4dgs", FRAMES, (29.0, 29.5, 31.0)),
    Series("mixture", FRAMES, (31.0, 31.5, 31.2), emphasised=True),
)


def count(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((np.abs(picture.astype(int) - color).max(axis=-1) < 8).sum())


def read(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


def test_every_curve_is_drawn_in_its_colour(tmp_path: Path) -> None:
    panels = [Panel("frame", "PSNR, dB", CURVES), Panel("frame", "flicker", CURVES[:1])]
    files = draw_curves("a clip", panels, tmp_path / "charts" / "frames")
    assert [file.name for file in files] == ["frames.png", "frames.pdf"]
    picture = read(files[0])
    alone = read(draw_curves("a clip", [Panel("frame", "PSNR, dB", CURVES[1:])], tmp_path / "alone")[0])
    assert count(picture, expert_color(0)) > 500 and count(picture, expert_color(1)) > 200
    assert count(alone, expert_color(1)) == 0  # colours follow the order of what is there
    assert files[1].read_bytes().startswith(b"%PDF")


def test_points_with_their_deviation(tmp_path: Path) -> None:
    def panel(spread: float | None) -> Panel:
        points = [Series("stg", (50.0,), (30.0,), spread), Series("mixture", (20.0,), (31.0,), emphasised=True)]
        return Panel("frames per second", "PSNR, dB", points, logarithmic=True)

    plain, spread = (
        read(draw_points("costs", [panel(value)], tmp_path / name)[0]) for name, value in (("a", None), ("b", 0.4))
    )
    assert count(plain, expert_color(0)) > 50
    assert count(spread, expert_color(0)) > count(plain, expert_color(0))


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (draw_curves("a clip", [Panel("frame", "PSNR", CURVES)], tmp_path / name / "x") for name in "ab")
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
