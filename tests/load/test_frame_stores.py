"""Frame stores leave nothing behind when they are let go, and hold no more of their frames than they may."""

from pathlib import Path

import numpy as np
import pytest

from moegs_ns.scene.datamanager import DynamicDataManager, DynamicDataManagerConfig
from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.frame_cache import CameraFrames, frame_cache_dir
from moegs_ns.scene.frame_store import FrameStore
from tests.load.frame_stores import draw_frames, mapped_bytes, reopen
from tests.load.growth import too_steep
from tests.load.limits import CYCLES
from tests.scene.make_video import HEIGHT, WIDTH, numbered_video

FRAMES = 6
WINDOW = 256 << 10


@pytest.fixture
def cameras(tmp_path: Path) -> list[CameraFrames]:
    """Three small ones."""
    videos = [numbered_video(tmp_path / f"cam{k:02d}.mp4", FRAMES, first_number=20 * k) for k in range(3)]
    return [CameraFrames(video, 0, FRAMES, WIDTH, HEIGHT) for video in videos]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty cache."""
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def test_fifty_cycles_leave_neither_memory_nor_files_nor_maps(cameras: list[CameraFrames], root: Path) -> None:
    samples = reopen(cameras, root, cycles=50, frames=FRAMES)
    assert not too_steep(samples, CYCLES)
    assert mapped_bytes(root) == 0


def test_a_store_that_is_kept_is_found(cameras: list[CameraFrames], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, read = [], FrameStore.frame

    def frame(self: FrameStore, camera: int, number: int) -> np.ndarray:
        if not kept or kept[-1] is not self:
            kept.append(self)
        return read(self, camera, number)

    monkeypatch.setattr(FrameStore, "frame", frame)
    told = too_steep(reopen(cameras, root, cycles=10, frames=FRAMES), CYCLES)
    # A camera's map and its file handle each.
    assert any("maps grow" in one for one in told) and any("files grow by 3e+03" in one for one in told)


@pytest.mark.parametrize("windows", [4, 12])
def test_memory_stays_within_what_a_store_may_hold(cameras: list[CameraFrames], root: Path, windows: int) -> None:
    """Linux maps more of a file than what is read of it."""
    large = [CameraFrames(one.source, 0, FRAMES, 8 * WIDTH, 6 * HEIGHT) for one in cameras]
    FrameStore(large, root).prepare()
    store = FrameStore(large, root, max_resident_bytes=windows * WINDOW)

    def read(number: int) -> np.ndarray:
        return store.frame(*divmod(number, FRAMES)).copy()

    assert large[0].num_bytes // FRAMES + 2 * WINDOW <= windows * WINDOW
    drawn = draw_frames(read, len(large) * FRAMES, root, draws=150, seed=0)
    assert drawn.wrong == 0
    assert 0 < drawn.most_bytes <= windows * WINDOW < drawn.whole_bytes


def test_a_run_stays_within_its_ram_budget(sample_scene: Path) -> None:
    """Training and evaluation images, drawn by turns, of which a fifth fits."""
    budget = 0.003
    config = DynamicDataManagerConfig(
        data=sample_scene, dataparser=N3VDataParserConfig(downscale=2), ram_budget=budget
    )
    manager = DynamicDataManager(config, device="cpu", test_mode="test")
    training, evaluating = len(manager.train_dataset), len(manager.eval_dataset)

    def read(number: int) -> np.ndarray:
        item = manager.train_item(number) if number < training else manager.eval_item(number - training)
        return item[1]["image"].numpy()

    drawn = draw_frames(read, training + evaluating, frame_cache_dir(), draws=100, seed=1)
    assert drawn.wrong == 0
    assert 0 < drawn.most_bytes <= budget * 1e9 < drawn.whole_bytes / 5
