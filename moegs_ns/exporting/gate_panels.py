"""The panels of a mixture's frame: pictures, gates and errors of every expert, and who wins or would have had to.

What is drawn is a dict of arrays, so that frames are averaged and made smaller before they become colours:

    ``truth``, ``rgb``, ``expert_<name>``   ``[H,W,3]`` in [0,1]
    ``gate_<name>``                         ``[H,W]`` in [0,1], in gate order
    ``best_<name>``                         ``[H,W]`` 1 where the expert would be the right choice, else 0
    ``entropy``                             ``[H,W]`` in [0,1]
    ``error_rgb``, ``error_<name>``         ``[H,W]`` squared error, mean over the channels
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from moegs_ns.exporting.gate_picture import winner_map
from moegs_ns.exporting.palette import error_colors
from moegs_ns.exporting.panels import as_uint8

Quantities = Mapping[str, np.ndarray]
#: Share of all pixels whose error lies below the top of the error scale: a few glints would darken all the rest.
_SHOWN_SHARE = 0.98


@dataclass
class MeanQuantities:
    """The mean over frames of every quantity."""

    _sums: dict[str, np.ndarray] = field(default_factory=dict)
    _frames: int = 0

    def add(self, quantities: Quantities) -> None:
        """Count one frame."""
        for name, values in quantities.items():
            self._sums[name] = self._sums[name] + values if name in self._sums else values.astype(np.float64)
        self._frames += 1

    def mean(self) -> dict[str, np.ndarray]:
        """Float32, of all frames so far."""
        return {name: (values / self._frames).astype(np.float32) for name, values in self._sums.items()}


def reduced(quantities: Quantities, width: int) -> dict[str, np.ndarray]:
    """Means over areas, so that the pictures are at most ``width`` pixels wide; never larger than they are."""
    return {name: _reduced(values, width) for name, values in quantities.items()}


def error_scale_top(frames: Iterable[Quantities]) -> float:
    """Where the colours of errors are to end, so that all but a few pixels of all frames and pictures are told apart.

    Returns:
        A root-mean-square error, a round number above 0.
    """
    squared = np.concatenate(
        [frame[name].ravel() for frame in frames for name in frame if name.startswith("error_")]
    )  # fmt: skip
    wanted = float(np.sqrt(np.quantile(squared, _SHOWN_SHARE)))
    steps = np.array([0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.0])
    return float(steps[min(int(np.searchsorted(steps, wanted)), len(steps) - 1)])


def panels(quantities: Quantities, top: float) -> dict[str, np.ndarray]:
    """The same quantities as uint8 ``[H,W,3]``: gates and entropy grey with 1 white, errors as colours.

    ``winner`` and ``best`` show the colour of the expert with the largest gate, and of the one that is best (over
    several frames: most often).

    Args:
        quantities: see above.
        top: root-mean-square error that is shown as white.
    """
    drawn: dict[str, np.ndarray] = {}
    for name, values in quantities.items():
        if name.startswith("error_"):
            drawn[name] = error_colors(np.sqrt(values), top)
        elif name.startswith("gate_") or name == "entropy":
            drawn[name] = np.repeat(as_uint8(values)[..., None], 3, axis=-1)
        elif not name.startswith("best_"):
            drawn[name] = as_uint8(values)
    for panel, prefix in (("winner", "gate_"), ("best", "best_")):
        drawn[panel] = winner_map(np.stack([values for name, values in quantities.items() if name.startswith(prefix)]))
    return drawn


def _reduced(values: np.ndarray, width: int) -> np.ndarray:
    if values.shape[1] <= width:
        return values
    size = width, max(1, round(values.shape[0] * width / values.shape[1]))
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(channel, dtype=np.float32)).resize(size, Image.Resampling.BOX))
        for channel in np.moveaxis(np.atleast_3d(values), -1, 0)
    ]
    return np.stack(channels, axis=-1) if values.ndim == 3 else channels[0]
