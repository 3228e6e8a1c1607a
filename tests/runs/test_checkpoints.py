"""A checkpoint folder always holds a whole newest checkpoint, also when the process is killed while saving."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from moegs_ns.files import written_whole
from moegs_ns.runs.checkpoint_files import find_checkpoint, list_checkpoints
from moegs_ns.runs.checkpoints import read_checkpoint, remove_unfinished_checkpoints, write_checkpoint

SAVE_LOOP = """
import sys
from pathlib import Path
import torch
from moegs_ns.runs.checkpoints import write_checkpoint
run = Path(sys.argv[1])
step = 0
while True:
    state = {"step": step, "pipeline": {"x": torch.full((200_000,), float(step))}, "optimizers": {}}
    write_checkpoint(state, run / "nerfstudio_models", step, scratch_folder=run, only_latest=True)
    step += 1
"""


def make_state(step: int) -> dict:
    return {"step": step, "pipeline": {"x": torch.arange(4.0)}, "optimizers": {}}


def test_sigkill_while_saving_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "nerfstudio_models"
    process = subprocess.Popen([sys.executable, "-c", SAVE_LOOP, str(tmp_path)])
    try:
        deadline = time.monotonic() + 60
        while len(list_checkpoints(folder)) == 0 or max(list_checkpoints(folder)) < 5:
            assert process.poll() is None, "the saving process ended by itself"
            assert time.monotonic() < deadline, "no checkpoint within a minute"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert {path.suffix for path in folder.iterdir()} == {".ckpt"}
    path = find_checkpoint(tmp_path)
    state = read_checkpoint(path)
    assert path.name == f"step-{state['step']:09d}.ckpt"
    assert torch.equal(state["pipeline"]["x"], torch.full((200_000,), float(state["step"])))


@pytest.mark.parametrize("failing", ["torch.save", "os.fsync"])
def test_a_full_disk_keeps_the_old_checkpoint_and_says_what_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    folder = tmp_path / "models"
    write_checkpoint(make_state(1), folder, 1, tmp_path, only_latest=True)

    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(failing, full_disk)
    lost = r"room for .*step-000000004.ckpt, found the disk .* full.* steps 2 to 4 are lost, .* step 1 is whole"
    with pytest.raises(OSError, match=lost):
        write_checkpoint(make_state(4), folder, 4, tmp_path, only_latest=True)
    assert read_checkpoint(find_checkpoint(folder))["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_older_checkpoints_go_only_after_the_new_one_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models"
    write_checkpoint(make_state(1), folder, 1, tmp_path)
    write_checkpoint(make_state(2), folder, 2, tmp_path)
    assert list(list_checkpoints(folder)) == [1, 2]
    unlink = Path.unlink
    seen = []

    def watched(path: Path, **options: bool) -> None:
        if path.suffix == ".ckpt" and path.parent == folder:
            seen.append(read_checkpoint(find_checkpoint(folder))["step"])
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", watched)
    write_checkpoint(make_state(3), folder, 3, tmp_path, only_latest=True)
    assert seen == [3, 3]
    assert list(list_checkpoints(folder)) == [3]


def test_finding_ignores_foreign_files_and_prefers_the_newest(tmp_path: Path) -> None:
    folder = tmp_path / "nerfstudio_models"
    for step in (7, 12):
        write_checkpoint(make_state(step), folder, step, tmp_path)
    (folder / "notes.txt").touch()
    (folder / "step-000000099.ckpt.part").touch()
    assert find_checkpoint(tmp_path).name == "step-000000012.ckpt"
    assert find_checkpoint(tmp_path, step=7).name == "step-000000007.ckpt"


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with written_whole(tmp_path / "step-000000123.ckpt") as scratch:
        own = scratch.name
        scratch.touch()
    (tmp_path / own.replace(str(os.getpid()), str(gone.pid))).touch()
    (tmp_path / own).touch()
    (tmp_path / "step-000000123.ckpt").unlink()
    (tmp_path / "keep.ckpt").touch()
    remove_unfinished_checkpoints(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {own, "keep.ckpt"}


def test_reading_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found nothing"):
        read_checkpoint(tmp_path / "absent.ckpt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"without \['optimizers', 'pipeline', 'step'\]"):
        read_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(FileNotFoundError, match="found a file"):
        find_checkpoint(tmp_path / "other.ckpt")
