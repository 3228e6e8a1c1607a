"""What one frame of a film shows: one output of a model, or several side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moegs_ns.exporting.gate_picture import winner_map
from moegs_ns.exporting.palette import error_colors, expert_color
from moegs_ns.exporting.panels import WHITE, Color, as_uint8, below, beside, grid_of_panels

#: What may be asked for besides a model's outputs by name.
TRUTH, EXPERTS, GATES, WINNER, MIXTURE = "truth", "experts", "gates", "winner", "mixture"
_LONGEST_ROW = 4  # pictures; more make two rows
_PICTURE, _MIN_DEPTH = "rgb", 1e-6


@dataclass(frozen=True)
class FilmPanels:
    """Chooses and draws.

    Attributes:
        show: outputs by name, ``truth``, ``winner``, the groups ``experts`` and ``gates``, and ``mixture`` (``rgb``).
        experts: names of a mixture's experts in gate order, none for other models.
        depths: nearest and farthest content in world units, which depth's colours run between.
        columns: pictures in a row; None is one row of up to four, two rows of more.
        labels: whether names stand above pictures where there are several.
    """

    show: tuple[str, ...]
    experts: tuple[str, ...] = ()
    depths: tuple[float, float] = (0.1, 100.0)
    columns: int | None = None
    labels: bool = True

    def __post_init__(self) -> None:
        if not self.show or (self.columns is not None and self.columns < 1):
            raise ValueError(f"expected something to show, in at least one column, found {self.show}, {self.columns}")
        without = [name for name in (EXPERTS, GATES, WINNER, MIXTURE) if name in self.show and not self.experts]
        if without:
            raise ValueError(f"expected the run of a mixture to show {', '.join(without)}, found a single model's")

    @property
    def names(self) -> list[str]:
        """Single panels, in order, groups taken apart; each once."""
        groups = {
            EXPERTS: [f"expert_{name}" for name in self.experts],
            GATES: [f"gate_{name}" for name in self.experts],
            MIXTURE: [_PICTURE],
        }
        return list(dict.fromkeys(one for name in self.show for one in groups.get(name, [name])))

    def draw(self, outputs: Mapping[str, np.ndarray], truth: np.ndarray | None = None) -> np.ndarray:
        """A frame, uint8 ``[H',W',3]``; a single panel is the output's own pixels.

        Args:
            outputs: of the model, ``[H,W,3]`` in [0,1] or ``[H,W,1]``.
            truth: the photograph, uint8 ``[H,W,3]``.

        Raises:
            ValueError: the model has no output of a name asked for.
        """
        drawn = {name: self._panel(name, outputs, truth) for name in self.names}
        if len(drawn) == 1:
            return next(iter(drawn.values()))
        columns = self.columns or (len(drawn) if len(drawn) <= _LONGEST_ROW else (len(drawn) + 1) // 2)
        if self.labels:
            labels = {name: self._label(name) for name in drawn}
            colors = {labels[name]: self._color(name) for name in drawn}
            return grid_of_panels({labels[name]: picture for name, picture in drawn.items()}, columns, colors)
        pictures = list(drawn.values())
        pictures += [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
        return below([beside(pictures[begin : begin + columns]) for begin in range(0, len(pictures), columns)])

    def _panel(self, name: str, outputs: Mapping[str, np.ndarray], truth: np.ndarray | None) -> np.ndarray:
        if name == TRUTH:
            if truth is None:
                raise ValueError("expected a photograph to show as truth, found none for this camera and time")
            return truth
        if name == WINNER:
            return winner_map(np.stack([outputs[f"gate_{expert}"][..., 0] for expert in self.experts]))
        if name not in outputs:
            known = [TRUTH, *((EXPERTS, GATES, WINNER, MIXTURE) if self.experts else ()), *outputs]
            raise ValueError(f"expected outputs to show among {', '.join(known)}, found '{name}'")
        image = outputs[name]
        if name == "depth":
            near, far = (1 / max(depth, _MIN_DEPTH) for depth in self.depths)
            nearness = (1 / np.maximum(image[..., 0], _MIN_DEPTH) - far) / max(near - far, _MIN_DEPTH)
            return error_colors(nearness, top=1.0)
        return as_uint8(image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, axis=-1))

    def _label(self, name: str) -> str:
        if name == _PICTURE:
            return "mixture" if self.experts else "rendering"
        return name.removeprefix("expert_").replace("gate_", "gate ").replace("share_", "share ")

    def _color(self, name: str) -> Color:
        """Gates have the colour their expert has on the map of winners."""
        for number, expert in enumerate(self.experts):
            if name == f"gate_{expert}":
                return expert_color(number)
        return WHITE


def side_by_side(experts: Sequence[str], truth: bool) -> tuple[str, ...]:
    """Everything a model shows, with gates below their experts: see `FilmPanels.show`."""
    photograph = (TRUTH,) if truth else ()
    if not experts:
        return (*photograph, _PICTURE)
    winner_first, winner_last = ((WINNER,), ()) if truth else ((), (WINNER,))
    return (*photograph, EXPERTS, MIXTURE, *winner_first, GATES, *winner_last)
