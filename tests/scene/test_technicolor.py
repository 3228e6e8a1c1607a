"""The Technicolor parser: calibration, published frame ranges, the file that was published truncated, what is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from moegs_ns.scene.dataset import FrameDataset
from moegs_ns.scene.technicolor_cameras import read_technicolor_cameras
from tests.scene.layouts.clip import Clip, Shot
from tests.scene.layouts.parsing import labels, parse
from tests.scene.layouts.writers import write_technicolor
from tests.scene.make_video import numbered_frame, read_number

WIDTH, HEIGHT = 64, 48


def numbered_clip(cameras: int = 12, frames: int = 3) -> Clip:
    """Camera k's frame i shows ``10 * k + i``; principal points lie off the centre."""
    shots = []
    for camera in range(cameras):
        rotation = Rotation.from_euler("xyz", [0.1 * camera, 0.05, 0.02 * camera]).as_matrix()
        pose = np.column_stack([rotation, [0.3 * camera, 0.1, 0.2]])
        for frame in range(frames):
            image = numbered_frame(10 * camera + frame, WIDTH, HEIGHT)
            shots.append(Shot(f"cam{camera:02d}", frame, pose, 70.0 + camera, 69.0, 34.5, 21.25, image))
    points = np.random.default_rng(0).uniform([-2, -2, -9], [4, 2, -2], (400, 3))
    return Clip(shots, frames, points, np.full(points.shape, 90), (1.0, 9.0))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_technicolor(tmp_path_factory.mktemp("technicolor") / "Birthday", numbered_clip())


@pytest.fixture
def scene(written: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(written, tmp_path / "Birthday"))


OPTIONS = {"num_frames": 3}  # the published ranges have 50


def test_camera_ten_is_held_out_and_every_image_is_its_own(written: Path) -> None:
    for split, numbers in (("test", [10]), ("train", [*range(10), 11])):
        outputs = parse("technicolor", written, split, **OPTIONS)
        assert outputs.metadata["camera_names"] == [f"cam{number:02d}" for number in numbers]
        assert labels(outputs) == [(f"cam{number:02d}", 151 + frame) for number in numbers for frame in range(3)]
        dataset = FrameDataset(outputs)
        shown = [read_number(dataset.get_numpy_image(image)) for image in range(len(dataset))]
        assert shown == [10 * number + frame for number in numbers for frame in range(3)]
        assert outputs.cameras.times[:3, 0].tolist() == [0, 0.5, 1]
        assert outputs.cameras.fx[::3, 0].tolist() == [70 + number for number in numbers]
        for key, value in (("fy", 69), ("cx", 34.5), ("cy", 21.25), ("width", WIDTH), ("height", HEIGHT)):
            np.testing.assert_allclose(getattr(outputs.cameras, key), value, rtol=1e-6)
    half = parse("technicolor", written, downscale=2, **OPTIONS).cameras
    assert (half.cx[0].item(), half.cy[0].item(), half.fy[0].item()) == pytest.approx((17.25, 10.625, 34.5))


def test_without_a_camera_ten_one_must_be_named(tmp_path: Path) -> None:
    data = write_technicolor(tmp_path / "Birthday", numbered_clip(4))
    with pytest.raises(ValueError, match=r"a rig with cam10, .*found cam00 to cam03; name held-out .*--test-cams"):
        parse("technicolor", data, **OPTIONS)
    assert parse("technicolor", data, "test", test_cams=("2",), **OPTIONS).metadata["camera_names"] == ["cam02"]


def test_skew_is_taken_out_of_the_images(written: Path, tmp_path: Path) -> None:
    data = write_technicolor(tmp_path / "Birthday", numbered_clip(), skew=3.0)
    skewed, straight = (parse("technicolor", folder, "test", **OPTIONS) for folder in (data, written))
    assert all(lens.skew == 3.0 for lens in skewed.metadata["frame_sources"][0].lenses)
    assert straight.metadata["frame_sources"][0].lenses == ()
    assert skewed.cameras.fx[0] > straight.cameras.fx[0]  # what the parallelogram shows of a rectangle


# -- frames ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first"), [("Birthday", 151), ("Fabien", 51), ("Painter", 100), ("Theater", 51), ("Train", 151)]
)
def test_published_frame_ranges_are_the_default(name: str, first: int, tmp_path: Path) -> None:
    """50 frames of a longer recording; tiny images, of two cameras."""
    clip = numbered_clip(2, 54)
    clip = clip.changed(lambda shot: replace(shot, image=shot.image[:8, :8], cx=4.0, cy=4.0))
    data = write_technicolor(tmp_path / name, clip, name, first - 2)
    outputs = parse("technicolor", data, test_cams=("0",))
    assert [frame for _, frame in labels(outputs)] == [*range(first, first + 50)]
    assert (outputs.metadata["first_frame"], outputs.metadata["num_frames"]) == (first, 50)
    assert outputs.cameras.times[-1].item() == 1
    own = parse("technicolor", data, test_cams=("0",), first_frame=first + 40, num_frames=5)
    assert [frame for _, frame in labels(own)] == [*range(first + 40, first + 45)]
    with pytest.raises(
        ValueError, match=rf"frames {first + 5} to {first + 54} .*{first - 2} to {first + 51} are there"
    ):
        parse("technicolor", data, test_cams=("0",), first_frame=first + 5)


def test_scenes_of_other_names_have_all_their_frames(tmp_path: Path) -> None:
    data = write_technicolor(tmp_path / "scene", numbered_clip(2, 4), "Kitchen", 7)
    assert [frame for _, frame in labels(parse("technicolor", data, test_cams=("0",)))] == [7, 8, 9, 10]
    rest = parse("technicolor", data, test_cams=("0",), first_frame=9)
    assert [frame for _, frame in labels(rest)] == [9, 10]


# -- truncated files ---------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_file_that_was_published_truncated_is_replaced_by_the_frame_before(tmp_path: Path) -> None:
    data = write_technicolor(tmp_path / "Birthday", numbered_clip(12, 3), first_frame=171)
    truncate(data / "Birthday_undist_00173_09.png")
    options = {"first_frame": 171, "num_frames": 3}
    with pytest.warns(
        UserWarning, match=r"00173_09.png was published truncated; Birthday_undist_00172_09.png stands in"
    ):
        outputs = parse("technicolor", data, **options)
    assert len(set(outputs.image_filenames)) == 33
    assert outputs.image_filenames[labels(outputs).index(("cam09", 173))].name == "Birthday_undist_00173_09.png"
    dataset = FrameDataset(outputs)
    shown = [read_number(dataset.get_numpy_image(image)) for image in range(len(dataset))]
    assert shown[labels(outputs).index(("cam09", 173))] == shown[labels(outputs).index(("cam09", 172))] == 91
    (data / "Birthday_undist_00172_09.png").unlink()
    with pytest.raises(ValueError, match="expected the frame before .*00173_09.png.*found none; copy that frame too"):
        parse("technicolor", data, first_frame=173, num_frames=1)


def test_a_whole_file_of_that_name_is_used(tmp_path: Path) -> None:
    data = write_technicolor(tmp_path / "Birthday", numbered_clip(12, 2), first_frame=172)
    outputs = parse("technicolor", data, first_frame=172, num_frames=2)
    assert read_number(FrameDataset(outputs).get_numpy_image(labels(outputs).index(("cam09", 173)))) == 91


def test_other_truncated_files_are_refused(scene: Path) -> None:
    truncate(scene / "Birthday_undist_00152_03.png")
    with pytest.raises(ValueError, match=r"whole PNG file at .*00152_03.png, found a truncated one; copy it again"):
        parse("technicolor", scene, **OPTIONS)
    assert parse("technicolor", scene, exclude_cams=("3",), **OPTIONS).metadata["num_frames"] == 3


# -- bounds and seeds --------------------------------------------------------------------------------------------------


def test_bounds_are_those_of_the_points_the_cameras_see(written: Path) -> None:
    metadata = parse("technicolor", written, **OPTIONS).metadata
    assert 1.5 < metadata["near"] < 4 and 7 < metadata["far"] < 12
    assert parse("technicolor", written, near=0.4, **OPTIONS).metadata["near"] == 0.4


def test_without_points_bounds_must_be_given(scene: Path) -> None:
    (scene / "points3D.ply").unlink()
    with (
        pytest.warns(UserWarning, match="no seed points"),
        pytest.raises(ValueError, match="found neither in the depths of seed points .*pass --near and --far"),
    ):
        parse("technicolor", scene, **OPTIONS)
    with pytest.warns(UserWarning, match="no seed points"):
        outputs = parse("technicolor", scene, near=1.0, far=5.0, random_points=300, **OPTIONS)
    assert len(outputs.metadata["points3D_xyz"]) == 300


# -- scenes that are wrong ---------------------------------------------------------------------------------------------


def in_images(scene: Path) -> None:
    (scene / "images").mkdir()
    for path in scene.glob("*.png"):
        path.rename(scene / "images" / path.name)


def test_images_may_lie_in_a_folder_of_their_own(scene: Path) -> None:
    in_images(scene)
    assert len(parse("technicolor", scene, **OPTIONS).cameras) == 33


def edit_line(number: int, edit: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def change(scene: Path) -> None:
        path = scene / "cameras_parameters.txt"
        lines = path.read_text().splitlines()
        lines[number] = " ".join(edit(lines[number].split()))
        path.write_text("\n".join(lines))

    return change


def remove_images(pattern: str) -> Callable[[Path], None]:
    def change(scene: Path) -> None:
        for path in scene.glob(pattern):
            path.unlink()

    return change


BAD: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "no calibration": (lambda scene: (scene / "cameras_parameters.txt").unlink(), FileNotFoundError, "calibration at"),
    "no camera in it": (lambda s: (s / "cameras_parameters.txt").write_text("f cu cv\n"), ValueError, "found none"),
    "a short line": (edit_line(3, lambda words: words[:-1]), ValueError, r"12 numbers in line 4 of .*parameters.txt"),
    "a word in it": (edit_line(2, lambda words: ["x", *words[1:]]), ValueError, "12 numbers in line 3"),
    "no focal length": (edit_line(5, lambda words: ["0", *words[1:]]), ValueError, "focal length .*camera 4 .*found 0"),
    "no unit quaternion": (
        edit_line(5, lambda words: [*words[:5], "0.5", *words[6:]]),
        ValueError,
        "unit quaternion for camera 4",
    ),
    "no images": (remove_images("*.png"), FileNotFoundError, "_undist_"),
    "two scenes": (
        lambda s: shutil.copy(s / "Birthday_undist_00151_00.png", s / "Train_undist_00151_00.png"),
        ValueError,
        "found Birthday, Train",
    ),
    "an image of no camera": (
        lambda s: shutil.copy(s / "Birthday_undist_00151_00.png", s / "Birthday_undist_00151_12.png"),
        ValueError,
        "cameras 0 to 11, .*found camera 12",
    ),
    "a camera without images": (
        remove_images("*_04.png"),
        ValueError,
        "3 of 36 images missing, such as frame 151 of .* 4",
    ),
    "a missing frame": (
        remove_images("*00152_04.png"),
        ValueError,
        "1 of 36 images missing, such as frame 152 of .* 4",
    ),
    "another image size": (
        edit_line(1, lambda words: [words[0], "70", *words[2:]]),
        ValueError,
        r"size that was calibrated, found 64x48 in cam00 .*\(70, 21.25\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_scenes_are_explained(case: str, scene: Path) -> None:
    spoil, error, message = BAD[case]
    spoil(scene)
    for split in ("train", "test"):
        with pytest.raises(error, match=message):
            parse("technicolor", scene, split, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "--first-frame 151 and 0 frames"),
        ({"test_cams": ("cam10",), "val_cams": ("10",)}, "share no camera, found cam10"),
        ({"first_frame": 150}, "frames 150 to 152 .*frame 150 of camera 0"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str, written: Path) -> None:
    with pytest.raises(ValueError, match=message):
        parse("technicolor", written, **{**OPTIONS, **options})


def test_quaternions_and_translations_take_the_world_to_the_camera(tmp_path: Path) -> None:
    """A camera turned by hand: it stands at (1, 2, 3) and looks along +x, its head towards +z."""
    rotation = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]], dtype=float)  # rows: right, down, forward
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    t = -rotation @ [1, 2, 3]
    line = " ".join(map(str, [100.0, 30.0, 20.0, 1.02, 0.0, w, x, y, z, *t]))
    (tmp_path / "cameras_parameters.txt").write_text(f"headings\n\n{line}   \n")
    cameras = read_technicolor_cameras(tmp_path / "cameras_parameters.txt")
    expected = [[0, 0, -1, 1], [-1, 0, 0, 2], [0, 1, 0, 3]]  # columns: right, up, backward, centre
    np.testing.assert_allclose(cameras.camera_to_worlds[0], expected, atol=1e-12)
    assert (cameras.lenses[0].fx, cameras.lenses[0].fy) == (100, 102)
