"""The HyperNeRF parser on real captures and on one with ground truth: they are no part of the checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moegs_ns.scene.dataset import FrameDataset
from tests.scene.layouts.parsing import labels, parse, project

pytestmark = pytest.mark.data


def real(data_dir: Path, name: str) -> Path:
    if not (data_dir / name).is_dir():
        pytest.skip(f"{name} is not among the real scenes")
    return data_dir / name


def test_windmill(data_dir: Path) -> None:
    """Eight frames of a phone, far apart in time; point colours in a file of their own."""
    data = real(data_dir, "windmill")
    outputs, test = parse("hypernerf", data, downscale=1), parse("hypernerf", data, "test", downscale=1)
    assert [frame for _, frame in labels(outputs)] == [0, 34, 102, 136, 204, 238]
    assert [frame for _, frame in labels(test)] == [68, 170]
    assert (outputs.metadata["num_frames"], outputs.metadata["fps"]) == (239, 30)
    assert outputs.cameras.cx[0].item() == pytest.approx(358.8895) and outputs.cameras.width[0].item() == 720
    assert outputs.metadata["points3D_rgb"].float().std() > 20
    # The points were lifted from these images: they have the colours of the pixels they project to.
    image = FrameDataset(outputs).get_numpy_image(0).astype(int)
    assert agreement(outputs, 0, image) < 0.5 * agreement(outputs, 3, image)


def agreement(outputs: Any, camera_of: int, image: np.ndarray) -> float:
    """Median difference of colours between points and the pixels one image's camera projects them to."""
    points, colours = (outputs.metadata[key].numpy() for key in ("points3D_xyz", "points3D_rgb"))
    pixels = project(outputs.cameras, camera_of, points.astype(float))
    inside = (pixels > 1).all(axis=1) & (pixels[:, 0] < image.shape[1] - 1) & (pixels[:, 1] < image.shape[0] - 1)
    assert inside.sum() > 500
    columns, rows = pixels[inside].astype(int).T
    return float(np.median(np.abs(image[rows, columns] - colours[inside])))


def test_capture(data_dir: Path) -> None:
    """A phone's walk: images without cameras, a bent lens, no points, images at half and quarter size only."""
    data = real(data_dir, "capture")
    with pytest.warns(UserWarning, match="20000 grey points at random places"):
        train, test = parse("hypernerf", data, downscale=4), parse("hypernerf", data, "test", downscale=4)
    assert (len(train.cameras), len(test.cameras)) == (82, 5)
    assert train.metadata["near"] == pytest.approx(0.06997, rel=1e-3)
    (frames,) = test.metadata["frame_sources"]
    assert not frames.lenses[0].is_pinhole
    assert test.cameras.fx[0].item() != pytest.approx(716.36 / 4, rel=1e-3)  # the pinhole picture is a part of it
    image = FrameDataset(test).get_numpy_image(2)
    assert image.shape == (214, 120, 3) and image.std() > 20
    with pytest.raises(FileNotFoundError, match="found 2x, 4x; pass --downscale 2"):
        parse("hypernerf", data, downscale=1)


@pytest.mark.parametrize("layout", ["hypernerf", "transforms"])
def test_mixed_vrig_against_its_ground_truth(layout: str, data_dir: Path) -> None:
    """Tracked points of a rig with known poses project onto their own objects' masks, through either description."""
    data = real(data_dir, "mixed_vrig")
    tracks = np.load(data / "gt_tracks.npz")
    for split, name in (("train", "left"), ("test", "right")):
        outputs = parse(layout, data, split, downscale=2)
        assert labels(outputs) == [(name, frame) for frame in range(24)]
        hits = {"right": [], "late": []}
        for image in range(0, 24, 4):
            mask = np.asarray(Image.open(data / "mask" / name / f"{image:04d}.png"))
            for kind, moment in (("right", image), ("late", (image + 4) % 24)):
                pixels = 2 * project(outputs.cameras, image, tracks["ball"][moment].astype(float))
                columns, rows = pixels.astype(int).T
                inside = (pixels >= 0).all(axis=1) & (columns < mask.shape[1]) & (rows < mask.shape[0])
                hits[kind] += (mask[rows[inside], columns[inside]] == 3).tolist()
        assert np.mean(hits["right"]) > 0.85 and np.mean(hits["late"]) < 0.5
