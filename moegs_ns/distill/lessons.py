"""What a student looks at in a training step: training images with what the teacher shows of them, or pseudo-views."""

from typing import Any, NamedTuple

from nerfstudio.cameras.cameras import Cameras

from moegs_ns.distill.loss import PSEUDO_VIEW, STUDENT_GATE, TEACHER_IMAGE
from moegs_ns.distill.pseudo_views import PseudoViews
from moegs_ns.distill.teacher import TeacherViews
from moegs_ns.experts.views import camera_time

Group = list[tuple[Cameras, dict[str, Any]]]
"""The views of one training step: cameras of size 1 and their batches."""


class Between(NamedTuple):
    """Pseudo-views in a training.

    Attributes:
        places: where they are seen from.
        views: what the teacher shows there.
        every: once in so many steps they take the place of the training images.
    """

    places: PseudoViews
    views: TeacherViews
    every: int


class Lessons:
    """Makes a training step's views ready for `moegs_ns.distill.loss.Distillation`.

    Args:
        views: the teacher's, of the training images.
        between: pseudo-views, if there are any.
    """

    def __init__(self, views: TeacherViews, between: Between | None = None) -> None:
        self._views, self._between = views, between

    def of_step(self, group: Group, step: int) -> Group:
        """The training images ``group`` of a step with what the teacher shows of them, or in some steps as many
        pseudo-views of the same instant."""
        between = self._between
        if between is not None and step % between.every == 0:
            chosen = between.places.choose(camera_time(group[0][0], 0.0), len(group), step)
            return [_pseudo_view(between, index) for index in chosen]
        for _, batch in group:
            batch[TEACHER_IMAGE], batch[STUDENT_GATE] = self._views.view(batch["image_idx"])
        return group


def _pseudo_view(between: Between, index: int) -> tuple[Cameras, dict[str, Any]]:
    image, _ = between.views.view(index)
    return between.places.cameras[index : index + 1], {"image": image, PSEUDO_VIEW: True}
