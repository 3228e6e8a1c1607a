"""A viewer without a server: elements that hold values and call back at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from torch import nn

from moegs_ns.viewer.running_viewer import RunningViewer


class FakeElement:
    """An element of a panel; callbacks run when its value is set, as viser's do."""

    def __init__(self, value: Any = None, **facts: Any) -> None:
        self._value, self._callbacks = value, []
        self.visible, self.disabled = facts.pop("visible", True), facts.pop("disabled", False)
        self.__dict__.update(facts)

    @property
    def value(self) -> Any:
        """What it shows."""
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        self._value = value
        for callback in self._callbacks:
            callback(SimpleNamespace(client=None))

    def on_update(self, callback: Callable[[Any], None]) -> None:
        """Call it at every change."""
        self._callbacks.append(callback)

    on_click = on_update

    def press(self) -> None:
        """As a button."""
        self.value = True


class FakeGui:
    """Makes elements and keeps them by label."""

    def __init__(self) -> None:
        self.elements: dict[str, FakeElement] = {}
        self.texts: list[FakeElement] = []

    def _add(self, label: str, value: Any, **facts: Any) -> FakeElement:
        self.elements[label] = FakeElement(value, **facts)
        return self.elements[label]

    def add_slider(self, label: str, low: float, high: float, step: float, value: float, **facts: Any) -> FakeElement:
        """Between bounds."""
        return self._add(label, value, low=low, high=high, step=step, **facts)

    def add_checkbox(self, label: str, value: bool, **facts: Any) -> FakeElement:
        """On or off."""
        return self._add(label, value, **facts)

    def add_dropdown(self, label: str, options: list[str], **facts: Any) -> FakeElement:
        """The first option is chosen."""
        return self._add(label, options[0], options=options, **facts)

    def add_button(self, label: str, **facts: Any) -> FakeElement:
        """To press."""
        return self._add(label, False, **facts)

    def add_progress_bar(self, value: float, **facts: Any) -> FakeElement:
        """Without a label."""
        return self._add("progress", value, **facts)

    def add_markdown(self, content: str, **facts: Any) -> FakeElement:
        """Text, in the order of `texts`."""
        self.texts.append(FakeElement(content=content, **facts))
        return self.texts[-1]

    def configure_theme(self, **facts: Any) -> None:
        """Nothing looks like anything here."""

    @contextmanager
    def add_folder(self, label: str, **facts: Any) -> Iterator[None]:
        """Folders are not kept."""
        yield


def fake_running(model: nn.Module | None = None) -> tuple[RunningViewer, FakeGui, list[str]]:
    """A running viewer, its elements, and what happened to it: pictures asked for, notes told."""
    gui, events = FakeGui(), []
    output_type = SimpleNamespace(value="rgb", cb_hook=lambda element: events.append("rerender"))
    panel = SimpleNamespace(time=0.0, _output_render=output_type, output_render="rgb", split=False)
    client = SimpleNamespace(add_notification=lambda title, body, **_: events.append(title))
    return RunningViewer(fake_viewer(model, gui, panel, client, events)), gui, events


def fake_viewer(model: nn.Module | None, gui: FakeGui, panel: Any, client: Any, events: list[str]) -> SimpleNamespace:
    """What the page touches of nerfstudio's ``Viewer``, in training."""
    server = SimpleNamespace(
        gui=gui,
        scene=SimpleNamespace(),
        get_clients=lambda: {0: client},
        on_client_connect=lambda _: None,
        on_client_disconnect=lambda _: None,
    )
    return SimpleNamespace(
        viser_server=server,
        control_panel=panel,
        train_lock=threading.Lock(),
        trainer=SimpleNamespace(),
        stats_markdown=SimpleNamespace(),
        get_model=lambda: model,
        _trigger_rerender=lambda: events.append("rerender"),
    )
