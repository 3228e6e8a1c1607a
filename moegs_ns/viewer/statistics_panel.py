"""Numbers of what is shown: how many Gaussians, how fast, how large."""

import time
from collections.abc import Mapping
from typing import Any

from nerfstudio.models.base_model import Model

from moegs_ns.viewer.markdown import as_words
from moegs_ns.viewer.running_viewer import RunningViewer

_EVERY_SECONDS = 0.5
_BYTES_PER_FLOAT = 4


class StatisticsPanel:
    """A table that follows the pictures."""

    def __init__(self) -> None:
        self._written = 0.0

    def install(self, running: RunningViewer) -> None:
        """Put the elements where the viewer's elements go at present."""
        self._running = running
        self._text = running.gui.add_markdown("")
        self.update({}, settled=True)

    def update(self, rows: Mapping[str, str], settled: bool) -> None:
        """Show the numbers, with further ``rows``; while pictures come fast (not ``settled``), not for each."""
        now = time.monotonic()
        if settled or now - self._written >= _EVERY_SECONDS:
            self._written = now
            self._text.content = as_table({**facts_of(self._running.model), **rows})


def facts_of(model: Model) -> dict[str, str]:
    """Gaussians, as far as the model says how many, and the size of its parameters as 32-bit floats."""
    described: dict[str, Any] = model.describe() if hasattr(model, "describe") else {}  # type: ignore[operator]
    count = sum(parameter.numel() for parameter in model.parameters())
    facts = {"Gaussians": f"{described['num_gaussians']:,}"} if "num_gaussians" in described else {}
    return {**facts, "Parameters": f"{count * _BYTES_PER_FLOAT / 1e6:.1f} MB"}


def speed(seconds: float | None, pixels: str = "") -> str:
    """Such as ``24 fps``."""
    return "not yet" if seconds is None else f"{1 / seconds:.3g} fps{pixels}"


def as_table(rows: Mapping[str, str]) -> str:
    """Markdown."""
    lines = (f"| {as_words(name)} | {as_words(value)} |" for name, value in rows.items())
    return "\n".join(["| | |", "|:--|:--|", *lines])
