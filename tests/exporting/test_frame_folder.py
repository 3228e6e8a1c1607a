"""Frame folders: what is kept, for whom, and what a stop leaves behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moegs_ns.exporting.frame_folder import JOB_NAME, FrameFolder, save_frame

JOB = {"checkpoint": "ab12", "cameras and times": "cd34", "pictures": ("rgb",)}


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (9, 13, 3), dtype=np.uint8)


def test_frames_come_back_exactly_and_are_numbered(tmp_path: Path) -> None:
    folder = FrameFolder(tmp_path / "new" / "frames", JOB, 3)
    assert folder.missing() == [0, 1, 2]
    for number in (2, 0):
        folder.write(number, picture(number))
    assert folder.missing() == [1]
    np.testing.assert_array_equal(folder.read(2), picture(2))
    assert sorted(path.name for path in (tmp_path / "new" / "frames").iterdir()) == ["00000.png", "00002.png", JOB_NAME]


def test_the_same_job_goes_on_and_other_files_are_left_alone(tmp_path: Path) -> None:
    FrameFolder(tmp_path, JOB, 3).write(1, picture(1))
    (tmp_path / "notes.png").write_text("mine")
    assert FrameFolder(tmp_path, JOB, 3).missing() == [0, 2]
    assert (tmp_path / "notes.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("job", "count", "named"),
    [
        ({**JOB, "checkpoint": "ef56"}, 3, r"\(other checkpoint\)"),
        ({**JOB, "pictures": ("rgb", "depth")}, 3, r"\(other pictures\)"),
        (JOB, 4, r"\(other frames\)"),
        ({**JOB, "depths": [1, 2]}, 4, r"\(other depths, frames\)"),
    ],
)
def test_another_job_is_refused_by_name_or_replaces_all_frames(
    tmp_path: Path, job: dict, count: int, named: str
) -> None:
    FrameFolder(tmp_path, JOB, 3).write(1, picture(1))
    with pytest.raises(ValueError, match=f"{named}.*--overwrite to remove its 1 frames"):
        FrameFolder(tmp_path, job, count)
    assert FrameFolder(tmp_path, JOB, 3).missing() == [0, 2]
    (tmp_path / "notes.txt").write_text("mine")
    assert FrameFolder(tmp_path, job, count, overwrite=True).missing() == list(range(count))
    assert (tmp_path / "notes.txt").is_file()
    assert FrameFolder(tmp_path, job, count).missing() == list(range(count))


def test_frames_of_nobody_known_are_refused(tmp_path: Path) -> None:
    save_frame(tmp_path / "00000.png", picture(0))
    with pytest.raises(ValueError, match=f"no readable {JOB_NAME}"):
        FrameFolder(tmp_path, JOB, 3)
    (tmp_path / JOB_NAME).write_text("[1")
    with pytest.raises(ValueError, match=f"no readable {JOB_NAME}"):
        FrameFolder(tmp_path, JOB, 3)


def test_a_job_that_left_no_frame_is_forgotten(tmp_path: Path) -> None:
    FrameFolder(tmp_path, JOB, 3)
    FrameFolder(tmp_path, {**JOB, "checkpoint": "ef56"}, 5)
    assert json.loads((tmp_path / JOB_NAME).read_text("utf8"))["frames"] == 5


def test_damaged_frames_count_as_missing(tmp_path: Path) -> None:
    folder = FrameFolder(tmp_path, JOB, 3)
    for number in range(3):
        folder.write(number, picture(number))
    whole = folder.path(1).read_bytes()
    folder.path(1).write_bytes(whole[: len(whole) // 2])
    folder.path(2).write_bytes(whole[:40] + bytes([whole[40] ^ 255]) + whole[41:])
    assert FrameFolder(tmp_path, JOB, 3).missing() == [1, 2]


def test_a_frame_that_fails_to_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Image.Image, file: Path, **options: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        save_frame(tmp_path / "00000.png", picture(0))
    assert list(tmp_path.iterdir()) == []
