"""PSNR of what moves, and flicker, against definitions written out in numpy and SciPy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter, uniform_filter
from skimage.metrics import peak_signal_noise_ratio

from moegs_ns.reporting.video_metrics import NAMES, TruthImage, VideoMetrics

POSE = torch.arange(16.0)
HEIGHT, WIDTH, FRAMES = 24, 32, 6


def clip(noise: float = 1.0, seed: int = 0) -> np.ndarray:
    """A square that moves over a still picture with noise of some levels: uint8 ``[T,H,W,3]``."""
    generator = np.random.default_rng(seed)
    still = generator.integers(60, 180, (HEIGHT, WIDTH, 3))
    frames = np.repeat(still[None], FRAMES, axis=0).astype(np.float64)
    for number in range(FRAMES):
        frames[number, 4:10, 3 + 2 * number : 9 + 2 * number] = 250
    frames += noise * generator.normal(size=frames.shape)
    return np.clip(frames.round(), 0, 255).astype(np.uint8)


def images(frames: np.ndarray, camera: str | None = "cam00", step: int = 1, poses: list | None = None) -> list:
    return [
        TruthImage(camera, number * step, POSE if poses is None else poses[number], torch.from_numpy(frame))
        for number, frame in enumerate(frames)
    ]


def region(frames: np.ndarray) -> np.ndarray:
    """The definition in other words: ``[H,W]`` bool."""
    counts = uniform_filter(np.ones(frames.shape[1:3]), 3, mode="constant")
    smooth = np.stack([uniform_filter(f / 255.0, (3, 3, 1), mode="constant") / counts[..., None] for f in frames])
    return maximum_filter((np.ptp(smooth, axis=0) > 20 / 255 + 1e-9).any(axis=-1), 5)


def measure(metrics: VideoMetrics, frames: np.ndarray, renderings: np.ndarray, camera: str = "cam00") -> list:
    return [
        metrics.measure("", torch.from_numpy(rendering), torch.from_numpy(frame), camera, number)
        for number, (frame, rendering) in enumerate(zip(frames, renderings, strict=True))
    ]


def test_values_are_those_of_the_definitions() -> None:
    frames = clip()
    generator = np.random.default_rng(1)
    renderings = (frames / 255.0 + 0.05 * generator.normal(size=frames.shape)).astype(np.float32)
    metrics = VideoMetrics(images(frames))
    rows = measure(metrics, frames, renderings)
    moving, shown = region(frames), np.clip(renderings, 0, 1).astype(np.float64)
    assert 0.1 < moving.mean() < 0.7
    for number, row in enumerate(rows):
        expected = peak_signal_noise_ratio(frames[number][moving] / 255.0, shown[number][moving], data_range=1.0)
        assert row["psnr_dynamic"] == pytest.approx(expected, abs=1e-4)
        if number:
            change = 255 * np.abs(shown[number] - shown[number - 1])[~moving].mean()
            assert row["flicker"] == pytest.approx(change, rel=1e-5)
    assert "flicker" not in rows[0]
    described = metrics.regions()["cam00"]
    assert described["share"] == pytest.approx(moving.mean())
    noise = np.abs(np.diff(frames.astype(np.float64), axis=0))[:, ~moving].mean()
    assert described["truth_flicker"] == pytest.approx(noise, rel=1e-5)
    assert "20/255" in metrics.describe()["psnr_dynamic"] and "levels of 255" in metrics.describe()["flicker"]


def test_the_region_is_what_moved_and_its_edge() -> None:
    metrics = VideoMetrics(images(clip(noise=2.0)))
    (found,) = [one.changing.numpy() for one in metrics._regions.values()]
    swept = np.zeros((HEIGHT, WIDTH), bool)
    swept[4:10, 3:19] = True
    assert found[swept].mean() > 0.95
    assert not found[~maximum_filter(swept, 7)].any()  # a pixel of the average, two of the margin


def test_rendering_does_not_change_the_region() -> None:
    frames = clip()
    metrics = VideoMetrics(images(frames))
    before = metrics.regions()
    measure(metrics, frames, np.random.default_rng(0).random(frames.shape, np.float32))
    assert metrics.regions() == before


def test_a_still_picture_does_not_flicker_and_the_truth_has_no_error() -> None:
    frames = clip()
    metrics = VideoMetrics(images(frames))
    still = np.repeat(frames[:1], FRAMES, axis=0).astype(np.float32) / 255
    assert [row["flicker"] for row in measure(metrics, frames, still)[1:]] == [0.0] * (FRAMES - 1)
    exact = measure(metrics, frames, frames.astype(np.float32) / 255)
    assert {row["psnr_dynamic"] for row in exact} == {100.0}


def test_videos_of_several_rows_are_kept_apart() -> None:
    frames = clip()
    metrics = VideoMetrics(images(frames))
    for number, frame in enumerate(frames):
        truth = torch.from_numpy(frame)
        blinking = metrics.measure("blinks", torch.full((HEIGHT, WIDTH, 3), float(number % 2)), truth, "cam00", number)
        steady = metrics.measure("steady", torch.zeros(HEIGHT, WIDTH, 3), truth, "cam00", number)
        if number:
            assert (blinking["flicker"], steady["flicker"]) == (255.0, 0.0)


def test_only_the_least_distance_in_time_counts_as_flicker() -> None:
    """A clip of every second frame, in which one is missing."""
    frames = clip()
    truths = [one for one in images(frames, step=2) if one.frame != 4]
    metrics = VideoMetrics(truths)
    rows = {
        one.frame: metrics.measure("", one.image.float() / 255, one.image, "cam00", one.frame)
        for one in truths
        if one.frame is not None
    }
    assert metrics.regions()["cam00"]["frame_step"] == 2
    assert [frame for frame, row in rows.items() if "flicker" in row] == [2, 8, 10]


def test_cameras_are_regions_of_their_own() -> None:
    first, second = clip(seed=0), clip(seed=1)[:, ::-1].copy()
    metrics = VideoMetrics([*images(first, "cam00"), *images(second, "cam01")])
    rows = [*measure(metrics, first, first / 255, "cam00"), *measure(metrics, second, second / 255, "cam01")]
    assert ["flicker" in row for row in rows] == 2 * [False, *[True] * (FRAMES - 1)]
    assert metrics.regions().keys() == {"cam00", "cam01"}


@pytest.mark.parametrize(
    ("truths", "reason"),
    [
        (images(clip(), poses=[POSE + 0.01 * number for number in range(FRAMES)]), "the camera moves"),
        (images(clip(), camera=None), "do not say which camera"),
        (images(clip())[::-1], "not in the order of time: frame 4 behind 5"),
        (images(clip())[:1], "1 image, which shows no change"),
        ([*images(clip())[:1], *images(clip(), "cam01")[:1], *images(clip())[1:]], "stand apart"),
        ([], "no images"),
    ],
)
def test_what_cannot_be_had_is_said_and_breaks_nothing(truths: list, reason: str) -> None:
    metrics = VideoMetrics(truths)
    picture = torch.zeros(HEIGHT, WIDTH, 3)
    assert [metrics.measure("", picture, one.image, one.camera, one.frame) for one in truths] == [{}] * len(truths)
    described = metrics.describe()
    assert described.keys() == set(NAMES)
    assert all(text.startswith("unavailable: ") and reason in text for text in described.values())


def test_a_moving_camera_beside_a_still_one_is_left_out_and_named() -> None:
    moving = images(clip(), "cam01", poses=[POSE + number for number in range(FRAMES)])
    metrics = VideoMetrics([*images(clip()), *moving])
    assert metrics.describe()["flicker"].endswith("; of cam00 only")
    assert metrics.regions()["cam01"] == {"unavailable": "the camera moves, and with it every pixel changes"}


def test_nothing_moves() -> None:
    frames = np.repeat(clip(noise=0)[:1], FRAMES, axis=0)
    metrics = VideoMetrics(images(frames))
    rows = measure(metrics, frames, frames / 255)
    assert rows[1].keys() == {"flicker"}
    assert metrics.describe()["psnr_dynamic"].startswith("unavailable: nothing changes before any test camera")
    assert not metrics.describe()["flicker"].startswith("unavailable")


def test_everything_moves() -> None:
    frames = np.stack([np.full((HEIGHT, WIDTH, 3), 40 * number, np.uint8) for number in range(FRAMES)])
    metrics = VideoMetrics(images(frames))
    assert measure(metrics, frames, frames / 255)[1].keys() == {"psnr_dynamic"}
    assert metrics.regions()["cam00"]["truth_flicker"] is None
    assert metrics.describe()["flicker"].startswith("unavailable: everything changes")


def test_memory_does_not_grow_with_the_clip() -> None:
    """Maps of the image's size, whatever the number of frames: no image is held on to."""
    alive: list[int] = []

    class Watched(torch.Tensor):
        pass

    def long_clip() -> list:
        import weakref

        made: list = []
        for number in range(40):
            frame = torch.randint(0, 255, (HEIGHT, WIDTH, 3), dtype=torch.uint8).as_subclass(Watched)
            made.append(weakref.ref(frame))
            yield TruthImage("cam00", number, POSE, frame)
            del frame
            alive.append(sum(one() is not None for one in made))

    VideoMetrics(long_clip())
    assert max(alive) <= 2
