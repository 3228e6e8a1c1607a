"""Files of pictures: without loss where promised, below their limit where one is given."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moegs_ns.exporting.picture_files import save_photograph, save_picture, save_small_picture

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8)
FLAT = RNG.integers(0, 256, (5, 3), dtype=np.uint8)[RNG.integers(0, 5, (90, 120))]


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("picture", [NOISE, FLAT])
def test_no_loss(tmp_path: Path, suffix: str, picture: np.ndarray) -> None:
    np.testing.assert_array_equal(read(save_picture(tmp_path / f"new/a{suffix}", picture)), picture)


def test_few_colours_make_a_palette(tmp_path: Path) -> None:
    with Image.open(save_picture(tmp_path / "a.png", FLAT)) as image:
        assert image.mode == "P"
    with Image.open(save_picture(tmp_path / "b.png", NOISE)) as image:
        assert image.mode == "RGB"


def test_a_limit_is_kept_with_as_little_loss_as_it_takes(tmp_path: Path) -> None:
    whole = save_picture(tmp_path / "whole.png", NOISE).stat().st_size
    np.testing.assert_array_equal(read(save_small_picture(tmp_path / "a.png", NOISE, whole)), NOISE)
    palette = save_small_picture(tmp_path / "b.png", NOISE, whole - 1)
    assert palette.stat().st_size < whole and read(palette).shape == NOISE.shape
    tiny = save_small_picture(tmp_path / "c.png", NOISE, 2000)
    assert tiny.stat().st_size <= 2000
    height, width = read(tiny).shape[:2]
    assert height < 90 and width / height == pytest.approx(4 / 3, rel=0.05)
    with pytest.raises(ValueError, match="found 10 bytes"):
        save_small_picture(tmp_path / "d.png", NOISE, 10)


def test_photographs_are_small_and_close(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:90, 0:120]
    smooth = np.stack([rows * 2, columns * 2, 255 - rows - columns], axis=-1)
    smooth = np.clip(smooth + RNG.integers(-2, 3, smooth.shape), 0, 255).astype(np.uint8)  # a sensor's noise
    file = save_photograph(tmp_path / "a.webp", smooth)
    assert np.abs(read(file).astype(int) - smooth).mean() < 3
    assert file.stat().st_size < save_picture(tmp_path / "b.png", smooth).stat().st_size / 2
    np.testing.assert_array_equal(read(save_photograph(tmp_path / "c.png", smooth)), smooth)
