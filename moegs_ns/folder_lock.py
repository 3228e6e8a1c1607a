"""One process at a time works in a folder.

Imports the standard library only, so every room may use it.
"""

import errno
import os
import time
import warnings
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: files there cannot be locked this way, and folders are not locked
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".moegs.lock"
#: Environment variable that names the folder which the process that started this one has locked for it.
HELD_VARIABLE = "MOEGS_LOCKED_FOLDER"
_PAUSE = 0.2  # seconds between two attempts
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # some network file systems


class FolderIsBusyError(RuntimeError):
    """Another process is at work in the folder."""


class FolderLock:
    """The lock of a folder; the system releases it when its holder is gone, however it ended.

    Args:
        folder: which must exist.
        instead: where else to work, for the message.
    """

    def __init__(self, folder: Path, instead: str = "train into another folder (--timestamp)") -> None:
        self._folder, self._instead = folder, instead
        self._file: IO[str] | None = None

    def acquire(self, patience: float = 0.0) -> None:
        """Take the lock, unless the process that started this one holds it for this one.

        Args:
            patience: seconds to wait for another process to end.

        Raises:
            FolderIsBusyError: another process holds it.
        """
        if fcntl is None or _is_held_by_parent(self._folder):
            return
        # A link is not followed: in a folder from elsewhere it could lead to a file of the user's.
        handle = os.open(self._folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        file = os.fdopen(handle, "r+", encoding="utf8")
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() < deadline:
                    time.sleep(_PAUSE)
                    continue
                file.seek(0)
                holder = file.read().strip()
                file.close()
                raise FolderIsBusyError(
                    f"expected nobody at work in {self._folder}, found another process"
                    f"{f' (number {holder})' if holder else ''}; wait until it has finished, stop it, or "
                    f"{self._instead}"
                ) from error
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                warnings.warn(
                    f"{self._folder} cannot be locked where it lies: let one process work there", stacklevel=2
                )
                break
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def release(self, remove: bool = False) -> None:
        """Let others in; nothing where the lock is not held.

        Args:
            remove: leave no lock file in a folder that is meant for others.
        """
        if self._file is not None:
            if remove:
                (self._folder / LOCK_NAME).unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def descriptors(self) -> tuple[int, ...]:
        """Of the open lock file, none where nothing is locked: a child that inherits it holds the lock as well."""
        return () if self._file is None else (self._file.fileno(),)

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def refuse_if_busy(folder: Path) -> None:
    """Raises `FolderIsBusyError` where another process is at work in a folder, which need not exist."""
    if folder.is_dir():
        with FolderLock(folder) as lock:
            lock.acquire()


def _is_held_by_parent(folder: Path) -> bool:
    held = os.environ.get(HELD_VARIABLE)
    return held is not None and Path(held).resolve() == folder.resolve()
