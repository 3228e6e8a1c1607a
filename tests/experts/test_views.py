"""Ground truth of a batch and the error between images."""

import torch

from moegs_ns.experts.views import ground_truth_image, image_psnr


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
