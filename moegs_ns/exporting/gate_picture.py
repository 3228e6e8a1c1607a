"""One picture of who wins where: some frames of a mixture with the gates of its experts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moegs_ns.exporting.palette import EXPERT_COLORS, expert_color
from moegs_ns.exporting.panels import as_uint8, below, row_of_panels


@dataclass(frozen=True)
class GatedFrame:
    """One frame of a mixture.

    Attributes:
        label: such as ``frame 12``.
        rgb: ``[H,W,3]`` float in [0,1] or uint8.
        gates: expert name to ``[H,W]`` float in [0,1]; they sum to 1.
    """

    label: str
    rgb: np.ndarray
    gates: Mapping[str, np.ndarray]


def gate_picture(frames: Sequence[GatedFrame]) -> np.ndarray:
    """Frames from top to bottom; from left to right the mixture, every gate (white is 1), the winner's colour.

    Raises:
        ValueError: no frames.
    """
    if not frames:
        raise ValueError("expected at least one frame to draw gates of, found none")
    return below([_row(frame) for frame in frames])


def winner_map(gates: np.ndarray) -> np.ndarray:
    """``[K,H,W]`` gates to uint8 ``[H,W,3]``: the colour of the expert with the largest gate."""
    return EXPERT_COLORS[gates.argmax(axis=0) % len(EXPERT_COLORS)]


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of the numbers 0 to ``count - 1``, evenly spaced, first and last among them."""
    return sorted({round(number) for number in np.linspace(0, count - 1, min(count, wanted))})


def _row(frame: GatedFrame) -> np.ndarray:
    pictures = {frame.label: as_uint8(frame.rgb)}
    colors = {}
    for number, (name, gate) in enumerate(frame.gates.items()):
        label = f"gate {name}"
        pictures[label] = as_uint8(np.repeat(gate[..., None], 3, axis=-1))
        colors[label] = expert_color(number)  # as in the map of winners
    pictures["winner"] = winner_map(np.stack(list(frame.gates.values())))
    return row_of_panels(pictures, colors)
