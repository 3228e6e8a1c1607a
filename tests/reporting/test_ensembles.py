"""Reference pictures of a mixture against loops in numpy."""

import numpy as np
import pytest
import torch

from moegs_ns.reporting.ensembles import mean_of_experts, oracle, reference_pictures


def loop_oracle(images: np.ndarray, truth: np.ndarray, window: int) -> np.ndarray:
    _, height, width, _ = images.shape
    errors = ((images - truth) ** 2).mean(-1)
    half = window // 2
    result = np.empty_like(truth)
    for y in range(height):
        for x in range(width):
            box = errors[:, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
            result[y, x] = images[box.mean(axis=(1, 2)).argmin(), y, x]
    return result


@pytest.mark.parametrize("window", [1, 3, 9])
def test_oracle_equals_a_loop(window: int) -> None:
    rng = np.random.default_rng(0)
    images, truth = rng.random((3, 11, 14, 3)), rng.random((11, 14, 3))
    actual = oracle(torch.tensor(images), torch.tensor(truth), window)
    np.testing.assert_allclose(actual.numpy(), loop_oracle(images, truth, window))


def test_pixel_oracle_is_never_worse_than_any_expert() -> None:
    torch.manual_seed(0)
    images, truth = torch.rand(4, 20, 20, 3), torch.rand(20, 20, 3)
    pictures = reference_pictures(images, truth)
    best = min(float((image - truth).square().mean()) for image in images)
    assert float((pictures["pixel_oracle"] - truth).square().mean()) <= best
    assert float((pictures["smoothed_oracle"] - truth).square().mean()) >= float(
        (pictures["pixel_oracle"] - truth).square().mean()
    )


def test_one_expert_is_its_own_reference() -> None:
    image, truth = torch.rand(1, 12, 12, 3), torch.rand(12, 12, 3)
    for picture in reference_pictures(image, truth).values():
        assert torch.equal(picture, image[0])
    assert torch.equal(mean_of_experts(image), image[0])


def test_even_window_is_refused() -> None:
    with pytest.raises(ValueError, match="odd window"):
        oracle(torch.rand(1, 4, 4, 3), torch.rand(4, 4, 3), 2)
