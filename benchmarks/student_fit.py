"""How well students learnt what they were shown: on training views, against the video and against their teacher.

A student that falls short of its teacher on new views may have learnt its lessons badly (then it falls short on
training views too, by about as much), or well but not what carries over.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from nerfstudio.models.base_model import Model
from torch import Tensor

from moegs_ns.distill.teacher import Teacher
from moegs_ns.experts.base import ExpertModel
from moegs_ns.reporting.metrics import psnr
from moegs_ns.router.experts import training_gains
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.training.load_run import View, load_model, load_run

IMAGES = 60
VIDEO, TEACHER = "video", "teacher"


def training_fit(teacher: Path, students: Mapping[str, Path], images: int = IMAGES) -> dict[str, dict[str, float]]:
    """Mean PSNR on training images, spread evenly over cameras and time.

    Args:
        teacher: run of a mixture.
        students: runs of experts by what they are called; of the teacher's scene and training cameras.
        images: how many, or all where there are fewer.

    Returns:
        By name, and for the teacher by ``mixture``: ``video``, and for students also ``teacher``, the PSNR against the
        teacher's pictures. Both with what was learnt of a camera's exposure, as training compares them.

    Raises:
        ValueError: the teacher is no mixture.
    """
    loaded = load_run(teacher, split="train")
    if not isinstance(loaded.model, MixtureModel):
        raise ValueError(f"expected the run of a mixture (moegs-router), found another kind at {teacher}")
    names = list(loaded.dataset.metadata["camera_names"])
    shows = Teacher(loaded.model, names)
    models = {name: load_model(run, loaded.model.device) for name, run in students.items()}
    total = len(loaded.images)
    chosen = [total * number // images for number in range(images)] if total > images else range(total)
    sums: dict[str, dict[str, float]] = {"mixture": {VIDEO: 0.0}}
    sums |= {name: {VIDEO: 0.0, TEACHER: 0.0} for name in models}
    for view in loaded.views(chosen):
        shown = shows.view(view.camera).image
        sums["mixture"][VIDEO] += psnr(shown, view.truth)
        for name, model in models.items():
            picture = _training_picture(model, view, names)
            sums[name][VIDEO] += psnr(picture, view.truth)
            sums[name][TEACHER] += psnr(picture, shown)
    return {name: {what: value / len(chosen) for what, value in own.items()} for name, own in sums.items()}


@torch.no_grad()
def _training_picture(model: Model, view: View, names: list[str]) -> Tensor:
    assert isinstance(model, ExpertModel)
    picture = model.get_outputs_for_camera(view.camera)["rgb"]
    gains = training_gains([model], view.camera, names)
    return (picture if gains is None else picture * gains[0]).clamp(0.0, 1.0)
