"""The HyperNeRF parser: splits of rigs and of single captures, sizes, clocks, missing cameras, what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from moegs_ns.scene.dataset import FrameDataset
from moegs_ns.scene.nerfies_files import read_camera
from moegs_ns.scene.points import PointCloud, write_ply
from tests.scene.layouts.clip import Clip, Distortion, Shot
from tests.scene.layouts.parsing import labels, parse
from tests.scene.layouts.writers import write_hypernerf
from tests.scene.make_video import numbered_frame, read_number

WIDTH, HEIGHT, FRAMES = 64, 48, 6


def capture(cameras: tuple[str, ...] = ("left", "right"), frames: int = FRAMES, gap: int = 1) -> Clip:
    """Moving cameras; camera k's frame i shows ``40 * k + i``."""
    shots = []
    for index, camera in enumerate(cameras):
        for frame in range(frames):
            rotation = Rotation.from_euler("xyz", [0.1 * frame, 0.2 * index, 0.03 * frame]).as_matrix()
            pose = np.column_stack([rotation, [0.5 * index, 0.2 * frame, 0.0]])
            image = numbered_frame(40 * index + frame, WIDTH, HEIGHT)
            shots.append(Shot(camera, gap * frame, pose, 70.0 + 0.5 * frame, 70.0, 33.0, 22.0, image))
    points = np.random.default_rng(0).uniform([-2, -2, -9], [3, 3, -2], (300, 3))
    return Clip(shots, gap * (frames - 1) + 1, points, np.full(points.shape, 90), (1.0, 9.0))


def turns(shot: Shot) -> bool:
    """A validation rig: the cameras take turns in training."""
    return (shot.frame % 2 == 0) == (shot.camera == "left")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hypernerf(tmp_path_factory.mktemp("rig") / "scene", capture(), turns)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One camera, 11 frames, nothing held out by the data set."""
    return write_hypernerf(tmp_path_factory.mktemp("single") / "scene", capture(("any",), 11), None)


@pytest.fixture
def scene(rig: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(rig, tmp_path / "scene"))


def edit(path: Path, **changes: Any) -> None:
    """Change entries of a JSON file; None removes one."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def frames_of(data: Path, split: str, **options: Any) -> list[int]:
    return [frame for _, frame in labels(parse("hypernerf", data, split, **{"downscale": 1, **options}))]


# -- splits ------------------------------------------------------------------------------------------------------------


def test_a_rig_is_split_as_its_lists_say(rig: Path) -> None:
    left, right = [("left", frame) for frame in (0, 2, 4)], [("right", frame) for frame in (1, 3, 5)]
    train, test = parse("hypernerf", rig, downscale=1), parse("hypernerf", rig, "test", downscale=1)
    assert labels(train) == left + right
    assert labels(test) == [("left", frame) for frame in (1, 3, 5)] + [("right", frame) for frame in (0, 2, 4)]
    assert train.metadata["image_names"][:2] == ["left1_000000", "left1_000002"]
    for outputs in (train, test):
        dataset = FrameDataset(outputs)
        for image, (camera, frame) in enumerate(labels(outputs)):
            assert read_number(dataset.get_numpy_image(image)) == 40 * (camera == "right") + frame
            assert outputs.cameras.times[image].item() == pytest.approx(frame / 5)
            assert outputs.cameras.fx[image].item() == pytest.approx(70 + 0.5 * frame)  # each image its own
            assert outputs.cameras.camera_to_worlds[image, :, 3].tolist() == pytest.approx(
                [0.5 * (camera == "right"), 0.2 * frame, 0]
            )
    assert len(parse("hypernerf", rig, "val", downscale=1).cameras) == 0


def test_validation_frames_are_taken_from_training(rig: Path) -> None:
    options = {"val_cams": ("2", "right1_000003"), "downscale": 1}
    names = {split: parse("hypernerf", rig, split, **options).metadata.get("image_names") for split in ("train", "val")}
    assert names["val"] == ["left1_000002", "right1_000003"]  # the right camera's frame 2 is a test image and stays one
    assert names["train"] == ["left1_000000", "left1_000004", "right1_000001", "right1_000005"]
    assert len(parse("hypernerf", rig, "test", **options).cameras) == 6
    with pytest.raises(ValueError, match="share no image, found right1_000002"):
        parse("hypernerf", rig, val_cams=("right1_000002",), downscale=1)


def test_one_camera_of_two_may_be_left_out(rig: Path) -> None:
    assert labels(parse("hypernerf", rig, exclude_cams=("right",), downscale=1)) == [("left", f) for f in (0, 2, 4)]
    test = labels(parse("hypernerf", rig, "test", test_cams=("right",), downscale=1))
    assert test == [("right", frame) for frame in range(6)]


def test_interpolation_scenes_train_on_every_fourth_image_and_test_between_them(single: Path) -> None:
    assert frames_of(single, "train") == [0, 4, 8]
    assert frames_of(single, "test") == [2, 6]  # not 10, which lies between no two
    assert frames_of(single, "train", val_cams=("4",)) == [0, 8]
    assert frames_of(single, "test", test_cams=("5", "7")) == [5, 7]
    assert frames_of(single, "train", test_cams=("5", "7")) == [0, 1, 2, 3, 4, 6, 8, 9, 10]
    assert frames_of(single, "val", val_cams=("1::4",), test_cams=("5",)) == [1, 6, 10]


# -- sizes -------------------------------------------------------------------------------------------------------------


def test_images_come_from_the_level_that_fits(tmp_path: Path) -> None:
    data = write_hypernerf(tmp_path / "scene", capture(), turns, levels=(1, 2))
    expected = {1: (1, 64), 2: (2, 32), 4: (2, 16), 6: (2, 10)}
    for downscale, (level, width) in expected.items():
        outputs = parse("hypernerf", data, downscale=downscale)
        assert outputs.image_filenames[0].parent.name == f"{level}x"
        assert outputs.cameras.width[0].item() == width == FrameDataset(outputs).get_numpy_image(0).shape[1]
        factor = 64 / width  # where the factor does not divide the size, the focal length follows what is left
        assert outputs.cameras.fx[0].item() == pytest.approx(70 / factor)
        assert outputs.cameras.cx[0].item() == pytest.approx(33 / factor)
    assert parse("hypernerf", data).cameras.width[0].item() == 32  # as in published comparisons
    shutil.rmtree(data / "rgb" / "1x")
    with pytest.raises(FileNotFoundError, match=r"3x or a level it is a multiple of, found 2x; pass --downscale 2"):
        parse("hypernerf", data, downscale=3)


def test_lenses_are_those_of_the_level(tmp_path: Path) -> None:
    data = write_hypernerf(tmp_path / "scene", capture(), turns, Distortion((0.1, 0.02, 0.0)), levels=(1, 2))
    whole, half = (parse("hypernerf", data, downscale=downscale) for downscale in (1, 2))
    lens, small = (outputs.metadata["frame_sources"][0].lenses[0] for outputs in (whole, half))
    assert (lens.fx, small.fx, small.radial) == (70, 35, lens.radial)
    assert half.cameras.fx[0].item() == pytest.approx(whole.cameras.fx[0].item() / 2)
    assert half.cameras.cy[0].item() == pytest.approx(whole.cameras.cy[0].item() / 2)


def test_pixel_aspect_and_older_names_of_distortion(rig: Path, tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    shutil.copy(rig / "camera" / "left1_000000.json", path)
    edit(
        path, pixel_aspect_ratio=1.1, tangential_distortion=None, tangential=[0.01, 0.02], radial_distortion=[0.1, 0, 0]
    )
    lens = read_camera(path).lens
    assert (lens.fx, lens.fy) == (70, pytest.approx(77))
    assert (lens.radial, lens.tangential) == ((0.1, 0, 0), (0.01, 0.02))


# -- time --------------------------------------------------------------------------------------------------------------


def test_frames_without_images_count(tmp_path: Path) -> None:
    data = write_hypernerf(tmp_path / "scene", capture(("any",), 6, gap=10), lambda shot: shot.frame % 20 == 0)
    outputs = parse("hypernerf", data, downscale=1)
    assert [frame for _, frame in labels(outputs)] == [0, 20, 40]
    assert outputs.metadata["num_frames"] == 51
    assert outputs.cameras.times[:, 0].tolist() == pytest.approx([0, 0.4, 0.8])


def test_time_id_wins_over_warp_id(scene: Path) -> None:
    rows = json.loads((scene / "metadata.json").read_text())
    edit(scene / "metadata.json", **{name: {**row, "time_id": 3 * row["warp_id"] + 2} for name, row in rows.items()})
    outputs = parse("hypernerf", scene, downscale=1)
    assert (outputs.metadata["first_frame"], outputs.metadata["num_frames"]) == (2, 16)
    assert [frame for _, frame in labels(outputs)] == [2, 8, 14, 5, 11, 17]


def test_a_range_of_frames(rig: Path) -> None:
    outputs = parse("hypernerf", rig, first_frame=1, num_frames=4, downscale=1)
    assert labels(outputs) == [("left", 2), ("left", 4), ("right", 1), ("right", 3)]
    assert outputs.cameras.times[:, 0].tolist() == pytest.approx([1 / 3, 1, 0, 2 / 3])
    assert (outputs.metadata["first_frame"], outputs.metadata["num_frames"]) == (1, 4)
    for options in ({"first_frame": 6}, {"num_frames": 0}, {"first_frame": -3, "num_frames": 2}):
        with pytest.raises(ValueError, match=r"frames within 0 to 5 .*--first-frame"):
            parse("hypernerf", rig, downscale=1, **options)


def test_times_of_points_follow_the_range(scene: Path) -> None:
    xyz, times = np.arange(18, dtype=np.float32).reshape(6, 3), np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    write_ply(scene / "points3D.ply", PointCloud(xyz, np.zeros((6, 3), np.uint8), times))
    metadata = parse("hypernerf", scene, first_frame=1, num_frames=3, downscale=1).metadata
    np.testing.assert_array_equal(metadata["points3D_xyz"].numpy(), xyz[1:4])
    np.testing.assert_allclose(metadata["points3D_time"].numpy()[:, 0], [0, 0.5, 1], atol=1e-6)


def test_the_rate_is_that_of_the_recording(scene: Path) -> None:
    assert parse("hypernerf", scene, downscale=1).metadata["fps"] == 15
    (scene / "extra.json").write_text('{"fps": 30.0}')
    assert parse("hypernerf", scene, downscale=1).metadata["fps"] == 30
    assert parse("hypernerf", scene, downscale=1, fps=5.0).metadata["fps"] == 5
    (scene / "extra.json").write_text('{"fps": "fast"}')
    with pytest.raises(ValueError, match="frame rate above 0 as 'fps' in .*extra.json, found 'fast'"):
        parse("hypernerf", scene, downscale=1)


# -- cameras, bounds and points ----------------------------------------------------------------------------------------


def test_images_without_cameras_are_left_out(scene: Path) -> None:
    for name in ("left1_000002", "right1_000004"):
        (scene / "camera" / f"{name}.json").unlink()
    with pytest.warns(UserWarning, match=r"2 of 12 images of .* have no camera and are left out, such as left1_000002"):
        train = parse("hypernerf", scene, downscale=1)
    assert labels(train) == [("left", 0), ("left", 4), ("right", 1), ("right", 3), ("right", 5)]
    assert train.metadata["num_frames"] == 6
    shutil.rmtree(scene / "camera")
    with pytest.raises(FileNotFoundError, match=r"expected cameras of the 12 images at .*camera/<id>.json, found none"):
        parse("hypernerf", scene, downscale=1)


def test_cameras_are_named_by_their_numbers_where_ids_tell_nothing(scene: Path) -> None:
    rows = json.loads((scene / "metadata.json").read_text())
    edit(scene / "metadata.json", **{name: {**row, "camera_id": row["warp_id"] % 2 + 3} for name, row in rows.items()})
    train = labels(parse("hypernerf", scene, downscale=1))
    assert train == [("camera3", 0), ("camera3", 2), ("camera3", 4), ("camera4", 1), ("camera4", 3), ("camera4", 5)]


def test_bounds_are_in_the_units_of_positions(rig: Path, scene: Path) -> None:
    metadata = parse("hypernerf", rig, downscale=1).metadata
    assert (metadata["near"], metadata["far"]) == (pytest.approx(1), pytest.approx(9))
    edit(scene / "scene.json", near=None)
    metadata = parse("hypernerf", scene, downscale=1).metadata  # by the depths of the points
    assert 1 < metadata["near"] < 4 and 6 < metadata["far"] < 12
    edit(scene / "scene.json", near="close")
    with pytest.raises(ValueError, match="expected numbers scale, near and far in .*scene.json"):
        parse("hypernerf", scene, downscale=1)


def test_seed_points_by_their_files(scene: Path) -> None:
    metadata = parse("hypernerf", scene, downscale=1).metadata
    assert metadata["points3D_xyz"].shape == (300, 3) and (metadata["points3D_rgb"] == 128).all()
    (scene / "points.npy").unlink()
    with pytest.warns(UserWarning, match="no seed points .* 20000 grey points at random places"):
        metadata = parse("hypernerf", scene, downscale=1).metadata
    assert len(metadata["points3D_xyz"]) == 20_000
    with pytest.warns(UserWarning, match="no seed points"):
        assert "points3D_xyz" not in parse("hypernerf", scene, downscale=1, random_points=0).metadata


# -- scenes that are wrong ---------------------------------------------------------------------------------------------


def camera(**changes: Any) -> Callable[[Path], None]:
    return lambda scene: edit(scene / "camera" / "left1_000002.json", **changes)


def smaller_image(scene: Path) -> None:
    shutil.copytree(scene / "rgb" / "1x", scene / "rgb" / "2x")


def spoil_moment(**changes: Any) -> Callable[[Path], None]:
    def change(scene: Path) -> None:
        row = json.loads((scene / "metadata.json").read_text())["left1_000002"]
        edit(scene / "metadata.json", left1_000002={**row, **changes})

    return change


BAD: dict[str, tuple[Callable[[Path], object], dict[str, Any], type[Exception], str]] = {
    "no scene": (shutil.rmtree, {}, FileNotFoundError, r"scene.json, found no such file; check --data"),
    "no ids": (lambda scene: (scene / "dataset.json").unlink(), {}, FileNotFoundError, "names of a capture's images"),
    "empty ids": (lambda scene: (scene / "dataset.json").write_text("{}"), {}, ValueError, "lists of image names"),
    "no JSON": (
        lambda scene: (scene / "dataset.json").write_text("{"),
        {},
        ValueError,
        "expected JSON in .*dataset.json",
    ),
    "a list": (lambda scene: (scene / "scene.json").write_text("[]"), {}, ValueError, "as an object in .*found list"),
    "no moments": (lambda scene: (scene / "metadata.json").unlink(), {}, FileNotFoundError, "images' instants"),
    "no moment of an image": (
        lambda scene: edit(scene / "metadata.json", left1_000002=None),
        {},
        ValueError,
        "found none for 1, such as left1_000002",
    ),
    "no frame number": (
        spoil_moment(warp_id=1.5),
        {},
        ValueError,
        "whole numbers warp_id and camera_id for left1_000002",
    ),
    "no position": (camera(position=None), {}, ValueError, "left1_000002.json, reading them failed .KeyError"),
    "no focal length": (camera(focal_length=0.0), {}, ValueError, "positive focal length"),
    "no rotation": (
        camera(orientation=[[1, 0, 0], [0, 1, 0], [0, 0, 2]]),
        {},
        ValueError,
        "right-handed orientations in .* in left1_000002.json .1 of 12",
    ),
    "a mirrored camera": (camera(orientation=[[1, 0, 0], [0, 1, 0], [0, 0, -1]]), {}, ValueError, "determinant -1"),
    "a lens that folds": (
        camera(radial_distortion=[-9.0, 0, 0]),
        {},
        ValueError,
        "left1_000002.png: expected a distortion that can be undone all over the image",
    ),
    "no image": (
        lambda scene: (scene / "rgb" / "1x" / "left1_000002.png").unlink(),
        {},
        FileNotFoundError,
        "image at .*left1_000002.png",
    ),
    "no images": (lambda scene: shutil.rmtree(scene / "rgb"), {}, FileNotFoundError, "found none; pass --downscale N"),
    "images of another size": (smaller_image, {"downscale": 2}, ValueError, r"image of 32x24 at .*found 64x48"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_scenes_are_explained(case: str, scene: Path) -> None:
    spoil, options, error, message = BAD[case]
    spoil(scene)
    for split in ("train", "val", "test"):
        with pytest.raises(error, match=message):
            parse("hypernerf", scene, split, **{"downscale": 1, **options})


def test_distorted_photographs_of_the_rig_differ_from_what_is_trained_on(tmp_path: Path) -> None:
    """The frames handed out are the straightened ones, cached as such."""
    clip = capture(("any",), 5)
    bent = write_hypernerf(tmp_path / "bent", clip, lambda shot: shot.frame != 2, Distortion((-0.2, 0.0, 0.0)))
    straight = write_hypernerf(tmp_path / "straight", replace(clip), lambda shot: shot.frame != 2)
    images = [FrameDataset(parse("hypernerf", data, downscale=1)).get_numpy_image(1) for data in (bent, straight)]
    assert images[0].shape == images[1].shape
    assert np.abs(images[0].astype(int) - images[1]).mean() > 1
    assert read_number(images[0]) == read_number(images[1]) == 1
