"""The training SSIM against a direct float64 evaluation, and the loss built on it."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from moegs_ns.losses import photometric_loss, ssim, ssim_map


def reference_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Wang et al. 2004 with zero padding, written with scipy instead of convolutions of torch."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            image = correlate1d(image, window, axis=axis, mode="constant", cval=0.0)
        return image

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))


@pytest.mark.parametrize("shape", [(24, 31, 3), (11, 40, 1), (5, 7, 3)])
def test_ssim_equals_direct_evaluation(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.random(shape)
    y = np.clip(x + 0.2 * rng.standard_normal(shape), 0, 1)
    expected = reference_ssim(x, y)
    np.testing.assert_allclose(ssim_map(torch.tensor(x), torch.tensor(y)).numpy(), expected, atol=1e-12)
    assert float(ssim(torch.tensor(x), torch.tensor(y))) == pytest.approx(expected.mean(), abs=1e-12)


def test_ssim_gradient_equals_finite_differences() -> None:
    torch.manual_seed(0)
    x = torch.rand(6, 7, 2, dtype=torch.float64, requires_grad=True)
    y = torch.rand(6, 7, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda image: ssim(image, y), (x,))


def test_equal_images_have_ssim_one_and_no_loss() -> None:
    image = torch.rand(20, 20, 3, dtype=torch.float64)
    assert float(ssim(image, image)) == pytest.approx(1.0)
    assert float(photometric_loss(image, image, 0.2)) == pytest.approx(0.0, abs=1e-12)


def test_loss_mixes_l1_and_ssim_by_the_weight() -> None:
    torch.manual_seed(1)
    x, y = torch.rand(20, 22, 3), torch.rand(20, 22, 3)
    l1 = float((x - y).abs().mean())
    assert float(photometric_loss(x, y, 0.0)) == pytest.approx(l1)
    assert float(photometric_loss(x, y, 1.0)) == pytest.approx(1 - float(ssim(x, y)))
    assert float(photometric_loss(x, y, 0.25)) == pytest.approx(0.75 * l1 + 0.25 * (1 - float(ssim(x, y))), rel=1e-5)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="equal shape"):
        ssim(torch.rand(4, 4, 3), torch.rand(4, 5, 3))
