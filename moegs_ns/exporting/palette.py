"""Colours of pictures of mixtures: one per expert, and a scale for errors. Colour-blind eyes tell them apart."""

import numpy as np

from moegs_ns.exporting.panels import Color

#: Okabe and Ito's colours, in gate order; beyond the seventh expert they repeat.
EXPERT_COLORS = np.array(
    [[0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [213, 94, 0], [240, 228, 66]],
    dtype=np.uint8,
)
# Black, violet, red, orange, yellow, white: lightness rises all the way, so it reads in grey, too.
_ERROR_STOPS = np.array(
    [[0, 0, 0], [55, 15, 100], [135, 30, 105], [210, 65, 60], [248, 140, 15], [250, 215, 80], [255, 255, 245]]
)


def expert_color(number: int) -> Color:
    """The colour of the expert with that place in gate order."""
    red, green, blue = (int(part) for part in EXPERT_COLORS[number % len(EXPERT_COLORS)])
    return red, green, blue


def error_colors(values: np.ndarray, top: float) -> np.ndarray:
    """``[...]`` values from 0 (black) to ``top`` and beyond (white) as uint8 ``[...,3]``."""
    place = np.clip(values / top, 0.0, 1.0)
    stops = np.linspace(0.0, 1.0, len(_ERROR_STOPS))
    channels = [np.interp(place, stops, _ERROR_STOPS[:, channel]) for channel in range(3)]
    return (np.stack(channels, axis=-1) + 0.5).astype(np.uint8)


def error_scale_colors() -> list[Color]:
    """The evenly spaced colours `error_colors` runs through, from 0 to the top."""
    return [(int(red), int(green), int(blue)) for red, green, blue in _ERROR_STOPS]
