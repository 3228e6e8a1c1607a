"""Reading and comparing the pictures the commands write."""

from pathlib import Path

import numpy as np
from PIL import Image


def read_picture(path: Path) -> np.ndarray:
    """``[H,W,3]`` float in [0,1]."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64) / 255


def read_pictures(paths: list[Path]) -> np.ndarray:
    """``[n,H,W,3]`` float in [0,1]."""
    return np.stack([read_picture(path) for path in paths])


def psnr(picture: np.ndarray, truth: np.ndarray) -> float:
    """dB of two pictures in [0,1]."""
    return float(-10 * np.log10(max(1e-12, np.square(picture - truth).mean())))


def distinct(pictures: np.ndarray) -> int:
    """How many different pictures there are."""
    return len({picture.tobytes() for picture in pictures})
