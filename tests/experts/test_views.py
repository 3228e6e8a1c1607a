"""Cameras as the rasterizer knows them, ground truth of a batch, and the error between images."""

from types import SimpleNamespace

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.views import CameraView, ground_truth_image, image_psnr


def test_the_ground_truth_is_made_once_per_image() -> None:
    image = torch.tensor([[[0, 51, 255, 7]]], dtype=torch.uint8)
    batch = {"image": image}
    truth = ground_truth_image(batch, "cpu")
    torch.testing.assert_close(truth, torch.tensor([[[0.0, 0.2, 1.0]]]))
    assert ground_truth_image(batch, "cpu") is truth
    batch["image"] = torch.full((1, 1, 3), 0.5)
    torch.testing.assert_close(ground_truth_image(batch, "cpu"), torch.full((1, 1, 3), 0.5))


def test_psnr_is_that_of_the_mean_square() -> None:
    generator = torch.Generator().manual_seed(0)
    image, truth = (torch.rand(70, 90, 4, generator=generator)[..., :3] for _ in range(2))
    expected = -10 * (image.double() - truth.double()).square().mean().log10()
    torch.testing.assert_close(image_psnr(image, truth).double(), expected, rtol=1e-6, atol=1e-6)
    assert float(image_psnr(image, image)) == 120


def test_a_camera_of_a_training_step_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Cameras] = []
    look = CameraView.of
    monkeypatch.setattr(CameraView, "of", lambda camera, device: (looks.append(camera), look(camera, device))[1])
    first, second = (
        Cameras(torch.eye(4)[None, :3] * scale, 5.0, 6.0, 3.0, 2.0, width=7, height=4) for scale in (1.0, 2.0)
    )
    model = SimpleNamespace(_step_views={}, device="cpu")
    views = ExpertModel.views_of(model, [first, second]) + ExpertModel.views_of(model, [second])  # type: ignore[arg-type]
    assert len(looks) == 2 and views[2] is views[1] is not views[0]
    assert views[0].intrinsics.tolist() == [[5, 0, 3], [0, 6, 2], [0, 0, 1]] and views[0][2:] == (7, 4)
    model._step_views = None  # outside a step a camera may be another the next time
    ExpertModel.views_of(model, [first]), ExpertModel.views_of(model, [first])  # type: ignore[arg-type]
    assert len(looks) == 4
