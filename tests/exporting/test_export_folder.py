"""Export folders: taken up where they were left, and never mixed up."""

import json
from pathlib import Path

import pytest

from moegs_ns.exporting.export_folder import RECORD_NAME, ExportFolder, frame_file, parse_frames
from moegs_ns.folder_lock import FolderIsBusyError

JOB = {"format": "ply", "frames": [0, 1], "min_opacity": 0.1}


def begun(path: Path, job: dict = JOB) -> ExportFolder:
    folder = ExportFolder(path, job)
    folder.open()
    folder.announce(["frame_0000.ply", "frame_0001.ply"])
    folder.write_file("frame_0000.ply", lambda file: _write(file, b"first"))
    return folder


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def test_finished_frames_stay(tmp_path: Path) -> None:
    begun(tmp_path / "export")
    again = ExportFolder(tmp_path / "export", JOB)
    again.open()
    assert (tmp_path / "export" / "frame_0000.ply").read_bytes() == b"first"
    record = json.loads((tmp_path / "export" / RECORD_NAME).read_text("utf8"))
    assert record["complete"] is False and record["job"] == JOB


def test_another_job_is_refused_and_replaced_only_on_request(tmp_path: Path) -> None:
    begun(tmp_path / "export")
    other = ExportFolder(tmp_path / "export", {**JOB, "min_opacity": 0.2})
    with pytest.raises(ValueError, match=r"min_opacity: 0.1 there, 0.2 now.*--overwrite"):
        other.open()
    (tmp_path / "export" / "notes.txt").write_text("mine")
    other.open(overwrite=True)
    assert sorted(file.name for file in (tmp_path / "export").iterdir()) == [RECORD_NAME, "notes.txt"]


def test_an_export_that_left_nothing_is_no_obstacle(tmp_path: Path) -> None:
    ExportFolder(tmp_path / "export", JOB).open()
    ExportFolder(tmp_path / "export", {**JOB, "frames": [3]}).open()
    assert json.loads((tmp_path / "export" / RECORD_NAME).read_text("utf8"))["job"]["frames"] == [3]


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="expected an empty folder or an export at .*, found other files"):
        ExportFolder(tmp_path, JOB).open(overwrite=True)


def test_one_process_exports_into_a_folder(tmp_path: Path) -> None:
    folder = ExportFolder(tmp_path / "export", JOB)
    with folder.opened():
        folder.write_file("frame_0000.ply", lambda file: _write(file, b"first"))
        with pytest.raises(FolderIsBusyError, match="choose another --output"), folder.opened():
            pass
    assert {file.name for file in folder.path.iterdir()} == {RECORD_NAME, "frame_0000.ply"}
    with folder.opened():
        assert folder.has("frame_0000.ply")


def test_what_fails_before_a_first_file_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    def fail(folder: ExportFolder) -> None:
        with folder.opened():
            raise KeyError("nothing was written")

    for folder in (ExportFolder(tmp_path / "new", JOB), ExportFolder(tmp_path / "empty", JOB)):
        with pytest.raises(KeyError):
            fail(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_a_file_appears_when_complete(tmp_path: Path) -> None:
    folder = begun(tmp_path / "export")

    def fail(file: Path) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.write_file("frame_0001.ply", fail)
    assert sorted(file.name for file in folder.path.iterdir()) == [RECORD_NAME, "frame_0000.ply"]


def test_a_full_disk_is_told_beforehand(tmp_path: Path) -> None:
    folder = begun(tmp_path / "export")
    folder.require_space(1)
    with pytest.raises(OSError, match=r"expected 10000000000.00 GB of room for the frames to come .*\(--frames ::2\)"):
        folder.require_space(10**19)


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    (tmp_path / RECORD_NAME).write_text("{")
    with pytest.raises(ValueError, match="expected JSON in"):
        ExportFolder(tmp_path, JOB).open()
    (tmp_path / RECORD_NAME).write_text('{"schema_version": 99}')
    with pytest.raises(ValueError, match="expected an export of schema version 1"):
        ExportFolder(tmp_path, JOB).open()


@pytest.mark.parametrize(
    ("text", "frames"),
    [(":", [*range(6)]), ("2", [2]), ("-1", [5]), ("1:4", [1, 2, 3]), ("::2", [0, 2, 4]), ("::-2", [1, 3, 5])],
)
def test_frames_are_named_as_slices(text: str, frames: list[int]) -> None:
    assert parse_frames(text, 6) == frames


@pytest.mark.parametrize("text", ["", "a", "6", "1:2:3:4", "4:2", "::0"])
def test_other_names_of_frames_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--frames: expected"):
        parse_frames(text, 6)


def test_names_sort_as_frames_do() -> None:
    assert frame_file(7, ".ply") == "frame_0007.ply" < frame_file(123, ".ply")
