"""Lines in the scene along which the Gaussians of a picked region move."""

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import viser
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.models.base_model import Model
from nerfstudio.viewer.utils import get_camera
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO
from torch import Tensor

from moegs_ns.exporting.palette import expert_color
from moegs_ns.exporting.trajectory_picture import choose_trajectories
from moegs_ns.viewer import paths, pictures
from moegs_ns.viewer.running_viewer import RunningViewer

_ROOT = "/gaussian_paths"
_MOST_INSTANTS = 48
_SIDE = 200  # pixels of the picture that says what is seen
_MIN_GATE = 0.25  # an expert's Gaussians are shown where at least that much of the picture is its own
_UNPICKED = "Pick what moves: its Gaussians leave lines over the whole clip."

Render = Callable[[Model, Cameras], dict[str, Tensor]]


class PathsPanel:
    """Pick a region of the picture, see where its Gaussians come from and go to.

    Args:
        num_frames: of the clip.
        experts: names of the model's experts in gate order; none for a single model.
        render: gives the outputs of what is shown for a camera.
        hidden: gives the Gaussians ``[N]`` that are not shown, None for none.
    """

    def __init__(
        self,
        num_frames: int,
        experts: list[str],
        render: Render,
        hidden: Callable[[Model], Tensor | None],
    ) -> None:
        self._num_frames = num_frames
        self._experts = experts
        self._render = render
        self._hidden = hidden
        self._busy = threading.Lock()
        self._root: Any = None

    @property
    def drawn(self) -> bool:
        """Whether there are lines in the scene."""
        return self._root is not None

    def install(self, running: RunningViewer) -> None:
        """Put the elements where the viewer's elements go at present."""
        self._running, gui = running, running.gui
        self._pick = gui.add_button("Pick a rectangle", icon=viser.Icon.MARQUEE_2)
        self._pick.on_click(lambda _: self._wait_for_rectangle())
        middle = gui.add_button("Middle of the view", icon=viser.Icon.FOCUS_CENTERED)
        middle.on_click(lambda event: self.trace(event.client, paths.MIDDLE))
        self._count = gui.add_slider("Lines at most", 10, 400, 10, 150)
        self._clear = gui.add_button("Clear", icon=viser.Icon.TRASH, color="gray", visible=False)
        self._clear.on_click(lambda _: self.clear())
        self._text = gui.add_markdown(_UNPICKED)

    def _wait_for_rectangle(self) -> None:
        scene = self._running.scene
        self._pick.disabled = True
        self._text.content = "Drag a rectangle over the picture."

        @scene.on_pointer_event(event_type="rect-select")
        def _(event: Any) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scene.remove_pointer_callback()
            try:
                region = paths.Region.between(*event.screen_pos)
            except ValueError:
                self._text.content = "That was no rectangle; pick again."
            else:
                self.trace(event.client, region)

        scene.on_pointer_callback_removed(lambda: setattr(self._pick, "disabled", False))

    def clear(self) -> None:
        """Take the lines away."""
        if self._root is not None:
            self._root.remove()
            self._root = None
        self._clear.visible = False
        self._text.content = _UNPICKED
        self._running.rerender()

    def trace(self, client: Any, region: paths.Region) -> None:
        """Draw the lines of the Gaussians that a client sees in a region; returns when done."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            self._text.content = "Following Gaussians ..."
            now = float(self._running.control_panel.time)
            state = self._running.viewer.get_camera_state(client)
            state.time = now
            camera = get_camera(state, _SIDE, max(16, round(_SIDE * state.aspect)))
            with self._running.looking_at_model() as model:
                chosen, owners = self._seen(model, camera.to(model.device), region, now)
            lines, colors = self._lines(chosen, owners, now)
            self._draw(lines, colors)
            self._text.content = _summary(len(chosen), lines, self._num_frames)
            self._running.rerender()
        finally:
            self._busy.release()

    def _seen(self, model: Model, camera: Cameras, region: paths.Region, now: float) -> tuple[Tensor, np.ndarray]:
        """The Gaussians ``[n]`` that make up a region, and the expert of each, 0 for a single model."""
        means, opacities = (one[0] for one in model.trajectories([now]))  # type: ignore[operator]
        outputs, hidden = self._render(model, camera), self._hidden(model)
        if hidden is not None:
            opacities = opacities.masked_fill(hidden.to(opacities.device), 0.0)
        which, pixels = paths.seen_in(region, camera, means, opacities, outputs["depth"][..., 0])
        if not self._experts:
            return which, np.zeros(len(which), dtype=int)
        counts = model.describe()["num_gaussians_per_expert"]  # type: ignore[operator]
        sizes = torch.tensor([counts[name] for name in self._experts])
        owners = torch.repeat_interleave(sizes).to(which.device)[which]
        gates = pictures.gates_of(outputs, self._experts)
        if gates is not None:
            own = gates[owners, pixels[:, 0], pixels[:, 1]] >= _MIN_GATE
            which, owners = which[own], owners[own]
        return which, owners.cpu().numpy()

    def _lines(self, chosen: Tensor, owners: np.ndarray, now: float) -> tuple[list[np.ndarray], list[Any]]:
        """Lines ``[m,3]`` of those that move, and their colours; at most as many as the slider allows."""
        times, place = paths.instants(self._num_frames, now, _MOST_INSTANTS)
        moments = []
        for time in times:  # one by one: pictures are drawn in between
            with self._running.looking_at_model() as model:
                moments.append(model.trajectories([time], chosen))  # type: ignore[operator]
        positions = torch.cat([means for means, _ in moments]).cpu().numpy()
        opacities = torch.cat([opacity for _, opacity in moments]).cpu().numpy()
        lines = [paths.visible_stretch(positions[:, i], opacities[:, i], place) for i in range(len(chosen))]
        drawn = choose_trajectories(np.array([paths.length(line) for line in lines]), int(self._count.value))
        return [lines[i] for i in drawn], [expert_color(int(owners[i])) for i in drawn]

    def _draw(self, lines: list[np.ndarray], colors: list[Any]) -> None:
        if self._root is not None:
            self._root.remove()
        scene = self._running.scene
        with self._running.server.atomic():
            self._root = scene.add_frame(_ROOT, show_axes=False)
            for number, (line, color) in enumerate(zip(lines, colors, strict=True)):
                scene.add_spline_catmull_rom(
                    f"{_ROOT}/{number:04d}", VISER_NERFSTUDIO_SCALE_RATIO * line, line_width=2.0, color=color
                )
        self._clear.visible = True


def _summary(seen: int, lines: list[np.ndarray], num_frames: int) -> str:
    if not lines:
        return f"{seen:,} Gaussians there, none of which moves."
    middle = float(np.median([paths.length(line) for line in lines]))
    return f"{len(lines):,} of {seen:,} Gaussians there; half of the lines are longer than {middle:.3g} world units."
