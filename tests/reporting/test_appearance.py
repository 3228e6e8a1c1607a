"""Objects that come and go, against cases worked out by hand and a calculation pixel by pixel."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moegs_ns.reporting.appearance import (
    AppearanceMeter,
    Phase,
    appearance_table,
    appearing_objects,
    phases_of,
    separation,
)  # fmt: skip
from moegs_ns.reporting.object_psnr import ObjectMasks, find_masks

WALL, LAMP, BALL = 1, 2, 3
GREY, RED, BLUE = (0.4, 0.4, 0.4), (0.9, 0.1, 0.2), (0.0, 0.2, 0.8)


@pytest.fixture
def masks(tmp_path: Path) -> ObjectMasks:
    """Two cameras, five frames of 4x3. In frames 1 and 2 the lamp covers two pixels of cam00, in frame 2 behind the
    ball in one of them, in which the ball also passes before the wall in frame 4; cam01 sees the lamp in frame 1."""
    for camera in ("cam00", "cam01"):
        for frame in range(5):
            mask = np.full((3, 4), WALL, np.uint8)
            if frame in (1, 2) and (camera == "cam00" or frame == 1):
                mask[1, 1:3] = LAMP
            if frame in (2, 4) and camera == "cam00":
                mask[1, 2] = BALL
            (tmp_path / camera).mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / camera / f"{frame:04d}.png")
    return ObjectMasks(tmp_path, {WALL: "wall", LAMP: "lamp", BALL: "ball"})


def truth(masks: ObjectMasks, camera: str, frame: int) -> np.ndarray:
    return np.array([(0, 0, 0), GREY, RED, BLUE])[masks.read(camera, frame)]


def meter(masks: ObjectMasks, cameras: tuple[str, ...] = ("cam00",)) -> AppearanceMeter:
    shots = [(camera, frame) for camera in cameras for frame in range(5)]
    made = AppearanceMeter(masks, [(*shot, 4, 3) for shot in shots])
    for shot in shots:
        made.learn(*shot, truth(masks, *shot))
    return made


def test_phases_are_cut_where_an_object_comes_or_goes() -> None:
    assert phases_of({8, 9}, range(7, 12)) == [Phase(7, 7, False), Phase(8, 9, True), Phase(10, 11, False)]
    assert [phase.label for phase in phases_of({8, 9}, range(7, 12))] == ["7", "8-9", "10-11"]
    assert phases_of({0, 3}, range(4)) == [Phase(0, 0, True), Phase(1, 2, False), Phase(3, 3, True)]


def test_objects_come_and_go_if_no_camera_sees_them(masks: ObjectMasks) -> None:
    assert appearing_objects(masks, range(5)) == {LAMP: {1, 2}, BALL: {2, 4}}
    assert appearing_objects(masks, [1, 2]) == {BALL: {2}}  # of these frames the lamp is in all
    assert appearing_objects(masks, [0, 3]) == {}


def test_the_object_of_the_sample_scene(sample_scene: Path, tmp_path: Path) -> None:
    masks = find_masks(sample_scene)
    assert masks is not None
    for camera in ("cam00", "cam06"):  # two are enough, and quick
        (tmp_path / camera).symlink_to(masks.folder / camera)
    found = appearing_objects(ObjectMasks(tmp_path, masks.names), range(24))
    assert {masks.names[number]: there for number, there in found.items()} == {"popup": set(range(8, 17))}


def test_truth_shows_the_object_when_it_is_there_and_nothing_of_it_otherwise(masks: ObjectMasks) -> None:
    found = meter(masks)
    for frame in range(5):
        found.add("cam00", frame, {"truth": truth(masks, "cam00", frame)})
    lamp = found.summary()["lamp"]
    assert lamp["frames"] == [0, 1, 2, 3, 4] and lamp["pixels"] == 2
    assert lamp["phases"] == [[0, 0, False], [1, 2, True], [3, 4, False]]
    assert lamp["rows"]["truth"]["shown"] == pytest.approx([0.0, 1.0, 0.0])
    assert lamp["rows"]["truth"]["psnr"] == pytest.approx([100.0] * 3)
    assert separation(lamp, "truth") == pytest.approx(1.0)
    assert json.loads(json.dumps(found.summary())) == found.summary()


def test_a_picture_that_never_changes_shows_as_much_all_the_time(masks: ObjectMasks) -> None:
    found = meter(masks)
    half = (np.array(RED) + GREY) / 2
    for frame in range(5):
        found.add("cam00", frame, {"half": np.broadcast_to(half, (3, 4, 3)), "wall": np.full((3, 4, 3), 0.4)})
    rows = found.summary()["lamp"]["rows"]
    assert rows["half"]["shown_per_frame"] == pytest.approx([0.5] * 5)
    assert separation(found.summary()["lamp"], "half") == pytest.approx(0.0)
    assert rows["wall"]["shown"] == pytest.approx([0.0] * 3)
    difference = [(a - b) / 2 for a, b in zip(RED, GREY, strict=True)]
    expected = -10 * math.log10(sum(d * d for d in difference) / 3)
    assert rows["half"]["psnr"] == pytest.approx([expected] * 3)
    assert rows["wall"]["psnr"][0] == pytest.approx(100.0) and rows["wall"]["psnr"][2] == pytest.approx(100.0)


def test_what_stands_in_front_does_not_count(masks: ObjectMasks) -> None:
    """In frames 2 and 4 the ball hides the second pixel: whatever is there may be wrong."""
    found = meter(masks)
    for frame in range(5):
        picture = truth(masks, "cam00", frame)
        if frame in (2, 4):
            picture[1, 2] = (1.0, 1.0, 0.0)
        found.add("cam00", frame, {"row": picture})
    assert found.summary()["lamp"]["rows"]["row"]["psnr"] == pytest.approx([100.0] * 3)
    assert found.summary()["ball"]["rows"]["row"]["psnr"][-1] < 20


def test_cameras_count_by_their_pixels(masks: ObjectMasks) -> None:
    """Pictures of noise from two cameras against sums over pixels; cam01 sees nothing of the lamp in frame 2."""
    random = np.random.default_rng(0)
    found = meter(masks, ("cam00", "cam01"))
    error: dict[int, list[float]] = {frame: [] for frame in range(5)}
    fit: dict[int, list[tuple[float, float]]] = {frame: [] for frame in range(5)}
    for camera in ("cam00", "cam01"):
        for frame in range(5):
            picture = random.random((3, 4, 3)) * 1.4 - 0.2  # beyond [0,1], where it must be clamped
            found.add(camera, frame, {"noise": picture})
            mask, true = masks.read(camera, frame), truth(masks, camera, frame)
            for x in (1, 2):
                if mask[1, x] != (LAMP if frame in (1, 2) else WALL):
                    continue
                for c in range(3):
                    value = min(max(picture[1, x, c], 0.0), 1.0)
                    contrast = RED[c] - GREY[c]
                    error[frame].append((value - true[1, x, c]) ** 2)
                    fit[frame].append(((value - GREY[c]) * contrast, contrast**2))
    shares = [sum(a for a, _ in fit[frame]) / sum(b for _, b in fit[frame]) for frame in range(5)]
    row = found.summary()["lamp"]["rows"]["noise"]
    assert row["shown_per_frame"] == pytest.approx(shares)
    assert row["shown"] == pytest.approx([shares[0], (shares[1] + shares[2]) / 2, (shares[3] + shares[4]) / 2])
    for number, frames in enumerate(((0,), (1, 2), (3, 4))):
        errors = [one for frame in frames for one in error[frame]]
        assert row["psnr"][number] == pytest.approx(-10 * math.log10(sum(errors) / len(errors)))
    wanted = (shares[1] + shares[2]) / 2 - (shares[0] + shares[3] + shares[4]) / 3
    assert separation(found.summary()["lamp"], "noise") == pytest.approx(wanted)


def test_a_camera_that_never_sees_it_reports_nothing(masks: ObjectMasks) -> None:
    found = meter(masks, ("cam01",))
    found.add("cam01", 1, {"row": truth(masks, "cam01", 1)})
    assert set(found.summary()) == {"lamp"}  # the ball passes before cam00 only


def test_pictures_before_the_truth_is_known_are_refused(masks: ObjectMasks) -> None:
    found = AppearanceMeter(masks, [("cam00", frame, 4, 3) for frame in range(5)])
    found.learn("cam00", 0, truth(masks, "cam00", 0))
    with pytest.raises(ValueError, match=r"all true images of cam00 .* none of \[1, 2, 3, 4\]"):
        found.add("cam00", 0, {"row": truth(masks, "cam00", 0)})


def test_the_table_has_phases_and_edges(masks: ObjectMasks) -> None:
    found = meter(masks)
    for frame in range(5):
        found.add("cam00", frame, {"truth": truth(masks, "cam00", frame), "wall": np.full((3, 4, 3), 0.4)})
    lamp = found.summary()["lamp"]
    table = appearance_table("lamp", {"static": [(lamp, "wall")], "two seeds": [(lamp, "truth"), (lamp, "wall")]})
    assert table.header[1:4] == ["PSNR 0", "PSNR 1-2", "PSNR 3-4"]
    assert table.header[4:] == ["shown 0", "shown 1-2", "shown 3-4", "frames 0 / 1", "frames 2 / 3"]
    assert table.rows[0][4:] == [
        "0 %",
        "0 %",
        "0 %",
        "0 % / 0 %",
        "0 % / 0 %",
    ]
    assert table.rows[1][5] == "50 ± 71 %"
    assert table.notes[0].startswith("There in frames 1-2.")
