"""What a teacher shows of training views: its picture, and how far it trusts each of its experts there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.router.mixture import MixtureModel


class TeacherView(NamedTuple):
    """One view.

    Attributes:
        image: ``[H,W,3]`` in [0,1].
        gates: ``[K,H,W]`` in [0,1], sum to 1 over experts.
    """

    image: Tensor
    gates: Tensor


class Teacher:
    """A trained mixture that shows training views.

    Args:
        mixture: in evaluation mode.
        camera_names: the student's training cameras, in which a camera's ``camera_index`` counts.
    """

    def __init__(self, mixture: MixtureModel, camera_names: Sequence[str]) -> None:
        mixture.require_experts()
        self._mixture, self._camera_names = mixture.eval(), list(camera_names)

    @property
    def expert_names(self) -> list[str]:
        """Of its K experts, in the order of gates."""
        return self._mixture.expert_names

    @torch.no_grad()
    def view(self, camera: Cameras) -> TeacherView:
        """What a camera of size 1 sees; see `MixtureModel.training_view`."""
        image, gates = self._mixture.training_view(camera.to(self._mixture.device), self._camera_names)
        return TeacherView(image, gates)


class TeacherViews(Protocol):
    """A teacher's views of the student's training images, by their numbers."""

    def view(self, index: int) -> tuple[Tensor, Tensor]:
        """Picture ``[H,W,3]`` and the student's gate ``[H,W]`` in it, float in [0,1]; a student that none of the
        teacher's gates is about has 1 everywhere."""


@dataclass(frozen=True)
class LiveViews:
    """Views rendered when they are asked for.

    Attributes:
        teacher: who shows them.
        cameras: the training images'.
        expert: position of the student among the teacher's experts; None for one that no gate is about.
        device: where views are wanted.
    """

    teacher: Teacher
    cameras: Cameras
    expert: int | None
    device: torch.device | str

    def view(self, index: int) -> tuple[Tensor, Tensor]:
        """As `TeacherViews`."""
        shown = self.teacher.view(self.cameras[index : index + 1])
        gate = torch.ones_like(shown.gates[0]) if self.expert is None else shown.gates[self.expert]
        return shown.image.to(self.device), gate.to(self.device)


def student_position(names: Sequence[str], student: str) -> int:
    """Position of the student among the teacher's experts.

    Raises:
        ValueError: there is none of that name.
    """
    if student not in names:
        known = ", ".join(names)
        given = f"found '{student}'" if student else "found no --student"
        raise ValueError(f"expected the name of one of the teacher's experts ({known}) behind --student, {given}")
    return list(names).index(student)
