"""PSNR per object against a calculation pixel by pixel."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moegs_ns.reporting.object_psnr import ObjectErrors, find_masks, object_table


def test_summary_equals_a_calculation_pixel_by_pixel() -> None:
    random = np.random.default_rng(0)
    errors = ObjectErrors({1: "static", 2: "ball"})
    squared: dict[int, list[float]] = {1: [], 2: [], 5: []}
    for shows in ((1, 2), (1, 5), (1,)):  # an object need not be in every image
        truth, picture = random.random((2, 6, 7, 3))
        picture = picture * 1.4 - 0.2  # beyond [0,1], where it must be clamped
        mask = random.choice(shows, (6, 7)).astype(np.uint8)
        errors.add({"mixture": picture, "perfect": truth}, truth, mask)
        for y in range(6):
            for x in range(7):
                difference = [min(max(picture[y, x, c], 0.0), 1.0) - truth[y, x, c] for c in range(3)]
                squared[int(mask[y, x])].append(sum(d * d for d in difference) / 3)
    summary = errors.summary()
    names = {1: "static", 2: "ball", 5: "object 5"}
    assert list(summary["objects"]) == ["static", "ball", "object 5"]
    for number, values in squared.items():
        assert summary["objects"][names[number]] == pytest.approx(len(values) / (3 * 42))
        expected = -10 * math.log10(sum(values) / len(values))
        assert summary["psnr"]["mixture"][names[number]] == pytest.approx(expected)
        assert summary["psnr"]["perfect"][names[number]] == pytest.approx(100.0)
    assert json.loads(json.dumps(summary)) == summary


def test_masks_are_scaled_by_the_nearest_pixel(tmp_path: Path) -> None:
    folder = tmp_path / "mask" / "cam03"
    folder.mkdir(parents=True)
    mask = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12)
    Image.fromarray(mask).save(folder / "0007.png")
    (tmp_path / "ground_truth.json").write_text('{"object_index": {"wall": 1}}')
    masks = find_masks(tmp_path)
    assert masks is not None and masks.names == {1: "wall"}
    np.testing.assert_array_equal(masks.read("cam03", 7, 12, 8), mask)
    # The centre of pixel (0, 0) of the 4x smaller image lies at (2, 2) of the full one.
    np.testing.assert_array_equal(masks.read("cam03", 7, 3, 2), mask[2::4, 2::4])
    with pytest.raises(FileNotFoundError, match="mask of frame 8 of cam03"):
        masks.read("cam03", 8, 3, 2)


def test_scenes_without_masks_have_none(tmp_path: Path) -> None:
    assert find_masks(tmp_path) is None


def test_the_sample_scene_has_masks_of_every_image(sample_scene: Path) -> None:
    masks = find_masks(sample_scene)
    assert masks is not None
    assert set(masks.names.values()) == {"static", "rotor", "ball", "cloth", "popup"}
    shown = {frame: set(np.unique(masks.read("cam00", frame, 320, 240))) for frame in range(24)}
    assert set.union(*shown.values()) <= set(masks.names)
    popup = next(number for number, name in masks.names.items() if name == "popup")
    assert [frame for frame in shown if popup in shown[frame]] == list(range(8, 17))


def test_table_has_the_rows_asked_for_in_order() -> None:
    summary = {
        "objects": {"static": 0.9, "ball": 0.1},
        "psnr": {"rgb": {"static": 30.0, "ball": 12.0}, "expert_stg": {"static": 29.0, "ball": 11.5}},
    }
    table = object_table("title", [summary], {"expert_stg": "stg", "absent": "absent", "rgb": "mixture"})
    assert table.header == ["PSNR", "static (90.0 %)", "ball (10.0 %)"]
    assert table.rows == [["stg", "29.00", "11.50"], ["mixture", "30.00", "12.00"]]
    assert table.emphasised == (1,)
