"""The metrics protocol against scikit-image and a SciPy reference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from moegs_ns.reporting import lpips as lpips_module
from moegs_ns.reporting.lpips import LazyLpips
from moegs_ns.reporting.metrics import MetricsProtocol, as_float_image, psnr, ssim

PROTOCOL = MetricsProtocol(lpips=())


def make_images(height: int = 40, width: int = 50, noise: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture and a noisy copy, float32 in [0,1]."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    picture = 0.5 + 0.4 * np.sin(rows / 7)[..., None] * np.cos(columns / 5 + np.arange(3)[:, None, None]).transpose(
        1, 2, 0
    )
    noisy = np.clip(picture + noise * generator.normal(size=picture.shape), 0, 1)
    return picture.astype(np.float32), noisy.astype(np.float32)


def reference_ssim_map(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """SSIM after Wang et al. 2004, Gaussian window 11x11 with sigma 1.5, float64, borders mirrored."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(image, window, axis=0, mode="mirror"), window, axis=1, mode="mirror")

    first, second = first.astype(np.float64), second.astype(np.float64)
    mean_first, mean_second = blur(first), blur(second)
    variance_first = blur(first**2) - mean_first**2
    variance_second = blur(second**2) - mean_second**2
    covariance = blur(first * second) - mean_first * mean_second
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mean_first * mean_second + c1) * (2 * covariance + c2)) / (
        (mean_first**2 + mean_second**2 + c1) * (variance_first + variance_second + c2)
    )


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.3])
def test_psnr_equals_scikit_image(noise: float) -> None:
    first, second = make_images(noise=noise)
    value = psnr(torch.from_numpy(first), torch.from_numpy(second))
    expected = 100.0 if noise == 0.0 else peak_signal_noise_ratio(first, second, data_range=1.0)
    assert value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("height", "width"), [(40, 50), (11, 64), (7, 9)])
@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_ssim_equals_the_scipy_reference(height: int, width: int, noise: float) -> None:
    first, second = make_images(height, width, noise)
    value = ssim(torch.from_numpy(first), torch.from_numpy(second))
    assert value == pytest.approx(reference_ssim_map(first, second).mean(), abs=2e-5)


def test_ssim_differs_from_scikit_image_by_the_borders_only() -> None:
    first, second = make_images(noise=0.1)
    options = {"channel_axis": 2, "data_range": 1.0, "gaussian_weights": True, "use_sample_covariance": False}
    inside = structural_similarity(first, second, sigma=1.5, **options)
    assert reference_ssim_map(first, second)[5:-5, 5:-5].mean() == pytest.approx(inside, abs=1e-5)


def test_ssim_of_extremes() -> None:
    first, _ = make_images()
    image = torch.from_numpy(first)
    assert ssim(image, image) == pytest.approx(1.0, abs=1e-6)
    assert ssim(torch.zeros(20, 20, 3), torch.ones(20, 20, 3)) < 1e-3


def test_prediction_is_clamped_and_bytes_are_scaled() -> None:
    first, second = make_images()
    target = torch.from_numpy((first * 255).round().astype(np.uint8))
    prediction = torch.from_numpy(second) * 3 - 1
    clamped = np.clip(second * 3 - 1, 0, 1)
    values = PROTOCOL.measure(prediction, target)
    expected = peak_signal_noise_ratio(target.numpy() / 255, clamped.astype(np.float64), data_range=1.0)
    assert values["psnr"] == pytest.approx(expected, abs=1e-3)
    assert torch.equal(as_float_image(torch.tensor([0, 255], dtype=torch.uint8)), torch.tensor([0.0, 1.0]))
    assert values.keys() == {"psnr", "ssim"}


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (torch.zeros(8, 8, 3), torch.zeros(8, 9, 3), r"\(8, 8, 3\) and \(8, 9, 3\)"),
        (torch.zeros(8, 8, 4), torch.zeros(8, 8, 4), r"one shape \[H,W,3\]"),
        (torch.full((8, 8, 3), float("nan")), torch.zeros(8, 8, 3), "NaN or infinity"),
        (torch.zeros(5, 8, 3), torch.zeros(5, 8, 3), "larger than 5 pixels"),
    ],
)
def test_senseless_images_are_refused(prediction: torch.Tensor, target: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PROTOCOL.measure(prediction, target)


def test_missing_weights_are_named_once_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))

    def offline(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    protocol = MetricsProtocol()
    image = torch.rand(32, 40, 3)
    for _ in range(2):
        assert protocol.measure(image, image).keys() == {"psnr", "ssim"}
    printed = " ".join(capsys.readouterr().out.split())
    for network, file in (("alex", "alexnet-owt-7be5be79.pth"), ("vgg", "vgg16-397923af.pth")):
        assert printed.count(f"LPIPS ({network}) is left out") == 1
        described = protocol.describe()[f"lpips_{network}"]
        assert described.startswith("unavailable: ")
        assert f"put {file} into {tmp_path / 'checkpoints'}" in described


def test_lpips_values_with_a_stand_in_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real network with random backbone weights: input range, reuse and device handling, without a download."""
    import torchvision.models

    built = []
    alexnet = torchvision.models.alexnet

    def untrained(**_: Any) -> torch.nn.Module:
        built.append(1)
        torch.manual_seed(0)
        return alexnet(weights=None)

    monkeypatch.setattr(torchvision.models, "alexnet", untrained)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()  # present, so nothing is downloaded
    metric = LazyLpips("alex")
    first, second = (torch.from_numpy(image) for image in make_images(48, 64, noise=0.3))
    assert metric(first, first) == pytest.approx(0.0, abs=1e-7)
    distance = metric(first, second)
    assert distance is not None
    assert distance > 0
    assert len(built) == 1
    assert not isinstance(metric, torch.nn.Module)
    assert "inputs scaled from [0,1] to [-1,1]" in metric.describe()

    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    batch = [image.permute(2, 0, 1)[None] * 2 - 1 for image in (first, second)]
    expected = learned_perceptual_image_patch_similarity(*batch, net_type="alex", normalize=False)
    assert distance == pytest.approx(float(expected), rel=1e-5)


def test_lpips_of_images_too_small_for_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    metric = LazyLpips("alex")
    assert metric(torch.zeros(31, 40, 3), torch.zeros(31, 40, 3)) is None
    assert "at least 32 pixels a side, found 40x31" in " ".join(capsys.readouterr().out.split())


def test_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="'squeeze'"):
        MetricsProtocol(lpips=("squeeze",))  # type: ignore[arg-type]


def test_socket_timeout_is_put_back() -> None:
    import socket

    with lpips_module._socket_timeout(1.5):
        assert socket.getdefaulttimeout() == 1.5
    assert socket.getdefaulttimeout() is None
