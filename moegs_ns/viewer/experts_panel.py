"""Switches for the experts of a mixture or a fused model."""

from collections.abc import Mapping

from moegs_ns.viewer.running_viewer import RunningViewer


class ExpertsPanel:
    """One checkbox per expert; what is unticked is left out of the picture, not of the model.

    Args:
        counts: Gaussians of each expert, in gate order; at least two experts.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = dict(counts)
        self.left_out: frozenset[str] = frozenset()
        """Names of the experts not to be drawn; never all."""

    def install(self, running: RunningViewer) -> None:
        """Put the elements where the viewer's elements go at present."""
        self._running = running
        self._boxes = {}
        for name, count in self._counts.items():
            self._boxes[name] = box = running.gui.add_checkbox(name, True, hint=f"{count:,} Gaussians")
            box.on_update(lambda _, name=name: self._switch(name))

    def _switch(self, name: str) -> None:
        off = frozenset(one for one, box in self._boxes.items() if not box.value)
        if off == frozenset(self._boxes):
            self._running.tell("One expert has to stay", f"Without {name} nothing would be left to show.")
            self._boxes[name].value = True
        elif off != self.left_out:
            self.left_out = off
            self._running.rerender()
