"""Whole preparations with known cameras: what is written parses back to the same rays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from moegs_ns.cli.main import run
from moegs_ns.folder_lock import FolderIsBusyError, FolderLock
from moegs_ns.preparation import prepare as steps
from moegs_ns.preparation.options import CameraOptions, PrepareOptions, SeedOptions, TimeOptions
from moegs_ns.preparation.prepare import prepare
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.decoding import iterate_frames
from moegs_ns.scene.frame_sources import probe
from moegs_ns.scene.points import PointCloud, read_ply, write_ply
from moegs_ns.scene.poses_bounds import PosesBounds, read_poses_bounds, write_poses_bounds
from tests.scene.make_video import encode, numbered_video, read_number, ring_of_cameras

CAMERAS = [0, 3, 4, 9]
QUICK = SeedOptions(seeds="random", random_points=200)


class Ear:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def task(self, what: str, total: int) -> Callable[[], None]:
        del what, total
        return lambda: None


@pytest.fixture(scope="module")
def sample(sample_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of four of the sample scene's cameras, under names of their own, and the rows of these cameras."""
    folder = tmp_path_factory.mktemp("sample")
    for number, camera in enumerate(CAMERAS):
        shutil.copy(sample_scene / f"cam{camera:02d}.mp4", folder / f"view {number}.mp4")
    all_of = read_poses_bounds(sample_scene / "poses_bounds.npy")
    rows = PosesBounds(
        all_of.camera_to_worlds[CAMERAS], all_of.sizes[CAMERAS], all_of.focals[CAMERAS], all_of.near_far[CAMERAS]
    )
    write_poses_bounds(folder / "poses.npy", rows)
    return folder


def numbered(folder: Path, cameras: int = 3, frames: int = 6, **options: object) -> Path:
    """Videos whose frame i of camera k shows 20 k + i, and cameras for them."""
    folder.mkdir()
    for camera in range(cameras):
        numbered_video(folder / f"cam{camera:02d}.mp4", frames, first_number=20 * camera, **options)
    write_poses_bounds(folder / "poses_bounds.npy", ring_of_cameras(cameras))
    return folder


def given(folder: Path) -> CameraOptions:
    return CameraOptions(poses=folder / "poses_bounds.npy")


def numbers_of(video: Path) -> list[int]:
    return [read_number(frame) for frame in iterate_frames(video, 0, probe(video).num_frames)]


def test_known_cameras_come_back_as_the_same_rays(sample: Path, sample_scene: Path, tmp_path: Path) -> None:
    ear = Ear()
    seeds = SeedOptions("triangulated")
    options = PrepareOptions((sample,), tmp_path / "scene", cameras=CameraOptions(sample / "poses.npy"), seeds=seeds)
    prepared = prepare(options, ear)
    assert ear.said[0] == "Cameras: cam00 = view 0.mp4, cam01 = view 1.mp4, cam02 = view 2.mp4, cam03 = view 3.mp4."
    ours, theirs = (
        N3VDataParserConfig(data=data, test_cams=(0,), exclude_cams=excluded).setup().get_dataparser_outputs("train")
        for data, excluded in (
            (tmp_path / "scene", ()),
            (sample_scene, tuple(f"cam{number:02d}" for number in range(12) if number not in CAMERAS)),
        )
    )
    assert len(ours.cameras) == len(theirs.cameras) == 3 * 24
    for camera in (0, 30, 71):
        rays, expected = ours.cameras.generate_rays(camera), theirs.cameras.generate_rays(camera)
        torch.testing.assert_close(rays.directions, expected.directions, atol=1e-6, rtol=0)
        torch.testing.assert_close(rays.origins, expected.origins, atol=1e-6, rtol=0)
    assert (ours.metadata["near"], ours.metadata["far"]) == (theirs.metadata["near"], theirs.metadata["far"])
    for number in range(4):  # not encoded again
        assert (tmp_path / "scene" / f"cam{number:02d}.mp4").read_bytes() == (
            sample / f"view {number}.mp4"
        ).read_bytes()
    seeds = prepared.record["seeds"]
    assert seeds["kind"] == "matched"
    assert seeds["triangulated"] > 300
    assert "points3D_time" not in ours.metadata
    assert not (tmp_path / "scene.preparing").exists()


def test_seeds_of_several_instants_have_times(sample: Path, tmp_path: Path) -> None:
    options = PrepareOptions(
        (sample,),
        tmp_path / "scene",
        cameras=CameraOptions(poses=sample / "poses.npy"),
        seeds=SeedOptions("triangulated", seed_frames=3, features=600),
    )
    prepare(options)
    cloud = read_ply(tmp_path / "scene" / "points3D.ply")
    assert cloud.time is not None
    np.testing.assert_allclose(np.unique(cloud.time), [0, 12 / 23, 1], atol=1e-6)


def test_off_centre_principal_points_are_resampled_away(sample: Path, tmp_path: Path) -> None:
    """Technicolor's calibration says 4 and 3 pixels off; pictures are cut so that the rays stay true."""
    videos = [
        encode(tmp_path / f"v{number}.mp4", _coordinates(4.0, 3.0), codec_options={"crf": "4"}) for number in (0, 1)
    ]
    poses = ring_of_cameras(2, 128, 96).camera_to_worlds
    lines = ["f cu cv ar sk qw qx qy qz tx ty tz"]
    for pose in poses:
        rotation = (pose[:, :3] @ np.diag([1.0, -1.0, -1.0])).T
        x, y, z, w = Rotation.from_matrix(rotation).as_quat()
        lines.append(" ".join(map(str, [120, 68, 51, 1.0, 0, w, x, y, z, *(-rotation @ pose[:, 3])])))
    (tmp_path / "cameras_parameters.txt").write_text("\n".join(lines))
    ear = Ear()
    options = PrepareOptions(
        tuple(videos), tmp_path / "scene", cameras=CameraOptions(poses=tmp_path / "cameras_parameters.txt"), seeds=QUICK
    )
    prepare(options, ear)
    assert any("were written anew (cam00, cam01)" in sentence for sentence in ear.said)
    assert any("Near and far are guessed" in sentence for sentence in ear.said)
    written = read_poses_bounds(tmp_path / "scene" / "poses_bounds.npy")
    np.testing.assert_allclose(written.camera_to_worlds, poses, atol=1e-9)
    # The half of the photograph on the narrower side is what is left on both: 60 of 64 columns.
    assert written.focals[0] == pytest.approx(120 * 64 / 60)
    picture = next(iterate_frames(tmp_path / "scene" / "cam00.mp4", 0, 1)).astype(float)
    columns = (np.arange(128) + 0.5 - 64) / written.focals[0]
    np.testing.assert_allclose(picture[20:70, 10:-10, 1].mean(axis=0), (127 + 150 * columns)[10:-10], atol=3)


def _coordinates(off_x: float, off_y: float) -> list[np.ndarray]:
    """128x96 frames whose green says the direction to the right, as a camera of focal length 120 sees it."""
    x = (np.arange(128) + 0.5 - 64 - off_x) / 120
    y = (np.arange(96) + 0.5 - 48 - off_y) / 120
    columns, rows = np.meshgrid(127 + 150 * x, 127 + 150 * y)
    return [np.stack([rows, columns, rows], axis=2).round().astype(np.uint8)] * 3


def test_a_camera_that_began_later_is_aligned(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "videos")
    options = PrepareOptions(
        (folder,), tmp_path / "scene", TimeOptions(starts=(f"cam01={2 / 30}",)), given(folder), QUICK
    )
    ear = Ear()
    prepare(options, ear)
    assert numbers_of(tmp_path / "scene" / "cam00.mp4") == [2, 3, 4, 5]
    assert numbers_of(tmp_path / "scene" / "cam01.mp4") == [20, 21, 22, 23]
    assert "frames are left out or repeated in cam00, cam01, cam02" in ear.said[0]


def test_pictures_of_several_sizes_become_one(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "videos", cameras=2)
    large = np.repeat(np.repeat(next(iterate_frames(folder / "cam01.mp4", 0, 1)), 2, axis=0), 2, axis=1)
    encode(folder / "cam02.mp4", [large] * 6)
    rig = ring_of_cameras(3)
    sizes = np.array([[64, 48], [64, 48], [128, 96]])
    write_poses_bounds(folder / "poses_bounds.npy", PosesBounds(rig.camera_to_worlds, sizes, rig.focals, rig.near_far))
    ear = Ear()
    prepared = prepare(PrepareOptions((folder,), tmp_path / "scene", cameras=given(folder), seeds=QUICK), ear)
    assert any("all become 64x48" in sentence for sentence in ear.said)
    written = read_poses_bounds(prepared.folder / "poses_bounds.npy")
    np.testing.assert_array_equal(written.sizes, [[64, 48]] * 3)
    np.testing.assert_allclose(written.focals, rig.focals * [1, 1, 0.5])
    assert numbers_of(prepared.folder / "cam02.mp4") == [20] * 6
    assert [prepared.record["videos"][f"cam{i:02d}"]["file"] == "written" for i in range(3)] == [False, False, True]


def test_without_texture_places_that_agree_take_over_with_clear_words(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "videos")
    ear = Ear()
    options = PrepareOptions(
        (folder,), tmp_path / "scene", cameras=given(folder), seeds=SeedOptions(random_points=50)
    )  # fmt: skip
    prepared = prepare(options, ear)
    assert any(sentence.startswith("Matching found only") for sentence in ear.said)
    assert prepared.record["seeds"]["kind"] in ("agreeing", "random")
    assert len(read_ply(prepared.folder / "points3D.ply")) <= 50
    with pytest.raises(ValueError, match="expected points that neighbouring cameras show alike"):
        prepare(
            PrepareOptions(
                (folder,), tmp_path / "other", cameras=given(folder), seeds=SeedOptions(seeds="triangulated")
            )
        )


def test_a_dense_cloud_is_taken_in_the_world_of_its_cameras(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "videos")
    xyz = np.random.default_rng(0).uniform(-1, 1, (2000, 3)).astype(np.float32)
    write_ply(folder / "fused.ply", PointCloud(xyz, np.zeros((2000, 3), np.uint8)))
    seeds = SeedOptions(dense_cloud=folder / "fused.ply", voxel=0.5)
    prepared = prepare(PrepareOptions((folder,), tmp_path / "scene", cameras=given(folder), seeds=seeds))
    assert len(read_ply(prepared.folder / "points3D.ply")) == 64
    with pytest.raises(ValueError, match="expected --poses with --dense-cloud"):
        prepare(PrepareOptions((folder,), tmp_path / "other", seeds=seeds))


def test_an_interrupted_preparation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = numbered(tmp_path / "videos", pixel_format="yuv444p")
    options = PrepareOptions((folder,), tmp_path / "scene", TimeOptions(first_frame=1), given(folder), QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(steps, "make_seeds", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(options)
    kept = tmp_path / "scene.preparing" / "scene" / "cam02.mp4"
    assert not (tmp_path / "scene").exists()
    before = kept.stat().st_mtime_ns, kept.stat().st_ino
    ear = Ear()
    prepare(options, ear)
    after = (tmp_path / "scene" / "cam02.mp4").stat()
    assert (after.st_mtime_ns, after.st_ino) == before
    assert ear.said[0].startswith("Going on")
    # With other options it starts anew.
    (tmp_path / "scene.preparing").mkdir()
    (tmp_path / "scene.preparing" / "plan.json").write_text(json.dumps({"digest": "of something else"}))
    shutil.rmtree(tmp_path / "scene")
    ear = Ear()
    prepare(options, ear)
    assert not ear.said[0].startswith("Going on")


def test_a_scene_is_prepared_by_one_process_at_a_time(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "videos", pixel_format="yuv444p")
    work = tmp_path / "scene.preparing"
    work.mkdir()
    (work / "cameras.json").write_text("the other one's")
    with FolderLock(work) as lock:
        lock.acquire()
        with pytest.raises(FolderIsBusyError, match=r"nobody at work in .*scene.preparing.*name another --output-dir"):
            prepare(PrepareOptions((folder,), tmp_path / "scene", cameras=given(folder), seeds=QUICK))
    assert (work / "cameras.json").read_text() == "the other one's"


def test_only_what_a_preparation_left_is_removed(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "videos", pixel_format="yuv444p")
    options = PrepareOptions((folder,), tmp_path / "scene", cameras=given(folder), seeds=QUICK)
    (tmp_path / "scene.preparing").mkdir()
    (tmp_path / "scene.preparing" / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match="found other files in it; move them"):
        prepare(options)
    (tmp_path / "scene.preparing").rename(tmp_path / "mine")
    (tmp_path / "scene.preparing").symlink_to(tmp_path / "mine")
    with pytest.raises(FileExistsError, match="found a link; remove it"):
        prepare(options)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PrepareOptions((), Path("scene"), TimeOptions(starts=("cam00:1",))), "--starts like cam03=0.1"),
        (PrepareOptions((), Path("scene"), cameras=CameraOptions(sfm_frames=0)), "--sfm-frames of 1 or more"),
        (PrepareOptions((), Path("scene"), cameras=CameraOptions(focal=-1)), "--focal above 0"),
        (PrepareOptions((), Path("scene"), seeds=SeedOptions(least_views=1)), "--least-views of 2 or more"),
    ],
)
def test_options_that_cannot_be_are_refused(options: PrepareOptions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(options)


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = numbered(tmp_path / "videos")
    scene = tmp_path / "scene"
    arguments = [
        "data",
        "prepare",
        str(folder),
        "--output-dir",
        str(scene),
        "--poses",
        str(folder / "poses_bounds.npy"),
    ]
    assert run([*arguments, "--seeds", "random", "--random-points", "20"]) == 0
    said = capfd.readouterr().out
    assert "20 grey seed points" in said
    assert f"moegs data check {scene}" in said
    assert run(arguments) == 1
    assert "expected no scene at" in capfd.readouterr().err
