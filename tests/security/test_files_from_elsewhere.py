"""Files of unknown origin with something in it that runs, reaches elsewhere or claims the memory where it is opened
without care: every reader refuses, and nothing has happened."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from moegs_ns.benching.suite_files import read_suite
from moegs_ns.exporting.frame_tracks import read_track, write_track
from moegs_ns.preparation.archives import unpack
from moegs_ns.reporting.motion import TRACKS_NAME, read_tracks
from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER
from moegs_ns.runs.checkpoints import read_checkpoint
from moegs_ns.runs.record import read_run_record
from moegs_ns.scene.decoding import iterate_frames
from moegs_ns.scene.frame_sources import image_size, probe
from moegs_ns.scene.json_files import read_json
from moegs_ns.scene.points import read_ply
from moegs_ns.scene.poses_bounds import read_poses_bounds
from moegs_ns.scene.seed_files import read_points_npy
from moegs_ns.training.load_run import load_model
from tests.router.building import make_expert, save_run
from tests.scene.make_video import numbered_video


class Trap:
    """Unpickling it leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


@pytest.fixture(autouse=True)
def nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "executed").exists()


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap()))
    assert (tmp_path / "executed").exists()
    (tmp_path / "executed").unlink()


def objects() -> np.ndarray:
    return np.array([[Trap(), 0, 0]], dtype=object)


def write_checkpoint(path: Path) -> None:
    torch.save({"step": 1, "pipeline": Trap(), "optimizers": {}}, path)


def write_legacy_checkpoint(path: Path) -> None:
    torch.save({"step": 1, "pipeline": Trap(), "optimizers": {}}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("step-000000001.ckpt", write_checkpoint, read_checkpoint),
        ("step-000000001.ckpt", write_legacy_checkpoint, read_checkpoint),
        ("step-000000001.ckpt", lambda path: path.write_bytes(pickle.dumps(Trap())), read_checkpoint),
        ("points.npy", lambda path: np.save(path, objects()), read_points_npy),
        ("poses_bounds.npy", lambda path: np.save(path, objects()), read_poses_bounds),
        ("poses_bounds.npy", lambda path: path.write_bytes(pickle.dumps(Trap())), read_poses_bounds),
        (TRACKS_NAME, lambda path: np.savez(path, ball=objects()), lambda path: read_tracks(path.parent)),
        ("suite.yaml", lambda path: path.write_text("!!python/object/apply:os.system ['touch executed']"), read_suite),
        ("run.json", lambda path: path.write_text("__import__('os').system('touch executed')"), read_run_record),
    ],
)
def test_nothing_in_a_file_is_executed(
    tmp_path: Path, name: str, write: Callable[[Path], None], read: Callable[[Any], Any]
) -> None:
    write(tmp_path / name)
    with pytest.raises(ValueError):
        read(str(tmp_path / name) if read is read_suite else tmp_path / name)


def test_a_run_is_loaded_without_its_yaml(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", make_expert("stg", seed=1, count=5), "stg")
    (run / "config.yml").write_text("!!python/object/apply:os.system ['touch executed']")
    assert int(load_model(run, "cpu").training_step) == 30


def test_the_description_of_a_mixture_is_plain_data(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", make_expert("stg", seed=1, count=5), "stg")
    path = next((run / CHECKPOINT_FOLDER).iterdir())
    state = torch.load(path, weights_only=True)
    state["pipeline"]["_model._extra_state"] = Trap()
    torch.save(state, path)
    with pytest.raises(ValueError, match="expected a whole checkpoint of tensors"):
        load_model(run, "cpu")


# -- what refers to elsewhere ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile 'secret.mp4'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
    ids=["concat", "hls", "sdp"],
)
def test_a_video_is_no_list_of_other_files(tmp_path: Path, text: str) -> None:
    numbered_video(tmp_path / "secret.mp4", 3)
    (tmp_path / "cam00.mp4").write_text(text)
    for read in (probe, lambda path: list(iterate_frames(path, 0, 1))):
        with pytest.raises(ValueError, match="expected a readable video"):
            read(tmp_path / "cam00.mp4")


def test_ffmpeg_would_follow_such_a_list(tmp_path: Path) -> None:
    """What is mended; when this fails, it is no longer needed."""
    numbered_video(tmp_path / "secret.mp4", 3)
    (tmp_path / "cam00.mp4").write_text("ffconcat version 1.0\nfile 'secret.mp4'\n")
    with av.open(str(tmp_path / "cam00.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3


def test_a_name_is_no_address(tmp_path: Path) -> None:
    folder = tmp_path / "concat:"
    folder.mkdir()
    numbered_video(folder / "cam00.mp4", 3)
    assert probe(Path("concat:/cam00.mp4")).num_frames == 3


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"GIF89a" + bytes(20)])
def test_an_image_is_no_program_for_ghostscript(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0000.png").write_bytes(content)
    with pytest.raises(ValueError, match="expected an? .*image at"):
        image_size(tmp_path / "0000.png")
    with pytest.raises(ValueError, match="expected a .*image at"):
        list(iterate_frames((tmp_path / "0000.png",), 0, 1))


# -- what claims more than there is ------------------------------------------------------------------------------------


def huge_png(path: Path) -> None:
    """100,000 x 100,000 pixels, it says."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


def huge_npy(path: Path) -> None:
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**13, 3)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(100))


def huge_ply(path: Path) -> None:
    lines = "ply\nformat binary_little_endian 1.0\nelement vertex 1000000000000\nproperty float x\nend_header\n"
    path.write_bytes(lines.encode() + bytes(100))


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("0000.png", huge_png, image_size),
        ("0000.png", huge_png, lambda path: list(iterate_frames((path,), 0, 1))),
        ("points.npy", huge_npy, read_points_npy),
        ("points3D.ply", huge_ply, read_ply),
        ("points3D.ply", lambda path: path.write_bytes(b"ply" + b"x" * 10_000_000), read_ply),
        ("scene.json", lambda path: path.write_text("[" * 100_000), lambda path: read_json(path, "a scene")),
        ("run.json", lambda path: path.write_text('{"a":' * 100_000), read_run_record),
    ],
)
def test_memory_is_claimed_for_what_is_there(
    tmp_path: Path, name: str, write: Callable[[Path], None], read: Callable[[Path], Any]
) -> None:
    write(tmp_path / name)
    with pytest.raises(ValueError, match="expected"):
        read(tmp_path / name)


def test_a_track_is_unpacked_to_the_size_it_says() -> None:
    track = write_track(np.zeros((1, 1_000_000, 4), np.uint8))
    small = type(track)(frames=1, gaussians=2, width=4, changing=0, data=track.data)
    with pytest.raises(ValueError, match="expected a track of 9 bytes, found 10"):
        read_track(small)


# -- names that lead elsewhere -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "..\\outside", "c:outside"])
def test_archives_cannot_leave_their_folder(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "scene.zip", "w") as archive:
        archive.writestr("inside.txt", "fine")
        archive.writestr(name, "not fine")
    with pytest.raises(ValueError, match="expected names below one folder"):
        unpack([tmp_path / "scene.zip"], tmp_path / "scene")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.zip"]


def test_links_in_archives_are_texts(tmp_path: Path) -> None:
    """A later entry cannot be written through an earlier one."""
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "scene.zip", "w") as archive:
        archive.writestr(link, "..")
        archive.writestr("link/outside", "not fine")
    with pytest.raises(OSError):
        unpack([tmp_path / "scene.zip"], tmp_path / "scene")
    assert not (tmp_path / "scene" / "link").is_symlink()
    assert not (tmp_path / "outside").exists()


def test_a_scene_of_json_keeps_nothing_of_python(tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text(json.dumps({"__reduce__": ["os.system", "touch executed"]}))
    assert read_json(tmp_path / "transforms.json", "cameras") == {"__reduce__": ["os.system", "touch executed"]}
