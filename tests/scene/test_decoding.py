"""Frames come out exactly once, in order, with the right colours; damaged sources are named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from moegs_ns.scene.decoding import iterate_frames
from moegs_ns.scene.frame_sources import files_digest, find_cameras, fingerprint, probe
from moegs_ns.scene.points import read_ply
from tests.scene.make_video import HEIGHT, WIDTH, encode, numbered_frame, numbered_video, read_number

OPEN_GOP = {"x264-params": "open-gop=1:keyint=8:min-keyint=8:bframes=3:b-adapt=0:scenecut=0"}
ENCODINGS = {
    "all intra": {"gop_size": 1},
    "P-frames": {"gop_size": 12},
    "B-frames": {"gop_size": 10, "b_frames": 3},
    "open groups of pictures": {"codec_options": OPEN_GOP, "b_frames": 3},
    "uneven time stamps": {"pts": [0, 1, 2, 5, 6, 20, 21, *range(30, 60)], "b_frames": 2},
    "late first time stamp": {"pts": range(100, 200)},
}


def picture_types(path: Path) -> str:
    with av.open(str(path)) as container:
        return "".join(av.video.frame.PictureType(frame.pict_type).name for frame in container.decode(video=0))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_frame_shows_its_own_number(encoding: str, tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "cam00.mp4", 30, **ENCODINGS[encoding])
    assert ("B" in picture_types(path)) == ("b_frames" in ENCODINGS[encoding])
    assert probe(path).num_frames == 30
    assert [read_number(frame) for frame in iterate_frames(path, 0, 30)] == list(range(30))
    assert [read_number(frame) for frame in iterate_frames(path, 7, 9)] == list(range(7, 16))
    assert [read_number(frame) for frame in iterate_frames(path, 29, 1)] == [29]


def test_probe_reports_size_length_and_rate(tmp_path: Path) -> None:
    info = probe(numbered_video(tmp_path / "cam00.mp4", 5, fps=25))
    assert (info.width, info.height, info.num_frames, info.fps) == (WIDTH, HEIGHT, 5, 25.0)


# Limited-range Y'CbCr of saturated colours by the defining equations of BT.601 and BT.709.
KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
TAGS = {"untagged": (2, "bt601"), "tagged BT.601": (6, "bt601"), "tagged BT.709": (1, "bt709")}


def to_yuv(rgb: np.ndarray, matrix: str) -> np.ndarray:
    kr, kb = KR_KB[matrix]
    red, green, blue = np.moveaxis(rgb / 255.0, -1, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    planes = (16 + 219 * luma, 128 + 112 * (blue - luma) / (1 - kb), 128 + 112 * (red - luma) / (1 - kr))
    return np.stack(planes).round().astype(np.uint8)


@pytest.mark.parametrize("tag", TAGS)
def test_colours_follow_the_tagged_matrix(tag: str, tmp_path: Path) -> None:
    colorspace, matrix = TAGS[tag]
    rgb = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for index, colour in enumerate([(250, 10, 10), (10, 240, 20), (20, 20, 250), (200, 180, 30)]):
        rgb[:, index * 16 : (index + 1) * 16] = colour
    path = tmp_path / "cam00.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        stream.options = {"qp": "1"}
        stream.codec_context.colorspace = colorspace
        frame = av.VideoFrame.from_ndarray(to_yuv(rgb, matrix), format="yuv444p")
        frame.colorspace = colorspace
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    decoded = next(iterate_frames(path, 0, 1)).astype(int)
    assert np.abs(decoded - rgb).max() <= 6
    other = to_yuv(rgb, "bt709" if matrix == "bt601" else "bt601")
    assert np.abs(other.astype(int) - to_yuv(rgb, matrix)).max() > 20  # the two matrices would be told apart


def test_full_chroma_of_420_video(tmp_path: Path) -> None:
    """Chroma of 4:2:0 video is interpolated in both directions, at the places H.264 gives it: left, between rows."""
    across, down = np.linspace(0, 6 * np.pi, 96)[None], np.linspace(0, 4 * np.pi, 64)[:, None]
    rgb = np.stack(np.broadcast_arrays(128 + 90 * np.sin(across), 128 + 90 * np.cos(down), 90), axis=-1)
    path = encode(tmp_path / "cam00.mp4", [rgb.astype(np.uint8)], codec_options={"crf": "4"})
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        planes = [np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width] for p in frame.planes]
    luma = (planes[0].astype(np.float64) - 16) / 219
    x, y = np.meshgrid(np.arange(96) / 2, (np.arange(64) - 0.5) / 2)
    place = x.astype(np.float32), y.astype(np.float32)
    blue, red = (
        (cv2.remap(plane.astype(np.float32), *place, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE) - 128) / 112
        for plane in planes[1:]
    )
    green = luma - (0.299 * 0.701 * red + 0.114 * 0.886 * blue) / 0.587
    expected = np.stack([luma + 0.701 * red, green, luma + 0.886 * blue], axis=-1).clip(0, 1)

    def psnr(image: np.ndarray) -> float:
        return -10 * np.log10(np.square(image / 255 - expected)[4:-4, 4:-4].mean())

    assert psnr(next(iterate_frames(path, 0, 1))) > 50
    assert psnr(frame.to_ndarray(format="rgb24")) < 40  # what swscale does when left to its defaults


def test_sample_scene_has_the_colours_of_its_points(sample_scene: Path) -> None:
    """An independent look at the colour matrix: the cloud's colours were taken from the rendered images."""
    cloud = read_ply(sample_scene / "points3d.ply")
    row = np.load(sample_scene / "poses_bounds.npy")[0]
    pose = row[:15].reshape(3, 5)
    height, width, focal = pose[:, 4]
    in_camera = (cloud.xyz - pose[:, 3]) @ np.stack([pose[:, 1], pose[:, 0], -pose[:, 2]], axis=1)
    u = focal * in_camera[:, 0] / in_camera[:, 2] + width / 2
    v = focal * in_camera[:, 1] / in_camera[:, 2] + height / 2
    seen = (in_camera[:, 2] > 0) & (u > 0) & (u < width) & (v > 0) & (v < height)
    image = next(iterate_frames(sample_scene / "cam00.mp4", 0, 1))
    difference = image[v[seen].astype(int), u[seen].astype(int)].astype(int) - cloud.rgb[seen]
    assert seen.sum() > 10_000
    assert (np.abs(np.median(difference, axis=0)) <= 1).all()  # BT.709 would be off by 3 in red


def test_folders_of_images_sort_by_number_and_must_be_opaque(tmp_path: Path) -> None:
    for number in (0, 1, 2, 9, 10, 11):
        Image.fromarray(numbered_frame(number)).save(tmp_path / f"frame{number}.png")
    assert [read_number(frame) for frame in iterate_frames(tmp_path, 0, 6)] == [0, 1, 2, 9, 10, 11]
    assert [read_number(frame) for frame in iterate_frames(tmp_path, 3, 2)] == [9, 10]
    alpha = np.dstack([numbered_frame(3), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "frame1.png")
    assert [read_number(frame) for frame in iterate_frames(tmp_path, 1, 1)] == [3]
    alpha[0, 0, 3] = 100
    Image.fromarray(alpha).save(tmp_path / "frame1.png")
    with pytest.raises(ValueError, match=r"opaque.*frame1.png"):
        list(iterate_frames(tmp_path, 0, 6))


def test_image_files_come_in_the_order_given(tmp_path: Path) -> None:
    files = []
    for number in (7, 3, 9):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(numbered_frame(number)).save(files[-1])
    assert [read_number(frame) for frame in iterate_frames(tuple(files), 0, 3)] == [7, 3, 9]
    assert [read_number(frame) for frame in iterate_frames(tuple(files), 1, 1)] == [3]
    assert files_digest([tuple(files)], 0, 3) != files_digest([tuple(files[::-1])], 0, 3)
    with pytest.raises(ValueError, match="decoding ended after 3 frames"):
        list(iterate_frames(tuple(files), 0, 4))
    files[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"3\.png, found nothing"):
        list(iterate_frames(tuple(files), 0, 3))


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"readable image at .*0\.png, decoding failed .*copy it again"):
        list(iterate_frames((path,), 0, 1))


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
def test_transparent_images_are_composited_on_the_background(tmp_path: Path, background: tuple[int, int, int]) -> None:
    random = np.random.default_rng(0)
    rgba = random.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    rgba[:5, :, 3], rgba[5:10, :, 3] = 0, 255
    Image.fromarray(rgba).save(tmp_path / "0.png")
    (frame,) = iterate_frames((tmp_path / "0.png",), 0, 1, background)
    share = rgba[..., 3:] / 255
    expected = rgba[..., :3] * share + np.array(background) * (1 - share)
    assert frame.dtype == np.uint8
    assert np.abs(frame - expected).max() <= 0.5 + 1e-9
    assert (frame[:5] == background).all() and (frame[5:10] == rgba[5:10, :, :3]).all()


def test_images_of_different_sizes_are_refused(tmp_path: Path) -> None:
    Image.fromarray(numbered_frame(0)).save(tmp_path / "0.png")
    Image.fromarray(numbered_frame(1, width=80)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"64x48.*80x48 at frame 1"):
        list(iterate_frames(tmp_path, 0, 2))


def test_damaged_videos_are_named(tmp_path: Path) -> None:
    whole = numbered_video(tmp_path / "whole.mp4", 20, codec_options={"movflags": "faststart"})
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "empty.mp4").touch()
    for name in ("noise.mp4", "empty.mp4"):
        with pytest.raises(ValueError, match=f"{name}.*damaged"):
            probe(tmp_path / name)
    # The index stands at the end of the file here, so a file cut short has none.
    (tmp_path / "short.mp4").write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"short.mp4"):
        probe(tmp_path / "short.mp4")
    with pytest.raises(ValueError, match=r"decoding ended after 20 frames"):
        list(iterate_frames(whole, 15, 10))
    with pytest.raises(FileNotFoundError, match=r"absent.mp4"):
        probe(tmp_path / "absent.mp4")


def test_a_video_cut_short_behind_its_index_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "cam00.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(ValueError, match=r"expected 30 frames.*truncated"):
        probe(path)


def test_cameras_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no camera"):
        find_cameras(tmp_path)
    numbered_video(tmp_path / "cam02.mp4", 2)
    (tmp_path / "cam00" / "images").mkdir(parents=True)
    Image.fromarray(numbered_frame(0)).save(tmp_path / "cam00" / "images" / "0000.png")
    (tmp_path / "cam01").mkdir()
    Image.fromarray(numbered_frame(0)).save(tmp_path / "cam01" / "0000.jpg")
    (tmp_path / "cam02").mkdir()  # a leftover folder beside a video
    (tmp_path / "camera_paths").mkdir()  # nerfstudio's viewer writes this
    (tmp_path / "mask").mkdir()
    assert find_cameras(tmp_path) == {
        "cam00": tmp_path / "cam00" / "images",
        "cam01": tmp_path / "cam01",
        "cam02": tmp_path / "cam02.mp4",
    }
    (tmp_path / "cam03").mkdir()
    with pytest.raises(ValueError, match=r"expected images .*cam03"):
        find_cameras(tmp_path)
    (tmp_path / "cam03").rmdir()
    (tmp_path / "cam02.mov").touch()
    with pytest.raises(ValueError, match="one video per camera"):
        find_cameras(tmp_path)


def test_names_that_sort_unlike_their_numbers_are_refused(tmp_path: Path) -> None:
    for name in ("cam1", "cam2", "cam10"):
        (tmp_path / f"{name}.mp4").touch()
    with pytest.raises(ValueError, match="pad the numbers"):
        find_cameras(tmp_path)


def test_the_digest_of_files_is_that_of_a_copy_and_no_other(tmp_path: Path) -> None:
    frames = tmp_path / "cam00"
    frames.mkdir()
    for index in range(4):
        (frames / f"{index}.png").write_bytes(bytes([index]) * (10 + index))
    copy = shutil.copytree(frames, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    known = files_digest([frames], 0, 3)
    assert files_digest([copy], 0, 3) == known and len(known) == 16
    assert files_digest([copy], 0, 4) != known and files_digest([copy, copy], 0, 3) != known
    (copy / "3.png").write_bytes(b"not among the first three")
    assert files_digest([copy], 0, 3) == known
    (copy / "2.png").write_bytes(bytes([3]) * 12)
    assert files_digest([copy], 0, 3) != known
    (copy / "2.png").write_bytes(bytes([2]) * 12)
    (copy / "1.png").write_bytes(bytes([1]) * 12)  # of another size
    assert files_digest([copy], 0, 3) != known


def test_the_fingerprint_notices_a_change_that_keeps_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "cam00.mp4"
    path.write_bytes(b"a" * 1000)
    before = fingerprint(path, 0, 1)
    stat = path.stat()
    path.write_bytes(b"b" * 1000)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = fingerprint(path, 0, 1)
    assert before != after
    assert before[0][:3] == after[0][:3]
