"""A teacher's views on disk: round trip within the stated error, interruption, staleness, room, two at once."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from moegs_ns.distill import teacher_cache as module
from moegs_ns.distill.teacher import TeacherView
from moegs_ns.distill.teacher_cache import Precision, TeacherCache, cameras_digest, remove_stale, teacher_cache
from tests.router.building import make_camera

VIEWS, EXPERTS, HEIGHT, WIDTH = 5, 3, 26, 37


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "user_cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "teacher_views"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "run" / "step-000000005.ckpt"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    return file


def cameras(last: float = 1.0) -> Cameras:
    one = make_camera()
    times = torch.linspace(0.0, last, VIEWS)[:, None]
    return Cameras(
        camera_to_worlds=one.camera_to_worlds.expand(VIEWS, 3, 4),
        fx=30.0, fy=33.0, cx=14.8, cy=14.3, width=WIDTH, height=HEIGHT, times=times,
    )  # fmt: skip


def entry(checkpoint: Path, precision: Precision = "uint8") -> TeacherCache:
    return teacher_cache(checkpoint.parent, checkpoint, cameras(), EXPERTS, precision)


def shown(index: int) -> TeacherView:
    generator = torch.Generator().manual_seed(index)
    logits = 3 * torch.randn(EXPERTS, HEIGHT, WIDTH, generator=generator)
    return TeacherView(torch.rand(HEIGHT, WIDTH, 3, generator=generator), logits.softmax(dim=0))


@pytest.mark.parametrize(("precision", "gate_error"), [("uint8", 0.5 / 255), ("half", 0.5 / 2048)])
def test_round_trip_within_the_stated_error(checkpoint: Path, precision: Precision, gate_error: float) -> None:
    cache = entry(checkpoint, precision)
    assert cache.fill(shown) == VIEWS and cache.missing() == []
    worst = [0.0, 0.0]
    for index in range(VIEWS):
        view = shown(index)
        for expert in range(EXPERTS):
            image, gate = cache.view(index, expert, "cpu")
            worst[0] = max(worst[0], float((image - view.image).abs().max()))
            worst[1] = max(worst[1], float((gate - view.gates[expert]).abs().max()))
    errors = cache.facts()["quantisation"]
    assert 0 < worst[0] <= 0.5 / 255 + 1e-6 and 0 < worst[1] <= gate_error + 1e-6
    assert (errors["image_max"], errors["gate_max"]) == pytest.approx(tuple(worst), abs=1e-6)
    assert errors["views"] == VIEWS and errors["image_rms"] < errors["image_max"]
    assert sum(file.stat().st_size for file in cache.folder.glob("*.[uf]*")) == cache.num_bytes


def test_an_interrupted_entry_goes_on_where_it_stopped(checkpoint: Path) -> None:
    class Killed(Exception):
        pass

    def until_the_third(index: int) -> TeacherView:
        if index == 3:
            raise Killed
        return shown(index)

    with pytest.raises(Killed):
        entry(checkpoint).fill(until_the_third)
    cache, rendered = entry(checkpoint), []
    assert cache.missing() == [3, 4]

    def noted(index: int) -> TeacherView:
        rendered.append(index)
        return shown(index)

    assert cache.fill(noted) == 2 and rendered == [3, 4]
    whole = entry(checkpoint.rename(checkpoint.with_name("other.ckpt")), "half")
    whole.fill(shown)
    for index in range(VIEWS):
        torch.testing.assert_close(cache.view(index, 1, "cpu"), whole.view(index, 1, "cpu"), rtol=0, atol=3e-3)
    assert cache.facts()["quantisation"]["views"] == VIEWS
    assert entry(checkpoint.with_name("other.ckpt")).fill(noted) == 0


def test_another_checkpoint_camera_time_size_or_precision_is_another_entry(checkpoint: Path) -> None:
    def folder(**changes: object) -> Path:
        arguments = {"cameras": cameras(), "experts": EXPERTS, "precision": "uint8", **changes}
        return teacher_cache(checkpoint.parent, checkpoint, **arguments).folder  # type: ignore[arg-type]

    usual = folder()
    assert folder() == usual
    larger = cameras()
    larger.width, larger.height = 2 * larger.width, 2 * larger.height
    moved = cameras()
    moved.camera_to_worlds = moved.camera_to_worlds + 1e-3
    others = [folder(precision="half"), folder(experts=2), folder(cameras=cameras(0.9)), folder(cameras=larger)]
    others.append(folder(cameras=moved))
    checkpoint.write_bytes(b"trained on")
    others.append(folder())
    assert len({usual, *others}) == 7


def test_views_of_a_teacher_that_was_trained_on_are_deleted(checkpoint: Path, cache_folder: Path) -> None:
    old = entry(checkpoint)
    old.fill(shown)
    half = entry(checkpoint, "half")
    half.fill(shown)
    assert remove_stale(old) == []
    checkpoint.write_bytes(b"trained on")
    new = entry(checkpoint)
    assert sorted(remove_stale(new)) == sorted([old.folder, half.folder])
    assert new.fill(shown) == VIEWS
    assert [file.parent for file in cache_folder.glob("*/facts.json")] == [new.folder]


def test_room_is_looked_for_beforehand(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = entry(checkpoint)
    size = VIEWS * (HEIGHT * WIDTH * (3 + EXPERTS) + 1)
    assert cache.num_bytes == size
    cache.check_space(size / 1e9)
    with pytest.raises(ValueError, match=r"at most 1e-05 GB for the teacher's 5 views, found \d+ kB; raise --teacher"):
        cache.check_space(1e-5)
    usage = shutil.disk_usage(checkpoint.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OSError, match="room for the teacher's views .* found 1 kB free; set MOEGS_CACHE_DIR"):
        cache.check_space(1.0)
    assert not cache.folder.exists()


def test_a_second_process_waits_and_renders_nothing(checkpoint: Path) -> None:
    first, second = entry(checkpoint), entry(checkpoint)
    begun, waiting = threading.Event(), threading.Event()

    def slowly(indices: list[int]) -> Iterator[int]:
        for index in indices:
            begun.set()
            assert waiting.wait(20)
            yield index

    thread = threading.Thread(target=first.fill, args=(shown, slowly))
    thread.start()
    assert begun.wait(20)
    assert second.fill(lambda index: pytest.fail("rendered twice"), on_wait=waiting.set) == 0
    thread.join()
    assert second.missing() == []


def test_images_of_several_sizes_are_not_kept(checkpoint: Path) -> None:
    mixed = cameras()
    mixed.width = mixed.width.clone()
    mixed.width[2] += 1
    with pytest.raises(ValueError, match="one size to keep a teacher's views of, found 2 sizes; use --teacher-views"):
        teacher_cache(checkpoint.parent, checkpoint, mixed, EXPERTS, "uint8")


def test_what_the_entry_is_of_can_be_read(checkpoint: Path) -> None:
    cache = entry(checkpoint)
    cache.fill(shown)
    facts = json.loads((cache.folder / "facts.json").read_text("utf8"))
    assert facts["teacher"] == str(checkpoint.parent) and facts["checkpoint"] == checkpoint.name
    assert facts["shape"] == {"views": VIEWS, "experts": EXPERTS, "height": HEIGHT, "width": WIDTH}


def test_the_digest_of_cameras_covers_which_camera_it_is() -> None:
    one = cameras()
    other = cameras()
    other.metadata = {"camera_index": torch.arange(VIEWS)[:, None]}
    assert cameras_digest(one) == cameras_digest(cameras())
    assert cameras_digest(one) != cameras_digest(other)
