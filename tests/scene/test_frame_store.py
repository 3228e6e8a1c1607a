"""The frame store: right frames, decoded once, whatever interrupts it, in bounded memory."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moegs_ns.scene import frame_cache
from moegs_ns.scene.frame_cache import CameraFrames, clear_frame_cache
from moegs_ns.scene.frame_store import FrameStore
from moegs_ns.scene.lens import Lens
from tests.scene.make_video import HEIGHT, WIDTH, encode, numbered_frame, numbered_video, read_number


@pytest.fixture
def cameras(tmp_path: Path) -> list[CameraFrames]:
    """Three cameras of 8 frames; camera k's frame i shows 20 * k + i."""
    videos = [numbered_video(tmp_path / f"cam{k:02d}.mp4", 8, first_number=20 * k, b_frames=2) for k in range(3)]
    return [CameraFrames(video, 0, 8, WIDTH, HEIGHT) for video in videos]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def numbers(store: FrameStore) -> list[list[int]]:
    return [
        [read_number(store.frame(camera, frame)) for frame in range(store.cameras[camera].num_frames)]
        for camera in range(len(store))
    ]


ALL = [[20 * camera + frame for frame in range(8)] for camera in range(3)]


def test_frames_are_views_of_the_right_images(cameras: list[CameraFrames], root: Path) -> None:
    store = FrameStore(cameras, root)
    assert not list(root.iterdir())  # nothing happens before the first frame is asked for
    assert read_number(store.frame(1, 3)) == 23
    assert len([path for path in root.iterdir() if path.is_dir()]) == 1  # and then to this camera only
    assert numbers(store) == ALL
    frame = store.frame(2, 0)
    assert (frame.shape, frame.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert not frame.flags.writeable
    assert not frame.flags.owndata
    for bad in ((3, 0), (-1, 0), (0, 8), (0, -1)):
        with pytest.raises(IndexError, match="expected a"):
            store.frame(*bad)


def test_a_range_of_frames_counts_from_its_first(cameras: list[CameraFrames], root: Path) -> None:
    part = CameraFrames(cameras[0].source, 3, 4, WIDTH, HEIGHT)
    assert numbers(FrameStore([part], root)) == [[3, 4, 5, 6]]
    assert numbers(FrameStore(cameras, root)) == ALL  # the whole clip is another entry


def test_decoded_once_then_reused(cameras: list[CameraFrames], root: Path) -> None:
    assert FrameStore(cameras, root).prepare([0, 1]) == [0, 1]
    assert FrameStore(cameras, root).prepare() == [2]
    assert FrameStore(cameras, root).prepare() == []


def test_the_default_place_is_the_user_cache(
    cameras: list[CameraFrames], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOEGS_CACHE_DIR", str(tmp_path / "mine"))
    FrameStore(cameras).prepare()
    assert len([path for path in (tmp_path / "mine" / "frames").iterdir() if path.is_dir()]) == 3


def test_downscaling_is_area_averaging(tmp_path: Path, root: Path) -> None:
    """Against block means by numpy, on images that are not compressed."""
    folder = tmp_path / "cam00" / "images"
    folder.mkdir(parents=True)
    image = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(image).save(folder / "0.png")
    frame = FrameStore([CameraFrames(folder, 0, 1, 16, 12)], root).frame(0, 0)
    expected = image.reshape(12, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(frame - expected).max() <= 0.5 + 1e-9


def test_image_files_one_by_one(tmp_path: Path, root: Path) -> None:
    files = tuple(tmp_path / f"image{number}.png" for number in (5, 1, 4))
    for number, file in zip((5, 1, 4), files, strict=True):
        Image.fromarray(numbered_frame(number)).save(file)
    assert numbers(FrameStore([CameraFrames(files, 0, 3, WIDTH, HEIGHT)], root)) == [[5, 1, 4]]
    assert numbers(FrameStore([CameraFrames(files[::-1], 0, 3, WIDTH, HEIGHT)], root)) == [[4, 1, 5]]
    assert len(list(root.glob("image5-*/complete.json"))) == len(list(root.glob("image4-*/complete.json"))) == 1
    files[1].unlink()
    with pytest.raises(FileNotFoundError, match="image1"):
        FrameStore([CameraFrames(files, 0, 3, WIDTH, HEIGHT)], root).prepare()


def test_each_frame_is_straightened_by_its_own_lens_before_it_is_made_smaller(tmp_path: Path, root: Path) -> None:
    """Dots at one direction, photographed through two lenses, and where the pinhole pictures show them."""
    lenses = (
        Lens(90.0, 90.0, 30.0, 26.0, radial=(-0.3,)),
        Lens(80.0, 85.0, 33.0, 22.0, skew=4.0, radial=(0.2, 0.1), tangential=(0.01, -0.02)),
    )
    direction = np.array([0.2, -0.12])
    files = tuple(tmp_path / f"{index}.png" for index in range(2))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for lens, file in zip(lenses, files, strict=True):
        column, row = lens.project(direction[None])[0]
        dot = 255 * np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * 1.5**2))
        Image.fromarray(np.repeat(dot[..., None].round().astype(np.uint8), 3, axis=2)).save(file)
    plain = FrameStore([CameraFrames(files, 0, 2, WIDTH // 2, HEIGHT // 2)], root)
    straight = FrameStore([CameraFrames(files, 0, 2, WIDTH // 2, HEIGHT // 2, lenses)], root)
    assert plain.prepare() == straight.prepare() == [0]  # not the same entry
    other = CameraFrames(files, 0, 2, WIDTH // 2, HEIGHT // 2, lenses[::-1])
    assert FrameStore([other], root).prepare() == [0]
    for index, lens in enumerate(lenses):
        seen = straight.frame(0, index)[..., 0].astype(float)
        found = [(seen * axis[: HEIGHT // 2, : WIDTH // 2]).sum() / seen.sum() for axis in (columns, rows)]
        pinhole = lens.pinhole(WIDTH, HEIGHT).resized(WIDTH // 2, HEIGHT // 2)
        expected = direction * [pinhole.fx, pinhole.fy] + [pinhole.cx, pinhole.cy]
        np.testing.assert_allclose(found, expected, atol=0.15)
    with pytest.raises(ValueError, match="a lens for each of 2 frames, found 1"):
        CameraFrames(files, 0, 2, WIDTH, HEIGHT, lenses[:1])


def test_the_background_belongs_to_the_frames_identity(tmp_path: Path, root: Path) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 4), np.uint8)).save(tmp_path / "0.png")
    for background in ((255, 255, 255), (0, 0, 0)):
        frames = CameraFrames((tmp_path / "0.png",), 0, 1, WIDTH, HEIGHT, background=background)
        assert (FrameStore([frames], root).frame(0, 0) == background).all()
    with pytest.raises(ValueError, match=r"expected opaque images.*--background"):
        FrameStore([CameraFrames((tmp_path / "0.png",), 0, 1, WIDTH, HEIGHT)], root).prepare()


def test_a_changed_source_is_noticed(cameras: list[CameraFrames], root: Path) -> None:
    FrameStore(cameras, root).prepare()
    numbered_video(cameras[1].source, 8, first_number=100)
    store = FrameStore(cameras, root)
    assert store.prepare() == [1]
    assert numbers(store)[1] == list(range(100, 108))


def test_a_source_that_ends_early_leaves_no_complete_entry(cameras: list[CameraFrames], root: Path) -> None:
    store = FrameStore([CameraFrames(cameras[0].source, 0, 9, WIDTH, HEIGHT)], root)
    for _ in range(2):
        with pytest.raises(ValueError, match="decoding ended after 8 frames"):
            store.prepare()
    with pytest.raises(FileNotFoundError, match=r"cam09.mp4"):
        FrameStore([CameraFrames(root / "cam09.mp4", 0, 9, WIDTH, HEIGHT)], root).prepare()


def test_a_damaged_entry_is_decoded_again(cameras: list[CameraFrames], root: Path) -> None:
    FrameStore(cameras, root).prepare()
    victim = next(root.glob("cam01*/frames.rgb24"))
    victim.write_bytes(victim.read_bytes()[:-1])
    store = FrameStore(cameras, root)
    assert store.prepare() == [1]
    assert numbers(store) == ALL


# -- interruption and concurrency --------------------------------------------------------------------------------------

CHILD = """
import json, os, signal, sys
from pathlib import Path
from moegs_ns.scene import frame_cache
from moegs_ns.scene.frame_store import FrameStore
from moegs_ns.scene.lens import Lens

spec = json.loads(sys.argv[1])
shape = 0, spec["frames"], spec["width"], spec["height"]
cameras = [frame_cache.CameraFrames(Path(path), *shape) for path in spec["sources"]]
real, done = frame_cache.iterate_frames, 0

def interrupted(*args):
    global done
    for frame in real(*args):
        if done == spec["kill_after"]:
            os.kill(os.getpid(), signal.SIGKILL)
        yield frame
        done += 1

frame_cache.iterate_frames = interrupted
if spec.get("barrier"):
    Path(spec["barrier"], str(os.getpid())).touch()
    while len(os.listdir(spec["barrier"])) < 2:
        pass
print(json.dumps(FrameStore(cameras, Path(spec["root"])).prepare()))
"""


def start_child(
    cameras: list[CameraFrames], root: Path, kill_after: int, barrier: Path | None = None
) -> subprocess.Popen:
    spec = {
        "sources": [str(camera.source) for camera in cameras],
        "frames": cameras[0].num_frames,
        "width": cameras[0].width,
        "height": cameras[0].height,
        "root": str(root),
        "kill_after": kill_after,
        "barrier": str(barrier) if barrier else None,
    }
    command = [sys.executable, "-c", CHILD, json.dumps(spec)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_killed_in_the_middle_of_a_camera(cameras: list[CameraFrames], root: Path) -> None:
    """The camera that was complete stays, the interrupted one and the rest are decoded anew, and no lock is left."""
    child = start_child(cameras, root, kill_after=8 + 5)
    assert child.wait(timeout=60) == -signal.SIGKILL
    assert next(root.glob("cam01*/.frames.*.unfinished*")).exists()
    finished = next(root.glob("cam00*/frames.rgb24"))
    before = finished.stat().st_mtime_ns
    store = FrameStore(cameras, root)
    assert store.prepare() == [1, 2]
    assert numbers(store) == ALL
    assert finished.stat().st_mtime_ns == before
    assert not list(root.glob("*/*.unfinished*"))


def test_two_processes_at_once_share_the_work(tmp_path: Path, root: Path) -> None:
    cameras = [
        CameraFrames(numbered_video(tmp_path / f"cam{k:02d}.mp4", 60, first_number=k), 0, 60, WIDTH, HEIGHT)
        for k in range(4)
    ]
    barrier = tmp_path / "barrier"
    barrier.mkdir()
    children = [start_child(cameras, root, kill_after=-1, barrier=barrier) for _ in range(2)]
    decoded = [json.loads(child.communicate(timeout=60)[0]) for child in children]
    assert sorted(decoded[0] + decoded[1]) == [0, 1, 2, 3]  # each camera by exactly one of them
    store = FrameStore(cameras, root)
    assert store.prepare() == []
    assert numbers(store) == [[k + frame for frame in range(60)] for k in range(4)]


def test_a_second_process_waits_and_reuses(cameras: list[CameraFrames], root: Path) -> None:
    store = FrameStore(cameras[:1], root)
    entry = frame_cache.cache_entry(cameras[0], root)
    waited = threading.Event()
    result: list[bool] = []
    with entry.lock():
        thread = threading.Thread(
            target=lambda: result.append(frame_cache.decode_into(entry, on_frame=lambda: None, on_wait=waited.set))
        )
        thread.start()
        assert waited.wait(timeout=30)
        frame_cache._decode(entry, on_frame=lambda: None)  # as the holder of the lock does
    thread.join(timeout=30)
    assert result == [False]
    assert numbers(store) == ALL[:1]


def _numbers_in_child(store: FrameStore, queue: multiprocessing.Queue) -> None:
    queue.put(numbers(store))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_usable_in_worker_processes(method: str, cameras: list[CameraFrames], root: Path) -> None:
    store = FrameStore(cameras, root)
    store.frame(0, 0)  # some maps open, some not
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=_numbers_in_child, args=(store, queue))
    worker.start()
    assert queue.get(timeout=60) == ALL
    worker.join(timeout=60)
    assert numbers(pickle.loads(pickle.dumps(store))) == ALL


# -- resources ---------------------------------------------------------------------------------------------------------


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads Linux's /proc")
def test_many_cameras_do_not_exhaust_file_descriptors(tmp_path: Path, root: Path) -> None:
    source = numbered_video(tmp_path / "cam00.mp4", 2)
    videos = [shutil.copy(source, tmp_path / f"cam{k:02d}.mp4") for k in range(1, 40)]
    store = FrameStore([CameraFrames(Path(v), 0, 2, WIDTH, HEIGHT) for v in videos], root, max_open_cameras=4)
    store.prepare()
    before = _open_files()
    views = [store.frame(camera, 1) for camera in range(39)]
    del views[4:]
    assert _open_files() <= before + 8
    assert [read_number(view) for view in views] == [1] * 4  # views outlive the maps the store has closed


def test_a_full_disk_is_announced_before_decoding(
    cameras: list[CameraFrames], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"decoded frames of 3 cameras .* found 1 kB free; set MOEGS_CACHE_DIR"):
        FrameStore(cameras, root).prepare()
    assert not list(root.glob("*/frames*"))


def test_clearing_the_cache(cameras: list[CameraFrames], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_CACHE_DIR", str(tmp_path / "mine"))
    store, other = FrameStore(cameras), FrameStore(cameras)
    store.prepare()
    view = store.frame(0, 5)
    busy = frame_cache.cache_entry(cameras[2], frame_cache.frame_cache_dir())
    with busy.lock():
        assert clear_frame_cache() >= 2 * cameras[0].num_bytes
        assert busy.is_complete
    assert read_number(view) == 5  # what is open stays readable
    assert numbers(other) == ALL  # what is gone comes back
    assert clear_frame_cache() >= 3 * cameras[0].num_bytes
    assert clear_frame_cache() == 0


MEMORY_CHILD = """
import sys
from pathlib import Path
from moegs_ns.scene.frame_cache import CameraFrames
from moegs_ns.scene.frame_store import FrameStore
from moegs_ns.scene.lens import Lens

def status(key):
    line = next(line for line in open("/proc/self/status") if line.startswith(key))
    return int(line.split()[1]) >> 10

source, root, frames = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
FrameStore([CameraFrames(source, 0, 8, 640, 360)], root).prepare()  # libraries loaded, buffers warm
before = status("VmRSS")
store = FrameStore([CameraFrames(source, 0, frames, 640, 360)], root, max_resident_bytes=16 << 20)
store.prepare()
for frame in range(frames):
    assert store.frame(0, frame).max() > 0
assert "torch" not in sys.modules
print(status("VmHWM") - before, store.cameras[0].num_bytes >> 20)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_memory_does_not_grow_with_the_clip(tmp_path: Path, root: Path) -> None:
    frames = 250
    source = encode(tmp_path / "cam00.mp4", (numbered_frame(i % 200, 640, 360) for i in range(frames)))
    command = [sys.executable, "-c", MEMORY_CHILD, str(source), str(root), str(frames)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    grown, clip = map(int, result.stdout.split())
    assert clip > 150
    assert grown < 60, f"{grown} MB more for a clip of {clip} MB"
