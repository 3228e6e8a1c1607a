"""The second process that wants to work in a run folder is told so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moegs_ns import folder_lock
from moegs_ns.folder_lock import HELD_VARIABLE, FolderIsBusyError, FolderLock, refuse_if_busy

HOLD = """
import sys
from pathlib import Path
from moegs_ns.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_process_is_refused_until_the_first_is_gone(tmp_path: Path, holder: subprocess.Popen) -> None:
    said = f"nobody at work in .*, found another process .number {holder.pid}.; wait .*--timestamp"
    with pytest.raises(FolderIsBusyError, match=said):
        FolderLock(tmp_path).acquire()
    with pytest.raises(FolderIsBusyError, match=said):
        refuse_if_busy(tmp_path)
    holder.kill()  # however it ends
    FolderLock(tmp_path).acquire(patience=60.0)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / folder_lock.LOCK_NAME).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"):
        FolderLock(tmp_path).acquire()
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_lock_is_free_again_after_use(tmp_path: Path) -> None:
    with FolderLock(tmp_path) as lock:
        lock.acquire()
        assert (tmp_path / folder_lock.LOCK_NAME).read_text() == str(os.getpid())
        (descriptor,) = lock.descriptors()
        assert os.fstat(descriptor)
        with pytest.raises(FolderIsBusyError):
            FolderLock(tmp_path).acquire()
    assert lock.descriptors() == ()
    refuse_if_busy(tmp_path)
    refuse_if_busy(tmp_path / "not there yet")


def test_who_works_for_the_holder_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: object) -> None:
    monkeypatch.setenv(HELD_VARIABLE, str(tmp_path / "." / "..") + f"/{tmp_path.name}")
    FolderLock(tmp_path).acquire()
    other = tmp_path / "other"
    other.mkdir()
    with FolderLock(other) as lock:
        lock.acquire()
        with pytest.raises(FolderIsBusyError):
            FolderLock(other).acquire()


def test_a_file_system_without_locks_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock.fcntl, "flock", no_locks)
    with pytest.warns(UserWarning, match="cannot be locked"):
        FolderLock(tmp_path).acquire()
