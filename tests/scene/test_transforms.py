"""The parsers of transforms.json: intrinsics, clocks, cameras, splits and backgrounds as files state them or not."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from moegs_ns.scene.dataset import FrameDataset
from moegs_ns.scene.points import PointCloud, write_ply
from tests.scene.layouts.clip import Clip, Shot, moving_capture
from tests.scene.layouts.parsing import labels, parse
from tests.scene.layouts.writers import write_blender, write_transforms
from tests.scene.make_video import numbered_frame, read_number

WIDTH, HEIGHT, FRAMES = 64, 48, 5


def rig(frames: int = FRAMES) -> Clip:
    """Three cameras that stand still around the origin; camera k's frame i shows ``40 * k + i``."""
    shots = []
    for index in range(3):
        turn = Rotation.from_euler("y", 0.5 * index).as_matrix()
        pose = np.column_stack([turn, turn @ [0.0, 0.0, 4.0]])
        for frame in range(frames):
            image = numbered_frame(40 * index + frame, WIDTH, HEIGHT)
            shots.append(Shot(f"cam{index:02d}", frame, pose, 60.0, 60.0, WIDTH / 2, HEIGHT / 2, image))
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    return Clip(shots, frames, points, np.full(points.shape, 90), (2.0, 6.0))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_transforms(tmp_path_factory.mktemp("transforms") / "scene", rig())


@pytest.fixture
def scene(written: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(written, tmp_path / "scene"))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def every_frame(scene: Path, **changes: Any) -> None:
    """Change entries of all frames; a function is called with the frame, None removes."""

    def change(values: dict[str, Any]) -> None:
        for frame in values["frames"]:
            for key, value in changes.items():
                frame[key] = value(frame) if callable(value) else value
                if frame[key] is None:
                    del frame[key]

    edit(scene / "transforms.json", change)


def numbers(outputs: Any) -> list[int]:
    dataset = FrameDataset(outputs)
    return [read_number(dataset.get_numpy_image(image)) for image in range(len(dataset))]


# -- cameras and splits ------------------------------------------------------------------------------------------------


def test_a_rig_holds_out_its_first_camera(written: Path) -> None:
    train, test = parse("transforms", written), parse("transforms", written, "test")
    assert labels(train) == [(name, frame) for name in ("cam01", "cam02") for frame in range(FRAMES)]
    assert labels(test) == [("cam00", frame) for frame in range(FRAMES)]
    assert numbers(train) == [*range(40, 45), *range(80, 85)]
    assert "image_names" not in train.metadata  # whole cameras are held out
    assert train.metadata["num_frames"] == FRAMES
    options = {"test_cams": ("2",), "val_cams": ("cam00",)}
    assert {split: parse("transforms", written, split, **options).metadata["camera_names"] for split in
            ("train", "val", "test")} == {"train": ["cam01"], "val": ["cam00"], "test": ["cam02"]}  # fmt: skip


def test_frames_may_name_their_cameras(scene: Path) -> None:
    every_frame(scene, camera=lambda frame: {"cam00": "top", "cam01": "a", "cam02": "b"}[frame["file_path"][:5]])
    assert parse("transforms", scene, "test").metadata["camera_names"] == ["a"]  # sorted by name
    every_frame(scene, camera=None, camera_label=lambda frame: frame["file_path"][:5].upper())
    assert parse("transforms", scene).metadata["camera_names"] == ["CAM01", "CAM02"]
    edit(scene / "transforms.json", lambda values: values["frames"][0].update(file_path="one.png", camera_label=None))
    shutil.copy(scene / "cam00" / "images" / "0000.png", scene / "one.png")
    with pytest.raises(ValueError, match="for all frames or for none, found 14 of 15 with one and one without"):
        parse("transforms", scene)


def test_one_camera_holds_out_the_fifth_of_eight_images(tmp_path: Path) -> None:
    data = write_transforms(tmp_path / "scene", moving_capture(rig(20), camera="images"))
    test, train = parse("transforms", data, "test"), parse("transforms", data)
    assert [frame for _, frame in labels(test)] == [4, 12] and test.metadata["camera_names"] == ["camera"]
    assert [frame for _, frame in labels(train)] == [f for f in range(20) if f not in (4, 12)]
    assert test.metadata["image_names"] == ["images/images/0004", "images/images/0012"]
    val = parse("transforms", data, "val", val_cams=("1", "images/images/0006", "15:"))
    assert [frame for _, frame in labels(val)] == [1, 6, 17, 18, 19]  # a slice of the images that would train
    assert numbers(val) == [40 * (frame % 3) + frame for frame in (1, 6, 17, 18, 19)]


def test_nerfstudios_lists_of_files_are_followed(scene: Path) -> None:
    def lists(values: dict[str, Any]) -> None:
        files = [frame["file_path"] for frame in values["frames"]]
        values |= {"train_filenames": files[:6], "val_filenames": files[6:8], "test_filenames": files[8:10]}

    edit(scene / "transforms.json", lists)
    assert labels(parse("transforms", scene)) == [*(("cam00", f) for f in range(5)), ("cam01", 0)]
    assert labels(parse("transforms", scene, "val")) == [("cam01", 1), ("cam01", 2)]
    assert labels(parse("transforms", scene, "test")) == [("cam01", 3), ("cam01", 4)]
    assert parse("transforms", scene).metadata["image_names"][-1] == "cam01/images/0000"


def test_files_by_split_come_before_the_single_one(scene: Path) -> None:
    whole = json.loads((scene / "transforms.json").read_text())
    for split, name in (("train", "cam02"), ("test", "cam01")):
        frames = [frame for frame in whole["frames"] if frame["file_path"].startswith(name)]
        (scene / f"transforms_{split}.json").write_text(json.dumps({**whole, "frames": frames}))
    assert parse("transforms", scene).metadata["camera_names"] == ["cam02"]
    assert parse("transforms", scene, "test").metadata["camera_names"] == ["cam01"]
    assert len(parse("transforms", scene, "val").cameras) == 0


# -- intrinsics --------------------------------------------------------------------------------------------------------


def test_intrinsics_stand_beside_the_frames_or_in_them(scene: Path) -> None:
    every_frame(scene, **dict.fromkeys(("fl_x", "fl_y", "cx", "cy", "w", "h", "k1", "k2", "k3", "p1", "p2")))
    edit(scene / "transforms.json", lambda values: values.update(fl_x=70.0, cx=30.0))
    cameras = parse("transforms", scene).cameras
    for key, value in (("fx", 70), ("fy", 70), ("cx", 30), ("cy", 24), ("width", 64), ("height", 48)):
        assert (getattr(cameras, key) == value).all()  # what is not stated: square pixels, the image's middle
    edit(scene / "transforms.json", lambda values: values["frames"][-1].update(fl_x=80.0, fl_y=81.0))
    cameras = parse("transforms", scene).cameras
    assert (cameras.fx[-1].item(), cameras.fy[-1].item(), cameras.fx[0].item()) == (80, 81, 70)


def test_an_angle_instead_of_a_focal_length(scene: Path) -> None:
    every_frame(scene, fl_x=None, fl_y=None)
    edit(scene / "transforms.json", lambda values: values.update(camera_angle_x=1.0))
    assert parse("transforms", scene).cameras.fx[0].item() == pytest.approx(32 / math.tan(0.5))
    edit(scene / "transforms.json", lambda values: values.update(camera_angle_y=0.9))
    cameras = parse("transforms", scene).cameras
    assert cameras.fy[0].item() == pytest.approx(24 / math.tan(0.45)) and cameras.fx[0] != cameras.fy[0]


def test_images_of_another_size_than_stated(scene: Path) -> None:
    every_frame(scene, w=128, h=96, fl_x=120.0, fl_y=124.0, cx=66.0, cy=44.0)
    cameras = parse("transforms", scene).cameras
    assert [getattr(cameras, key)[0].item() for key in ("fx", "fy", "cx", "cy", "width")] == [60, 62, 33, 22, 64]
    every_frame(scene, w=100)
    with pytest.raises(ValueError, match=r"proportions of w x h = 100x96 .*found 64x48"):
        parse("transforms", scene)


# -- time --------------------------------------------------------------------------------------------------------------


def test_frames_are_counted_by_the_commonest_step(tmp_path: Path, scene: Path) -> None:
    clip = rig(9)
    gaps = replace(clip, shots=[shot for shot in clip.shots if shot.frame not in (3, 4)])
    outputs = parse("transforms", write_transforms(tmp_path / "gaps", gaps))
    assert outputs.metadata["num_frames"] == 9
    assert [frame for _, frame in labels(outputs)][:7] == [0, 1, 2, 5, 6, 7, 8]
    outputs = parse("transforms", scene, num_frames=9)
    assert outputs.metadata["num_frames"] == 9 and [frame for _, frame in labels(outputs)][:5] == [0, 2, 4, 6, 8]
    every_frame(scene, time=0.25)
    outputs = parse("transforms", scene, "test", test_cams=("cam00",), num_frames=1)
    assert set(outputs.cameras.times[:, 0].tolist()) == {0.25}
    assert parse("transforms", scene, "test", test_cams=("cam00",)).metadata["num_frames"] == 1


def test_times_of_few_digits_are_those_of_their_frames(scene: Path) -> None:
    """Cameras share instants exactly; what lies between frames stays there."""
    every_frame(
        scene, time=lambda frame: frame["time"] + (0.003 if "cam02" in frame["file_path"] and frame["time"] < 1 else 0)
    )
    times = parse("transforms", scene).cameras.times[:, 0]
    assert times.tolist() == [0, 0.25, 0.5, 0.75, 1] * 2
    edit(scene / "transforms.json", lambda values: values["frames"][6].update(time=0.26))
    assert parse("transforms", scene, num_frames=5).cameras.times[1, 0].item() == pytest.approx(0.26)


def test_times_in_other_units_need_a_range(scene: Path) -> None:
    every_frame(scene, time=lambda frame: 10 + 12 * frame["time"])
    with pytest.raises(ValueError, match=r"times from 0 .* to 1 .*found 10 to 22; pass --time-range 10 22"):
        parse("transforms", scene)
    outputs = parse("transforms", scene, time_range=(10.0, 22.0))
    assert outputs.cameras.times[:5, 0].tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    part = parse("transforms", scene, time_range=(10.0, 34.0))
    assert part.cameras.times[:5, 0].tolist() == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
    assert part.metadata["num_frames"] == 9
    with pytest.raises(ValueError, match="BEGIN < END"):
        parse("transforms", scene, time_range=(2.0, 2.0))


def test_the_rate_and_the_cloud_of_the_file(scene: Path) -> None:
    assert parse("transforms", scene).metadata["fps"] == 30
    write_ply(scene / "sparse.ply", PointCloud(np.zeros((7, 3), np.float32), np.zeros((7, 3), np.uint8)))
    edit(scene / "transforms.json", lambda values: values.update(fps=24, ply_file_path="sparse.ply"))
    metadata = parse("transforms", scene, near=1.0, far=9.0).metadata
    assert metadata["fps"] == 24 and len(metadata["points3D_xyz"]) == 7
    assert len(parse("transforms", scene, point_cloud=Path("points3D.ply")).metadata["points3D_xyz"]) == 500


def test_bounds_are_those_of_the_points(scene: Path) -> None:
    metadata = parse("transforms", scene).metadata
    assert 2.4 < metadata["near"] < 3.2 and 4.8 < metadata["far"] < 5.6  # a box of two units, four away
    (scene / "points3D.ply").unlink()
    with pytest.warns(UserWarning, match="no seed points"), pytest.raises(ValueError, match="pass --near and --far"):
        parse("transforms", scene)
    with pytest.warns(UserWarning, match="no seed points"):
        metadata = parse("transforms", scene, near=2.0, far=6.0, random_points=99).metadata
    assert len(metadata["points3D_xyz"]) == 99


# -- transparency ------------------------------------------------------------------------------------------------------


def make_transparent(scene: Path) -> None:
    for path in scene.rglob("*.png"):
        image = np.asarray(Image.open(path))
        Image.fromarray(np.dstack([image, np.full(image.shape[:2], 51, np.uint8)])).save(path)  # a fifth


def test_transparent_images_need_a_background(scene: Path) -> None:
    make_transparent(scene)
    with pytest.raises(ValueError, match=r"expected opaque images, found transparency .*--background"):
        numbers(parse("transforms", scene))
    for name, value in (("white", 255), ("black", 0)):
        outputs = parse("transforms", scene, background=name)
        assert outputs.metadata["background"] == name
        image = FrameDataset(outputs).get_numpy_image(0)
        assert sorted(np.unique(image[:20])) == [round(0.8 * value), round(0.8 * value + 51)]
    assert "background" not in parse("transforms", scene).metadata


# -- files that are wrong ----------------------------------------------------------------------------------------------


def first(**changes: Any) -> Callable[[Path], None]:
    def change(scene: Path) -> None:
        def one(values: dict[str, Any]) -> None:
            values["frames"][0].update(changes)
            for key in [key for key, value in changes.items() if value is None]:
                del values["frames"][0][key]

        edit(scene / "transforms.json", one)

    return change


def whole(**changes: Any) -> Callable[[Path], None]:
    return lambda scene: edit(scene / "transforms.json", lambda values: values.update(changes))


BAD: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "no file": (lambda scene: (scene / "transforms.json").unlink(), FileNotFoundError, "images' cameras .*check"),
    "no frames": (whole(frames=[]), ValueError, "expected images in .*transforms.json, found none"),
    "frames of another kind": (whole(frames=[1]), ValueError, "expected a list of frames"),
    "no path": (first(file_path=None), ValueError, "a file_path for every frame"),
    "no image": (first(file_path="cam00/images/0009.png"), FileNotFoundError, "names at .*0009.png, found no"),
    "an image twice": (first(file_path="cam00/images/0001.png"), ValueError, "found cam00/images/0001 twice"),
    "no time": (first(time=None), ValueError, "a time for every frame .*found none for cam00.*nerfstudio-data"),
    "no number as a time": (first(time="soon"), ValueError, "a number as 'time' .*found 'soon'"),
    "no pose": (first(transform_matrix=None), ValueError, "a transform_matrix of numbers for cam00"),
    "half a pose": (first(transform_matrix=[[1, 0, 0], [0, 1, 0]]), ValueError, "4x4 transform_matrix"),
    "a pose with a scale": (
        first(transform_matrix=(2 * np.eye(4)).tolist()),
        ValueError,
        "right-handed rotations in the transform_matrix entries .* in cam00/images/0000 .1 of 15",
    ),
    "no focal length": (first(fl_x=None, fl_y=None), ValueError, "expected fl_x or camera_angle_x above 0"),
    "a fisheye": (whole(camera_model="OPENCV_FISHEYE"), ValueError, "perspective camera .*found OPENCV_FISHEYE"),
    "a fisheye by flag": (whole(is_fisheye=True), ValueError, "perspective camera .*found is_fisheye"),
    "a lens that folds": (first(k1=-9.0), ValueError, "can be undone all over the image"),
    "no image in a file": (
        lambda scene: (scene / "cam00" / "images" / "0000.png").write_text("nothing"),
        ValueError,
        "expected an image at .*0000.png, found something else",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_wrong_files_are_explained(case: str, scene: Path) -> None:
    spoil, error, message = BAD[case]
    spoil(scene)
    for split in ("train", "val", "test"):
        with pytest.raises(error, match=message):
            parse("transforms", scene, split)


def test_images_of_one_camera_have_one_size(scene: Path) -> None:
    path = scene / "cam01" / "images" / "0002.png"
    Image.open(path).resize((32, 24)).save(path)
    with pytest.raises(ValueError, match=r"images of one size from each camera, found \[\(32, 24\), \(64, 48\)\]"):
        parse("transforms", scene)


# -- synthetic objects -------------------------------------------------------------------------------------------------


def see_through(shot: Shot) -> np.ndarray:
    """Opaque in the upper half, where the number stands."""
    alpha = np.zeros(shot.image.shape[:2], np.uint8)
    alpha[: HEIGHT // 2] = 255
    return np.dstack([shot.image, alpha])


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clip = rig(9)
    splits = {
        "train": moving_capture(clip),
        "val": replace(moving_capture(clip, 1), shots=moving_capture(clip, 1).shots[::4]),
        "test": replace(moving_capture(clip, 2), shots=moving_capture(clip, 2).shots[::3]),
    }
    return write_blender(tmp_path_factory.mktemp("blender") / "scene", splits, see_through)


@pytest.mark.filterwarnings("ignore:no seed points")
def test_a_synthetic_scene(synthetic: Path) -> None:
    train, val, test = (parse("blender", synthetic, split) for split in ("train", "val", "test"))
    assert [frame for _, frame in labels(train)] == [*range(9)] and train.metadata["num_frames"] == 9
    assert [frame for _, frame in labels(val)] == [0, 4, 8] and [frame for _, frame in labels(test)] == [0, 3, 6]
    assert test.cameras.times[:, 0].tolist() == pytest.approx([0, 3 / 8, 6 / 8])
    assert test.metadata["image_names"] == ["test/r_000", "test/r_001", "test/r_002"]
    assert [path.name for path in test.image_filenames] == ["r_000.png", "r_001.png", "r_002.png"]
    assert train.cameras.fx[0].item() == pytest.approx(60) and train.cameras.cy[0].item() == 24
    for outputs, offset in ((train, 0), (val, 1), (test, 2)):
        shown = [40 * ((frame + offset) % 3) + frame for _, frame in labels(outputs)]
        assert numbers(outputs) == shown
        assert (FrameDataset(outputs).get_numpy_image(0)[HEIGHT // 2 :] == 255).all()  # white, as a rule
    black = parse("blender", synthetic, background="black")
    assert black.metadata["background"] == "black"
    assert (FrameDataset(black).get_numpy_image(0)[HEIGHT // 2 :] == 0).all()
    chosen = parse("blender", synthetic, "val", val_cams=("2", "train/r_005"))
    assert [frame for _, frame in labels(chosen)] == [2, 5]


def test_seeds_and_bounds_follow_the_cube(synthetic: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="2000 grey points at random places"):
        metadata = parse("blender", synthetic).metadata
    xyz = metadata["points3D_xyz"].numpy()
    assert len(xyz) == 2000 and 1.25 < np.abs(xyz).max() <= 1.3
    assert metadata["near"] == pytest.approx(4 - math.sqrt(3) * 1.3)
    assert metadata["far"] == pytest.approx(4 + math.sqrt(3) * 1.3)
    with pytest.warns(UserWarning, match="no seed points"):
        large = parse("blender", synthetic, half_edge=4.0, random_points=10).metadata
    assert large["near"] == pytest.approx(0.04) and np.abs(large["points3D_xyz"].numpy()).max() > 2
    with pytest.raises(ValueError, match="--half-edge > 0"):
        parse("blender", synthetic, half_edge=0.0)
    data = Path(shutil.copytree(synthetic, tmp_path / "scene"))
    write_ply(data / "points3D.ply", PointCloud(np.ones((5, 3), np.float32), np.zeros((5, 3), np.uint8)))
    assert len(parse("blender", data).metadata["points3D_xyz"]) == 5
