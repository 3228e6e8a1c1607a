"""What panels know of the nerfstudio viewer they are part of."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from nerfstudio.models.base_model import Model


class RunningViewer:
    """A viewer and the model it shows.

    Args:
        viewer: nerfstudio's ``Viewer``.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.server = viewer.viser_server
        self.gui = viewer.viser_server.gui
        self.scene = viewer.viser_server.scene
        self.control_panel = viewer.control_panel

    @property
    def model(self) -> Model:
        """The model shown; whoever renders with it borrows it with `looking_at_model`."""
        return self.viewer.get_model()

    @property
    def step(self) -> int:
        """The training step shown."""
        return int(self.viewer.step)

    def rerender(self) -> None:
        """Everyone who watches gets a new picture."""
        self.viewer._trigger_rerender()

    @contextlib.contextmanager
    def looking_at_model(self) -> Iterator[Model]:
        """The model in evaluation mode and without gradients, while training waits; then every module's mode is as
        before."""
        lock = self.viewer.train_lock
        with lock if lock is not None else contextlib.nullcontext():
            model = self.model
            modes = [(module, module.training) for module in model.modules()]
            model.eval()
            try:
                with torch.no_grad():
                    yield model
            finally:
                for module, training in modes:
                    module.training = training

    def tell(self, title: str, body: str) -> None:
        """A note in the corner of everyone's window."""
        for client in self.server.get_clients().values():
            client.add_notification(title, body, auto_close=8000)
