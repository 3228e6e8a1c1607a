"""The distillation loss: what it reduces to, what it weighs, what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor

from moegs_ns.distill.loss import PSEUDO_VIEW, STUDENT_GATE, TEACHER_IMAGE, Distillation
from moegs_ns.experts.supervision import GROUND_TRUTH
from moegs_ns.losses import photometric_loss

HEIGHT, WIDTH = 23, 31


def images(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The student's picture, the video's image, the teacher's picture ``[H,W,3]`` and a gate ``[H,W]``."""
    generator = torch.Generator().manual_seed(seed)
    rgb, truth, teacher = torch.rand(3, HEIGHT, WIDTH, 3, generator=generator).unbind(0)
    return rgb.requires_grad_(), truth, teacher, torch.rand(HEIGHT, WIDTH, generator=generator)


def batch_of(truth: Tensor, teacher: Tensor, gate: Tensor) -> dict[str, Any]:
    return {"image": truth, TEACHER_IMAGE: teacher, STUDENT_GATE: gate}


def measure(picture: Tensor, image: Tensor) -> Tensor:
    return photometric_loss(picture, image, 0.2)


@pytest.mark.parametrize("balanced", [True, False])
def test_full_trust_and_only_the_video_is_plain_training(balanced: bool) -> None:
    rgb, truth, teacher, gate = images()
    batch = batch_of(truth, teacher, torch.ones_like(gate))
    taught = Distillation(1.0, "weighted", balanced)(rgb, batch, measure)
    plain = GROUND_TRUTH(rgb, batch, measure)
    assert torch.equal(taught, plain)
    (own,), (expected,) = torch.autograd.grad(taught, rgb), torch.autograd.grad(plain, rgb)
    assert torch.equal(own, expected)


@pytest.mark.parametrize("balanced", [True, False])
def test_no_trust_and_only_the_teacher_is_training_on_its_pictures(balanced: bool) -> None:
    rgb, truth, teacher, gate = images()
    taught = Distillation(0.0, "weighted", balanced)(rgb, batch_of(truth, teacher, torch.zeros_like(gate)), measure)
    plain = measure(rgb, teacher)
    assert torch.equal(taught, plain)
    assert torch.equal(*(torch.autograd.grad(loss, rgb)[0] for loss in (taught, plain)))


def test_masks_multiply_images_before_they_are_compared() -> None:
    rgb, truth, teacher, gate = images(1)
    mask, share = gate[..., None], 0.3
    expected = share * measure(mask * rgb, mask * truth) + 0.7 * measure((1 - mask) * rgb, (1 - mask) * teacher)
    found = Distillation(share, "weighted", balanced=False)(rgb, batch_of(truth, teacher, gate), measure)
    torch.testing.assert_close(found, expected)
    weight = share * gate.mean() + 0.7 * (1 - gate).mean()
    balanced = Distillation(share, "weighted")(rgb, batch_of(truth, teacher, gate), measure)
    torch.testing.assert_close(balanced, expected / weight)
    assert 0.3 < float(weight) < 0.7  # or the two would hardly differ


def test_unweighted_has_the_same_terms_without_masks_and_gt_the_first_alone() -> None:
    rgb, truth, teacher, gate = images(2)
    batch = batch_of(truth, teacher, gate)
    found = Distillation(0.25, "unweighted")(rgb, batch, measure)
    torch.testing.assert_close(found, 0.25 * measure(rgb, truth) + 0.75 * measure(rgb, teacher))
    assert torch.equal(Distillation(0.25, "gt")(rgb, {"image": truth}, measure), measure(rgb, truth))


def test_uint8_images_are_compared_as_floats() -> None:
    rgb, truth, teacher, gate = images(3)
    stored = (truth * 255).round().to(torch.uint8)
    one, other = (
        Distillation()(rgb, batch_of(image, teacher, gate), measure) for image in (stored, stored.float() / 255)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_beyond_the_whole_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"ground-truth weight in \[0,1\]"):
        Distillation(share)


def test_of_a_pseudo_view_only_the_teacher_knows() -> None:
    rgb, _, teacher, _ = images(4)
    assert torch.equal(Distillation()(rgb, {"image": teacher, PSEUDO_VIEW: True}, measure), measure(rgb, teacher))
