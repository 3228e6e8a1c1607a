"""What a mixture would look like pruned, before anything is."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.models.base_model import Model
from torch import Tensor

from moegs_ns.viewer.running_viewer import RunningViewer

_VIEWS = 24
_PIXELS = 320 * 240
_UNSCORED = "Scores tell which Gaussians matter least. *Score Gaussians* takes some training views to find out."


class PruningPanel:
    """Scores Gaussians on demand and hides those of the lowest scores, up to the share that a slider says.

    Args:
        criteria: by which the model's Gaussians can be scored, at least one.
        cameras: the training cameras, all images.
    """

    def __init__(self, criteria: Sequence[str], cameras: Cameras) -> None:
        self._criteria = list(criteria)
        self._cameras = cameras
        self._scores: Tensor | None = None
        self._hidden: Tensor | None = None
        self._busy = threading.Lock()

    def install(self, running: RunningViewer) -> None:
        """Put the elements where the viewer's elements go at present."""
        self._running, gui = running, running.gui
        self._criterion = gui.add_dropdown("Criterion", self._criteria, hint="As in moegs prune --criterion")
        self._criterion.on_update(lambda _: self.forget())
        self._button = gui.add_button("Score Gaussians")
        self._button.on_click(lambda _: self.score())
        self._progress = gui.add_progress_bar(0.0, visible=False)
        self._ratio = gui.add_slider(
            "Hide lowest %", 0.0, 99.0, 0.5, 0.0, disabled=True, hint="The ratio of moegs prune, in hundredths"
        )
        self._ratio.on_update(lambda _: self._hide())
        self._text = gui.add_markdown(_UNSCORED)

    def hidden(self, model: Model) -> Tensor | None:
        """``[N]`` bool, those not to be drawn; None where all are. Scores of Gaussians that are no more, because
        training pruned them, are forgotten."""
        hidden = self._hidden
        if hidden is None or len(hidden) == model.describe()["num_gaussians"]:  # type: ignore[operator]
            return hidden
        self.forget()
        return None

    def forget(self) -> None:
        """Show everything again."""
        self._scores = self._hidden = None
        self._ratio.disabled = True
        self._text.content = _UNSCORED
        if self._ratio.value:
            self._ratio.value = 0.0
        self._running.rerender()

    def score(self) -> None:
        """Score all Gaussians by views spread over cameras and times; returns when done. Training waits meanwhile."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            self._button.disabled, self._progress.visible = True, True
            criterion = self._criterion.value
            chosen = self._some_cameras()
            scores = None
            with self._running.looking_at_model() as model:
                scores = model.pruning_scores(self._counted(chosen), criterion).cpu()  # type: ignore[operator]
            if criterion == self._criterion.value:
                self._scores = scores
                self._ratio.disabled = False
                self._hide()
        except (ValueError, RuntimeError) as error:
            self._running.tell("Gaussians could not be scored", str(error))
        finally:
            self._button.disabled, self._progress.visible = False, False
            self._busy.release()

    def _some_cameras(self) -> list[int]:
        count = self._cameras.shape[0]
        order = np.random.default_rng(0).permutation(count)  # any stride might meet one camera, or one instant, only
        return sorted(int(image) for image in order[:_VIEWS])

    def _counted(self, images: Sequence[int]) -> Iterator[Cameras]:
        for done, image in enumerate(images):
            self._progress.value = 100.0 * done / len(images)
            camera = self._cameras[image : image + 1]
            own = float(camera.width * camera.height)
            if own > _PIXELS:
                camera.rescale_output_resolution((_PIXELS / own) ** 0.5)
            yield camera

    def _hide(self) -> None:
        scores = self._scores
        if scores is None:
            return
        ratio = self._ratio.value / 100
        hidden = self._running.model.pruned_at(scores, ratio)  # type: ignore[operator]
        self._hidden = hidden if hidden.any() else None
        count, total = int(hidden.sum()), len(scores)
        if count:
            threshold = float(torch.where(hidden, scores, -torch.inf).max())
            below = f"scores up to {threshold:.3g}; `--ratio {ratio:.3f}`"
        else:
            below = f"scores from {float(scores.min()):.3g} to {float(scores.max()):.3g}"
        self._text.content = f"**{count:,}** of {total:,} Gaussians hidden  \n{below}"
        self._running.rerender()
