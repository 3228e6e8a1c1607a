"""The chooser of what is shown, and the tint that says which expert made what."""

from collections.abc import Callable, Sequence

from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.viewer import pictures
from moegs_ns.viewer.running_viewer import RunningViewer
from moegs_ns.viewer.training_views import TrainingViews


class PicturePanel:
    """A dropdown over nerfstudio's *Output type* with more to choose from, and a slider for the gates' tint.

    Args:
        experts: names of the model's experts in gate order; none for a single model.
        views: the training images; None where there are none to compare with.
    """

    def __init__(self, experts: Sequence[str] = (), views: TrainingViews | None = None) -> None:
        self._experts = list(experts)
        self._views = views
        self._known: list[str] = ["rgb"]
        self.compared = ""
        """With which photograph the error shown was taken, and how large it is; empty where no error is shown."""

    def install(self, running: RunningViewer) -> None:
        """Put the elements where the viewer's elements go at present."""
        self._running = running
        self._show = running.gui.add_dropdown("Show", [self._title("rgb")], hint="What is drawn")
        self._show.on_update(lambda _: self._choose())
        self._tint = running.gui.add_slider(
            "Gate tint", 0.0, 1.0, 0.05, 0.0, visible=False, hint="Lay the experts' colours over the picture"
        )
        self._tint.on_update(lambda _: running.rerender())
        self._legend = running.gui.add_markdown(pictures.legend(self._experts), visible=False)
        # nerfstudio's own chooser stays where it is, and the two say the same.
        output_type = running.control_panel._output_render
        chosen = output_type.cb_hook

        def follow(element: object) -> None:
            chosen(element)
            label = self._title(output_type.value)
            if output_type.value in self._known and self._show.value != label:
                self._show.value = label

        output_type.cb_hook = follow

    def complete(
        self, outputs: dict[str, Tensor], camera: Cameras, render: Callable[[Cameras], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """A model's outputs and what is made of them.

        Pictures that nobody looks at are not made; something stands in for them, so that the choice stays the same.

        Args:
            outputs: of the model for ``camera``.
            camera: of size 1.
            render: gives the model's outputs for another camera.
        """
        panel, gates = self._running.control_panel, pictures.gates_of(outputs, self._experts)
        wanted = {panel.output_render, panel.split_output_render} if panel.split else {panel.output_render}
        shown = {name: pictures.grey(image) if pictures.is_share(name) else image for name, image in outputs.items()}
        if gates is not None:
            if self._tint.value > 0:
                shown["rgb"] = pictures.tinted(outputs["rgb"], gates, self._tint.value)
            chosen = pictures.WINNER in wanted
            shown[pictures.WINNER] = pictures.winner_picture(gates) if chosen else outputs["rgb"]
        if self._views is not None:
            chosen = pictures.ERROR in wanted
            shown[pictures.ERROR] = self._error(self._views, camera, render) if chosen else outputs["rgb"]
            if not chosen:
                self.compared = ""
        self._offer(shown, has_gates=gates is not None)
        return shown

    def _error(self, views: TrainingViews, camera: Cameras, render: Callable[[Cameras], dict[str, Tensor]]) -> Tensor:
        """Of the model at the nearest training camera, where there is something to compare with."""
        nearest = views.nearest(camera)
        beside = views.camera(nearest, float(camera.width * camera.height))
        image = render(beside)["rgb"]
        truth = views.photograph(nearest, *image.shape[:2]).to(image.device)
        self.compared = f"{views.label(nearest)}: {pictures.psnr(image, truth):.1f} dB"
        return pictures.error_picture(image, truth)

    def _offer(self, outputs: dict[str, Tensor], has_gates: bool) -> None:
        names = pictures.in_order(outputs)
        if names != self._known:
            self._known = names
            self._show.options = [self._title(name) for name in names]
        self._tint.visible = self._legend.visible = has_gates

    def _choose(self) -> None:
        output = next((name for name in self._known if self._title(name) == self._show.value), None)
        if output is not None and self._running.control_panel.output_render != output:
            self._running.control_panel._output_render.value = output

    def _title(self, output: str) -> str:
        return pictures.title(output, mixture=bool(self._experts))
