"""Metrics against independent implementations on real images: frames of videos as decoded, and worse copies of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from moegs_ns.reporting.lpips import LazyLpips, Network
from moegs_ns.reporting.metrics import MetricsProtocol
from moegs_ns.reporting.video_metrics import TruthImage, VideoMetrics

PROTOCOL = MetricsProtocol(lpips=())


def frames(video: Path, wanted: tuple[int, ...]) -> Iterator[np.ndarray]:
    """uint8 ``[H,W,3]``."""
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                yield frame.to_ndarray(format="rgb24")
            if number >= max(wanted):
                return


def worse_copies(image: np.ndarray) -> dict[str, np.ndarray]:
    """What renderers do to a picture, float32, partly outside [0,1]."""
    picture, generator = image.astype(np.float32) / 255, np.random.default_rng(0)
    return {
        "blurred": gaussian_filter(picture, (1.5, 1.5, 0)),
        "noisy": picture + 0.05 * generator.normal(size=picture.shape).astype(np.float32),
        "shifted": np.roll(picture, 1, axis=1),
        "brighter": 1.1 * picture,
    }


def check(image: np.ndarray) -> None:
    from torchmetrics import PeakSignalNoiseRatio
    from torchmetrics.image import StructuralSimilarityIndexMeasure

    height, width = image.shape[:2]
    torch_psnr = PeakSignalNoiseRatio(data_range=1.0)
    torch_ssim = StructuralSimilarityIndexMeasure(data_range=1.0, sigma=1.5, kernel_size=11)
    truth = image.astype(np.float32) / 255
    options: dict[str, Any] = {"channel_axis": 2, "data_range": 1.0, "gaussian_weights": True, "sigma": 1.5}
    for name, copy in worse_copies(image).items():
        values = PROTOCOL.measure(torch.from_numpy(copy), torch.from_numpy(image))
        shown = np.clip(copy, 0, 1)
        assert values["psnr"] == pytest.approx(peak_signal_noise_ratio(truth, shown, data_range=1.0), abs=1e-3), name
        _, ssim_map = structural_similarity(truth, shown, use_sample_covariance=False, full=True, **options)
        # scikit-image repeats the border where torchmetrics mirrors it without the edge: the inside is the same, and
        # the border is the smaller part of the picture.
        border = 1 - (height - 10) * (width - 10) / (height * width)
        assert values["ssim"] == pytest.approx(ssim_map.mean(), abs=0.1 * border), name
        planes = [torch.from_numpy(one).permute(2, 0, 1)[None] for one in (shown, truth)]
        assert values["psnr"] == pytest.approx(float(torch_psnr(*planes)), abs=1e-3), name
        assert values["ssim"] == pytest.approx(float(torch_ssim(*planes)), abs=1e-6), name
        inside = float(torch_ssim_map(*planes)[..., 5:-5, 5:-5].mean())
        assert inside == pytest.approx(ssim_map[5:-5, 5:-5].mean(), abs=2e-5), name


def torch_ssim_map(shown: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, whole = structural_similarity_index_measure(
        shown, truth, data_range=1.0, sigma=1.5, kernel_size=11, return_full_image=True
    )
    return whole


@pytest.mark.parametrize("camera", ["cam00", "cam05"])
def test_frames_of_the_bundled_scene(sample_scene: Path, camera: str) -> None:
    for image in frames(sample_scene / f"{camera}.mp4", (0, 11)):
        check(image)


@pytest.mark.data
@pytest.mark.parametrize("camera", ["cam00", "cam20"])
def test_frames_of_a_real_scene(data_dir: Path, camera: str) -> None:
    for image in frames(data_dir / "basketball" / f"{camera}.mp4", (0, 75)):
        check(image)


def regions_of(video: Path, count: int) -> tuple[dict[str, Any], torch.Tensor]:
    truths = (
        TruthImage("cam00", number, torch.zeros(16), torch.from_numpy(image))
        for number, image in enumerate(frames(video, tuple(range(count))))
    )
    metrics = VideoMetrics(truths)
    return metrics.regions()["cam00"], metrics._regions["cam00"].changing  # type: ignore[union-attr]


def test_the_dynamic_region_of_the_bundled_scene_covers_its_moving_objects(sample_scene: Path) -> None:
    """Against the masks the scene was made with."""
    from moegs_ns.reporting.object_psnr import find_masks

    described, changing = regions_of(sample_scene / "cam00.mp4", 24)
    assert described["share"] == pytest.approx(0.3345, abs=1e-3)
    assert described["truth_flicker"] < 0.5
    masks = find_masks(sample_scene)
    assert masks is not None
    moving = {number for number, name in masks.names.items() if name in ("rotor", "ball", "cloth", "popup")}
    assert len(moving) == 4
    covered = [
        changing.numpy()[np.isin(masks.read("cam00", frame, 320, 240), list(moving))].mean()
        for frame in range(0, 24, 4)
    ]
    assert min(covered) > 0.97


@pytest.mark.data
def test_the_dynamic_region_of_a_real_scene_is_none_of_its_noise(data_dir: Path) -> None:
    """A wall that nothing passes has noise of half the threshold at most, and is still."""
    described, changing = regions_of(data_dir / "basketball" / "cam00.mp4", 150)
    assert described["share"] == pytest.approx(0.61, abs=0.03)
    assert float(changing[:100, :100].float().mean()) < 0.01  # the upper left, before which nobody passes


@pytest.mark.parametrize("network", ["alex", pytest.param("vgg", marks=pytest.mark.slow)])
def test_lpips_is_what_the_paper_says(
    sample_scene: Path, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zhang et al. 2018, Eq. 1, written out: features normalised per pixel, squared differences weighted by the learnt
    heads, averaged over pixels, summed over layers. The backbone's weights are random: nothing is downloaded."""
    import torchmetrics.functional.image as functional
    import torchvision.models

    name = {"alex": "alexnet", "vgg": "vgg16"}[network]
    build = getattr(torchvision.models, name)

    def untrained(**_: Any) -> torch.nn.Module:
        torch.manual_seed(0)
        return build(weights=None)

    monkeypatch.setattr(torchvision.models, name, untrained)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    metric = LazyLpips(network)
    metric._backbone_file().parent.mkdir(parents=True)
    metric._backbone_file().touch()  # present, so nothing is downloaded
    (image,) = frames(sample_scene / "cam00.mp4", (3,))
    image = image[60:160, 100:220]
    copy = worse_copies(image)["blurred"]
    found = metric(torch.from_numpy(copy), torch.from_numpy(image.astype(np.float32) / 255))

    heads = torch.load(Path(functional.__file__).parent / "lpips_models" / f"{network}.pth", "cpu", weights_only=True)
    taps = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}[network]
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    layers = untrained().features.eval()

    def features(picture: np.ndarray) -> list[torch.Tensor]:
        value = ((2 * torch.from_numpy(picture) - 1 - shift) / scale).permute(2, 0, 1)[None]
        tapped = []
        for number, layer in enumerate(layers):
            value = layer(value)
            if number in taps:
                tapped.append(value[0] / value[0].square().sum(dim=0, keepdim=True).sqrt().clamp(min=1e-8))
        return tapped

    with torch.no_grad():
        pairs = zip(features(np.clip(copy, 0, 1)), features(image.astype(np.float32) / 255), strict=True)
        expected = sum(
            float((heads[f"lin{number}.model.1.weight"][0] * (one - other).square()).sum(dim=0).mean())
            for number, (one, other) in enumerate(pairs)
        )
    assert expected > 0
    assert found == pytest.approx(expected, rel=1e-4)
