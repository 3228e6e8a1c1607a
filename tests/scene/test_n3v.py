"""The N3V parser on the sample scene, on tiny scenes, and on scenes that are wrong in one way each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from PIL import Image

from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.frame_cache import CameraFrames
from moegs_ns.scene.frame_sources import files_digest
from moegs_ns.scene.points import PointCloud, read_ply, write_ply
from tests.scene.make_video import numbered_frame, numbered_scene, numbered_video


def parse(data: Path, split: str = "train", **options: object) -> DataparserOutputs:
    return N3VDataParserConfig(data=data, **options).setup().get_dataparser_outputs(split)


@pytest.fixture(scope="module")
def tiny_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 cameras x 6 frames of 64x48; never changed."""
    return numbered_scene(tmp_path_factory.mktemp("tiny") / "scene")


@pytest.fixture
def scene(tiny_scene: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(tiny_scene, tmp_path / "scene"))


# -- the sample scene against its ground truth -------------------------------------------------------------------------


def test_cameras_of_the_sample_scene(sample_scene: Path) -> None:
    truth = json.loads((sample_scene / "ground_truth.json").read_text())
    for split, indices in (("train", range(1, 12)), ("test", [0]), ("val", [])):
        outputs = parse(sample_scene, split)
        cameras = outputs.cameras
        count = 24 * len(indices)
        assert len(cameras) == len(outputs.image_filenames) == len(set(outputs.image_filenames)) == count
        assert outputs.metadata["camera_names"] == [f"cam{index:02d}" for index in indices]
        for position, index in enumerate(indices):
            of_camera = slice(24 * position, 24 * (position + 1))
            expected = torch.tensor(truth["cams"][index])[:3].expand(24, 3, 4)
            torch.testing.assert_close(cameras.camera_to_worlds[of_camera], expected, atol=1e-5, rtol=0)
            assert (cameras.metadata["camera_index"][of_camera] == position).all()
            assert cameras.metadata["frame_index"][of_camera, 0].tolist() == list(range(24))
            torch.testing.assert_close(
                cameras.times[of_camera, 0],
                torch.tensor([frame["t"] for frame in truth["frames"]]),
                atol=1e-6,
                rtol=0,
            )
        for name, value in (("fx", 304), ("fy", 304), ("cx", 160), ("cy", 120), ("width", 320), ("height", 240)):
            assert getattr(cameras, name).shape == (count, 1)
            assert (getattr(cameras, name) == value).all()
        assert cameras.metadata["camera_index"].dtype == cameras.metadata["frame_index"].dtype == torch.int64


def test_metadata_is_plain_and_complete(sample_scene: Path) -> None:
    metadata = parse(sample_scene).metadata
    cloud = read_ply(sample_scene / "points3d.ply")
    assert {key: value for key, value in metadata.items() if not key.startswith("points3D")} == {
        "num_frames": 24,
        "first_frame": 0,
        "fps": 30.0,
        "camera_names": [f"cam{index:02d}" for index in range(1, 12)],
        "near": pytest.approx(1.8933537),
        "far": pytest.approx(7.9520240),
        "frame_sources": [
            CameraFrames(sample_scene / f"cam{index:02d}.mp4", 0, 24, 320, 240) for index in range(1, 12)
        ],
        "files_digest": files_digest([sample_scene / f"cam{index:02d}.mp4" for index in range(1, 12)], 0, 24),
        "scene": "mixed",
        "layout": "n3v",
        "camera_extent": pytest.approx(2.4029, abs=1e-3),
    }
    np.testing.assert_array_equal(metadata["points3D_xyz"].numpy(), cloud.xyz)
    np.testing.assert_array_equal(metadata["points3D_rgb"].numpy(), cloud.rgb)
    assert "points3D_time" not in metadata


OBJECTS = {"rotor": 2, "ball": 3, "cloth": 4}


def fraction_on_mask(scene: Path, outputs: DataparserOutputs, shift: int = 0, flip: bool = False) -> dict[str, float]:
    """How many ground-truth track points in view project onto their own object's mask, over every fifth image.

    Not all do: some are hidden, and at outlines a pixel belongs to what covers most of it.

    Projection written out from nerfstudio's documented axes (x right, y up, z backward, pixel centres at +0.5).
    """
    tracks = np.load(scene / "gt_tracks.npz")
    cameras = outputs.cameras
    hits = dict.fromkeys(OBJECTS, 0)
    total = dict.fromkeys(OBJECTS, 0)
    for image in range(0, len(cameras), 5):
        name = outputs.metadata["camera_names"][cameras.metadata["camera_index"][image].item()]
        frame = cameras.metadata["frame_index"][image].item()
        mask = np.asarray(Image.open(scene / "mask" / name / f"{frame:04d}.png"))
        pose = cameras.camera_to_worlds[image].double().numpy()
        fx, fy, cx, cy = (getattr(cameras, key)[image].item() for key in ("fx", "fy", "cx", "cy"))
        downscale = mask.shape[1] / cameras.width[image].item()
        for label, identity in OBJECTS.items():
            points = tracks[label][(frame + shift) % 24]
            local = (points - pose[:, 3]) @ pose[:, :3]
            assert (local[:, 2] < 0).all()  # in front of every camera of the rig
            u = cx + fx * local[:, 0] / -local[:, 2]
            v = cy - (-1 if flip else 1) * fy * local[:, 1] / -local[:, 2]
            columns, rows = (u * downscale).astype(int), (v * downscale).astype(int)
            inside = (columns >= 0) & (columns < mask.shape[1]) & (rows >= 0) & (rows < mask.shape[0])
            hits[label] += int((mask[rows[inside], columns[inside]] == identity).sum())
            total[label] += int(inside.sum())
    return {label: hits[label] / total[label] for label in OBJECTS}


@pytest.mark.parametrize("downscale", [1, 2])
def test_tracks_project_onto_their_masks(downscale: int, sample_scene: Path) -> None:
    """Proves axes, intrinsics, row order and frame order at once; three wrong readings fail it."""
    outputs = parse(sample_scene, downscale=downscale)
    right = fraction_on_mask(sample_scene, outputs)
    assert min(right.values()) > 0.85, right
    assert min(fraction_on_mask(sample_scene, outputs, flip=True).values()) < 0.5
    assert fraction_on_mask(sample_scene, outputs, shift=3)["ball"] < 0.5
    mirrored = parse(sample_scene, downscale=downscale)
    names = mirrored.metadata["camera_names"]
    mirrored.metadata["camera_names"] = names[1:] + names[:1]
    assert max(fraction_on_mask(sample_scene, mirrored).values()) < 0.9


# -- options -----------------------------------------------------------------------------------------------------------


def test_splits_follow_the_options(tiny_scene: Path) -> None:
    options = {"test_cams": ("cam02",), "val_cams": ("0",)}
    names = {split: parse(tiny_scene, split, **options).metadata["camera_names"] for split in ("train", "val", "test")}
    assert names == {"train": ["cam01"], "val": ["cam00"], "test": ["cam02"]}
    assert parse(tiny_scene, exclude_cams=("cam01",)).metadata["camera_names"] == ["cam02"]
    with pytest.raises(ValueError, match="expected one of the splits"):
        parse(tiny_scene, "trian")


def test_per_row_focal_and_bounds_of_the_cameras_in_use(tiny_scene: Path) -> None:
    outputs = parse(tiny_scene, exclude_cams=("cam02",), test_cams=("cam01",))
    assert (outputs.cameras.fx == 60).all()
    assert (parse(tiny_scene, "test", test_cams=("cam02",)).cameras.fx == 62).all()
    assert (outputs.metadata["near"], outputs.metadata["far"]) == (pytest.approx(1.0), pytest.approx(6.1))
    outputs = parse(tiny_scene, near=0.2, far=50.0)
    assert (outputs.metadata["near"], outputs.metadata["far"]) == (0.2, 50.0)


def test_a_range_of_frames(tiny_scene: Path) -> None:
    outputs = parse(tiny_scene, "test", first_frame=2, num_frames=3)
    assert outputs.cameras.times[:, 0].tolist() == [0.0, 0.5, 1.0]
    assert outputs.cameras.metadata["frame_index"][:, 0].tolist() == [0, 1, 2]
    assert [path.name for path in outputs.image_filenames] == ["000002.png", "000003.png", "000004.png"]
    assert (outputs.metadata["first_frame"], outputs.metadata["num_frames"]) == (2, 3)
    assert parse(tiny_scene, "test", first_frame=4).metadata["num_frames"] == 2
    assert parse(tiny_scene, "test", num_frames=1).cameras.times.tolist() == [[0.0]]


def test_downscale_that_divides_and_one_that_does_not(tiny_scene: Path) -> None:
    half = parse(tiny_scene, "test", downscale=2).cameras
    assert [getattr(half, key)[0].item() for key in ("width", "height", "fx", "fy", "cx", "cy")] == [
        32,
        24,
        30,
        30,
        16,
        12,
    ]
    odd = parse(tiny_scene, "test", downscale=5).cameras  # 64x48 -> 12x9, not 12.8x9.6
    assert (odd.width[0].item(), odd.height[0].item()) == (12, 9)
    assert odd.fx[0].item() == pytest.approx(60 * 12 / 64)
    assert odd.fy[0].item() == pytest.approx(60 * 9 / 48)
    with pytest.raises(ValueError, match="--downscale >= 1"):
        parse(tiny_scene, downscale=0)
    with pytest.raises(ValueError, match="at least one pixel"):
        parse(tiny_scene, downscale=50)


def test_the_timed_cloud_is_preferred_and_follows_the_range(scene: Path) -> None:
    xyz = np.arange(18, dtype=np.float32).reshape(6, 3)
    times = np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    write_ply(scene / "POINTS3d_total6.PLY", PointCloud(xyz, np.zeros((6, 3), np.uint8), times))
    metadata = parse(scene).metadata
    np.testing.assert_array_equal(metadata["points3D_time"].numpy(), times)
    part = parse(scene, first_frame=1, num_frames=3).metadata
    np.testing.assert_array_equal(part["points3D_xyz"].numpy(), xyz[1:4])
    np.testing.assert_allclose(part["points3D_time"].numpy()[:, 0], [0, 0.5, 1], atol=1e-6)
    assert len(parse(scene, point_cloud=Path("points3D.ply")).metadata["points3D_xyz"]) == 50
    with pytest.raises(FileNotFoundError, match=r"absent\.ply"):
        parse(scene, point_cloud=Path("absent.ply"))
    write_ply(scene / "none.ply", PointCloud(xyz[:0], np.zeros((0, 3), np.uint8)))
    with pytest.raises(ValueError, match=r"expected points in .*none.ply"):
        parse(scene, point_cloud=Path("none.ply"))


def test_without_a_cloud_it_says_so(scene: Path) -> None:
    (scene / "points3D.ply").unlink()
    with pytest.warns(UserWarning, match="no seed points"):
        outputs = parse(scene)
    assert not any(key.startswith("points3D") for key in outputs.metadata)
    assert outputs.scene_box.within(outputs.cameras.camera_to_worlds[:, :, 3]).all()


def test_the_scene_box_holds_cameras_and_nearly_all_points(sample_scene: Path) -> None:
    outputs = parse(sample_scene)
    assert outputs.scene_box.within(outputs.cameras.camera_to_worlds[:, :, 3]).all()
    assert outputs.scene_box.within(outputs.metadata["points3D_xyz"]).float().mean() > 0.95


def test_folders_of_images_instead_of_videos(scene: Path) -> None:
    for camera in range(3):
        folder = scene / f"cam{camera:02d}" / "images"
        folder.mkdir(parents=True)
        for frame in range(6):
            Image.fromarray(numbered_frame(20 * camera + frame)).save(folder / f"{frame:04d}.png")
        (scene / f"cam{camera:02d}.mp4").unlink()
    metadata = parse(scene).metadata
    sources = [one.source for one in metadata["frame_sources"]]
    assert sources == [scene / "cam01" / "images", scene / "cam02" / "images"]
    assert metadata["fps"] == 30.0
    assert parse(scene, fps=25.0).metadata["fps"] == 25.0


def test_images_all_at_half_the_stated_size_scale_the_intrinsics(scene: Path) -> None:
    rows = np.load(scene / "poses_bounds.npy")
    rows[:, [4, 9, 14]] *= 2  # height, width and focal
    np.save(scene / "poses_bounds.npy", rows)
    with pytest.warns(UserWarning, match=r"0.5 times the size"):
        cameras = parse(scene, "test", downscale=2).cameras
    assert [getattr(cameras, key)[0].item() for key in ("width", "fx", "fy", "cx")] == [32, 30, 30, 16]


def test_paths_are_absolute_whatever_was_typed(tiny_scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_scene.parent)
    config = N3VDataParserConfig(data=Path("scene"))
    assert config.data == tiny_scene
    assert all(one.source.is_absolute() for one in parse(Path("scene")).metadata["frame_sources"])


# -- scenes that are wrong ---------------------------------------------------------------------------------------------


def edit_rows(edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def change(scene: Path) -> None:
        np.save(scene / "poses_bounds.npy", edit(np.load(scene / "poses_bounds.npy")))

    return change


def set_entry(row: int | slice, column: int, value: float) -> Callable[[Path], None]:
    def edit(rows: np.ndarray) -> np.ndarray:
        rows[row, column] = value
        return rows

    return edit_rows(edit)


def remove(name: str) -> Callable[[Path], None]:
    return lambda scene: (scene / name).unlink()


def video(name: str, num_frames: int = 6, **options: object) -> Callable[[Path], None]:
    return lambda scene: numbered_video(scene / name, num_frames, **options) and None


def half_size_video(scene: Path) -> None:
    from tests.scene.make_video import encode

    encode(scene / "cam01.mp4", (numbered_frame(frame, 32, 24) for frame in range(6)))


BAD: dict[str, tuple[Callable[[Path], object], dict[str, object], type[Exception], str]] = {
    "no scene": (shutil.rmtree, {}, FileNotFoundError, "expected a scene folder"),
    "no poses": (remove("poses_bounds.npy"), {}, FileNotFoundError, "poses_bounds.npy"),
    "video missing": (remove("cam01.mp4"), {}, ValueError, r"3 rows.*found 2: cam00, cam02 \(no camera number 1\)"),
    "video too many": (video("cam07.mp4"), {}, ValueError, r"3 rows.*found 4: .*cam07"),
    "row too many": (edit_rows(lambda rows: np.vstack([rows, rows[:1]])), {}, ValueError, r"4 rows.*found 3"),
    "wrong shape": (edit_rows(lambda rows: rows[:, :15]), {}, ValueError, r"\[N,17\]"),
    "NaN pose": (set_entry(1, 3, np.nan), {}, ValueError, "NaN"),
    "skewed rotation": (set_entry(2, 0, 0.4), {}, ValueError, "orthonormal"),
    "near behind far": (set_entry(slice(None), 15, 9.0), {}, ValueError, "0 < near < far"),
    "negative near": (set_entry(1, 15, -0.1), {}, ValueError, "--near"),
    "unequal lengths": (
        video("cam01.mp4", 5),
        {},
        ValueError,
        r"cam00 6, cam01 5, cam02 6.*--num-frames 5",
    ),
    "one camera at half size": (half_size_video, {}, ValueError, r"cam01 32x24 \(row: 64x48\)"),
    "one row of another size": (set_entry(1, 4, 50), {}, ValueError, r"cam01 64x48 \(row: 64x50\)"),
    "another aspect everywhere": (set_entry(slice(None), 9, 80), {}, ValueError, r"cam00 64x48 \(row: 80x48\)"),
    "another frame rate": (video("cam02.mp4", fps=25), {}, ValueError, r"cam02 25.000.*--fps"),
    "no video at all": (
        lambda scene: (scene / "cam00.mp4").write_bytes(b"no video" * 99),
        {},
        ValueError,
        "cam00.mp4.*damaged",
    ),
    "unknown test camera": (lambda scene: None, {"test_cams": ("cam9",)}, ValueError, "--test-cams out of cam00"),
    "unknown val camera": (lambda scene: None, {"val_cams": ("7",)}, ValueError, "--val-cams"),
    "unknown excluded": (lambda scene: None, {"exclude_cams": ("left",)}, ValueError, "--exclude-cams"),
    "val is test": (lambda scene: None, {"val_cams": ("cam00",)}, ValueError, "share no camera"),
    "nothing to train on": (lambda scene: None, {"val_cams": ("1", "2")}, ValueError, "at least one train camera"),
    "range past the end": (lambda scene: None, {"first_frame": 3, "num_frames": 4}, ValueError, r"0\.\.5"),
    "range before the start": (lambda scene: None, {"first_frame": -1}, ValueError, "--first-frame"),
    "no frames": (lambda scene: None, {"num_frames": 0}, ValueError, "--num-frames"),
    "first frame past the end": (lambda scene: None, {"first_frame": 6}, ValueError, "--first-frame"),
    "far before near": (lambda scene: None, {"far": 0.5}, ValueError, "0 < near < far"),
    "no rate": (lambda scene: None, {"fps": 0.0}, ValueError, "--fps > 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_scenes_are_explained(case: str, scene: Path) -> None:
    spoil, options, error, message = BAD[case]
    spoil(scene)
    for split in ("train", "val", "test"):
        with pytest.raises(error, match=message):
            parse(scene, split, **options)


def test_excluded_cameras_are_not_looked_into(scene: Path) -> None:
    (scene / "cam01.mp4").write_bytes(b"no video" * 99)
    assert parse(scene, exclude_cams=("cam01",)).metadata["camera_names"] == ["cam02"]


def test_an_explicit_range_settles_unequal_lengths(scene: Path) -> None:
    numbered_video(scene / "cam01.mp4", 5)
    assert parse(scene, num_frames=5).metadata["num_frames"] == 5
    with pytest.raises(ValueError, match=r"length of cam01"):
        parse(scene, num_frames=6)


@pytest.mark.data
def test_basketball(data_dir: Path) -> None:
    """28 real cameras with a focal length each; two frames of two of them decoded."""
    from moegs_ns.scene.dataset import FrameDataset

    if not (data_dir / "basketball").is_dir():
        pytest.skip("basketball is not among the real scenes")
    train = parse(data_dir / "basketball", downscale=2)
    assert len(train.cameras) == 27 * 150
    assert len(train.cameras.fx[::150].unique()) > 20
    rows = np.load(data_dir / "basketball" / "poses_bounds.npy")
    np.testing.assert_allclose(train.cameras.fx[::150, 0], rows[1:, 14] / 2, rtol=1e-6)
    test = FrameDataset(parse(data_dir / "basketball", "test", downscale=2, num_frames=2))
    image = test.get_numpy_image(1)
    assert image.shape == (180, 320, 3)
    assert image.std() > 20
    assert not np.array_equal(image, test.get_numpy_image(0))
