"""Pictures side by side, each with a line of text above it."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
WHITE: Color = (255, 255, 255)

_TEXT_SHARE = 0.055  # of the picture's height
_SMALLEST_TEXT = 9  # pixels
_GAP = 2  # pixels between pictures


def as_uint8(image: np.ndarray) -> np.ndarray:
    """Float ``[H,W]`` or ``[H,W,C]`` in [0,1] (values outside are clipped), or uint8 as it is."""
    if image.dtype == np.uint8:
        return image
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def row_of_panels(pictures: Mapping[str, np.ndarray], colors: Mapping[str, Color] | None = None) -> np.ndarray:
    """Pictures of one size in a row.

    Args:
        pictures: label to uint8 ``[H,W,3]``.
        colors: label to the colour of its text, white where missing.

    Returns:
        uint8 ``[H',W',3]`` on black.
    """
    return beside([labelled(picture, label, (colors or {}).get(label, WHITE)) for label, picture in pictures.items()])


def grid_of_panels(
    pictures: Mapping[str, np.ndarray], columns: int, colors: Mapping[str, Color] | None = None
) -> np.ndarray:
    """`row_of_panels` in several rows of ``columns`` pictures, the last one filled up with black."""
    items = list(pictures.items())
    rows = [dict(items[begin : begin + columns]) for begin in range(0, len(items), columns)]
    drawn = [row_of_panels(row, colors) for row in rows]
    missing = drawn[0].shape[1] - drawn[-1].shape[1]
    drawn[-1] = np.pad(drawn[-1], ((0, 0), (0, missing), (0, 0)))
    return below(drawn)


def labelled(picture: np.ndarray, label: str, color: Color = WHITE) -> np.ndarray:
    """The picture with a line of text above it, cut where it is too long."""
    height, width = picture.shape[:2]
    size = max(_SMALLEST_TEXT, round(_TEXT_SHARE * height))
    strip = Image.new("RGB", (width, size + size // 2))
    ImageDraw.Draw(strip).text((size // 3, size // 8), label, fill=color, font=ImageFont.load_default(size))
    return np.concatenate([np.asarray(strip), picture])


def beside(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height from left to right with black between them."""
    gap = np.zeros((pictures[0].shape[0], _GAP, 3), np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=1)


def below(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one width from top to bottom with black between them."""
    gap = np.zeros((_GAP, pictures[0].shape[1], 3), np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=0)
