"""The project's part of nerfstudio's viewer: its panels, and what they make of the model's pictures.

The page reads the model through public outputs and methods and keeps every choice to itself. Nothing that someone
switches in a window changes the model, so training and evaluation never notice.
"""

from collections.abc import Mapping
from typing import Any

from nerfstudio.cameras.cameras import Cameras
from nerfstudio.models.base_model import Model
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

from moegs_ns.viewer.experts_panel import ExpertsPanel
from moegs_ns.viewer.paths_panel import PathsPanel
from moegs_ns.viewer.picture_panel import PicturePanel
from moegs_ns.viewer.pruning_panel import PruningPanel
from moegs_ns.viewer.render_thread import TARGET_FPS, RenderThread
from moegs_ns.viewer.running_viewer import RunningViewer
from moegs_ns.viewer.statistics_panel import StatisticsPanel, speed
from moegs_ns.viewer.timeline import Timeline
from moegs_ns.viewer.training_views import TrainingViews

# Folders stand above nerfstudio's own elements, whose order counts up from 0.
_ABOVE = -100.0
_BRAND = (255, 211, 105)
# Lines run through centres of Gaussians, half of which lie behind the surface they make.
_LINES_SHOW_THROUGH = 1.05


class ViewerPage(ViewerControl):
    """Panels above nerfstudio's own; nerfstudio sets up every such object it finds among a pipeline's attributes.

    Which panels there are depends on the model: those that make no sense for it do not appear.

    Args:
        dataset: the training images, an ``InputDataset``; None for none.
        metadata: of the scene; ``num_frames``, ``fps``, ``camera_names`` and ``first_frame`` are read.
    """

    def __init__(self, dataset: Any, metadata: Mapping[str, Any]) -> None:
        self._dataset = dataset
        self._metadata = metadata
        self._num_frames = int(metadata.get("num_frames", 1))

    def _setup(self, viewer: Any) -> None:
        super()._setup(viewer)
        self.running = RunningViewer(viewer)
        self._choose_panels(self.running.model)
        self._install()
        if viewer.trainer is None:  # nothing to pause or to resume
            viewer.pause_train.visible = viewer.resume_train.visible = False
        viewer.stats_markdown.visible = False  # the statistics say it, too
        # nerfstudio's theme without its title bar, whose logo comes from the net, and without a button to publish it.
        self.running.gui.configure_theme(
            control_layout="collapsible", dark_mode=True, show_share_button=False, brand_color=_BRAND
        )
        self.server.on_client_connect(lambda client: RenderThread.take_over(self, viewer, client))
        # viser 0.2.7 leaves a task behind for each window that is closed, which waits for the next flush.
        self.server.on_client_disconnect(lambda client: self.server.flush())

    def _choose_panels(self, model: Model) -> None:
        cameras = getattr(self._dataset, "cameras", None)
        views = None if cameras is None or not len(cameras) else TrainingViews(self._dataset, self._metadata)
        names = list(getattr(model, "expert_names", []))
        criteria = model.pruning_criteria() if names and hasattr(model, "pruning_criteria") else []
        counts = model.describe()["num_gaussians_per_expert"] if len(names) > 1 else {}  # type: ignore[operator]
        moves = self._num_frames > 1 and hasattr(model, "trajectories")
        self.timeline = Timeline(self._num_frames, self._metadata.get("fps", 30.0)) if self._num_frames > 1 else None
        self.picture = PicturePanel(names, views)
        self.experts = ExpertsPanel(counts) if counts else None
        self.pruning = PruningPanel(criteria, cameras) if criteria and views is not None else None
        self.paths = PathsPanel(self._num_frames, names, self.render, self._hidden) if moves else None
        self.statistics = StatisticsPanel()

    def _install(self) -> None:
        folders = {
            "Clip": (self.timeline, True),
            "Picture": (self.picture, True),
            "Experts": (self.experts, True),
            "Statistics": (self.statistics, True),
            "Pruning preview": (self.pruning, False),
            "Paths of Gaussians": (self.paths, False),
        }
        for place, (label, (panel, opened)) in enumerate(folders.items()):
            if panel is not None:
                with self.running.gui.add_folder(label, order=_ABOVE + place, expand_by_default=opened):
                    panel.install(self.running)

    # -- what is drawn -----------------------------------------------------------------------------------------------

    def outputs(self, model: Model, camera: Cameras) -> dict[str, Tensor]:
        """All pictures of a camera to choose from."""
        return self.picture.complete(self.render(model, camera), camera, lambda other: self.render(model, other))

    def render(self, model: Model, camera: Cameras) -> dict[str, Tensor]:
        """The model's outputs for a camera, without the experts and Gaussians that are switched off."""
        left_out = frozenset() if self.experts is None else self.experts.left_out
        hidden = self._hidden(model)
        if not left_out and hidden is None:
            return dict(model.get_outputs_for_camera(camera))
        return dict(model.outputs_without(camera, left_out, hidden))  # type: ignore[operator]

    def _hidden(self, model: Model) -> Tensor | None:
        return None if self.pruning is None else self.pruning.hidden(model)

    @property
    def wanted_fps(self) -> float:
        """Pictures a second that are of use while something moves."""
        playing = self.timeline is not None and self.timeline.playing
        return self.timeline.fps if playing and self.timeline is not None else TARGET_FPS

    @property
    def depth_margin(self) -> float:
        """Factor on the depth that hides what is behind the scene."""
        return _LINES_SHOW_THROUGH if self.paths is not None and self.paths.drawn else 1.0

    def note_picture(self, thread: RenderThread) -> None:
        """A thread has shown a picture."""
        settled = thread.state == "high"
        rows = {
            "Moving": speed(thread.pace.seconds(full=False)),
            "At rest": speed(thread.pace.seconds(full=True)),
            "Picture": "{1} x {0} px".format(*thread.size),
        }
        if self.picture.compared:
            rows["Error"] = self.picture.compared
        if self.viewer.trainer is not None:
            rows["Step"] = f"{self.running.step:,}"
        self.statistics.update(rows, settled)
