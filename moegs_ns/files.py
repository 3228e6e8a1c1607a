"""Files that are there whole or not at all, and words for a disk that takes no more.

Imports the standard library only, so every room may use it.
"""

import errno
import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Bytes that `require_room` leaves free.
SPARE_BYTES = 64 << 20
_MARK = "unfinished"
_LONGEST = 120  # bytes of a file's name in that of its unfinished one


@contextmanager
def written_whole(path: Path, durable: bool = False, scratch_folder: Path | None = None) -> Iterator[Path]:
    """Where to write a file that appears under its name, replacing what stood there, only when it is complete.

    The place is beside the file and has its suffix, by which libraries choose a format. It is removed when the body
    fails; what a killed process left there is removed by the next one that writes the same file.

    Args:
        path: of the file; its folder is created.
        durable: let nothing claim the file's existence before its content is on the disk: flush it, and its name.
        scratch_folder: where the file lies meanwhile, on the same file system; None for beside it.

    Yields:
        The file to write.

    Raises:
        OSError: the disk is full, or the place may not be written to; the message names the file and what to do.
    """
    scratch = (scratch_folder or path.parent) / f".{_short(path.stem)}.{_me()}.{_MARK}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(scratch.parent, _short(path.stem), path.suffix)
        yield scratch
        if durable:
            _flush(scratch)
        scratch.replace(path)
        if durable and os.name == "posix":  # other systems have no handles of folders
            _flush(path.parent)
    except Exception as error:
        told = refusal(error, path)
        if told is None:
            raise
        raise OSError(told) from error
    finally:
        _remove(scratch)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; readers see the old or the new file, never half of one. Errors as `written_whole`'s."""
    with written_whole(path) as scratch:
        scratch.write_text(text, "utf8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes; readers see the old or the new file, never half of one. Errors as `written_whole`'s."""
    with written_whole(path) as scratch:
        scratch.write_bytes(content)


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    """Write plain data as JSON, as a whole; NaN and infinities are refused, which not every reader knows.

    Raises:
        ValueError: a number that JSON has not.
        OSError: as `written_whole`.
    """
    write_text(path, json.dumps(content, indent=indent, allow_nan=False) + "\n")


def refusal(error: BaseException, path: Path | None = None) -> str | None:
    """What a disk that takes no more, or may not be written to, means for the user; None for any other error.

    Libraries wrap what the system said in errors of their own, so those behind an error are looked at as well.

    Args:
        error: what was raised.
        path: what was to be written; None takes the file the error names.
    """
    behind: BaseException | None = error
    while behind is not None:
        number = getattr(behind, "errno", None)
        place = path or getattr(behind, "filename", None) or "a file"
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return (
                f"expected room for {place}, found the disk or a quota full; what stood there before is kept. "
                "Make room and run the same command again"
            )
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return (
                f"expected to be allowed to use {place}, found: {os.strerror(number)}; change its permissions or name "
                "another place"
            )
        behind = behind.__cause__ or behind.__context__
    return None


def require_room(folder: Path, needed_bytes: int, what: str, advice: str) -> None:
    """Refuse beforehand what the disk will not hold.

    Args:
        folder: where it is to lie; the nearest one above that exists is asked.
        needed_bytes: still to be written.
        what: is to be written, for the message.
        advice: what to do where there is too little room.

    Raises:
        OSError: so many bytes, and some to spare for what else is written meanwhile, are not free.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed_bytes + SPARE_BYTES > free:
        raise OSError(
            f"expected {readable_size(needed_bytes)} of room for {what} in {folder} and {readable_size(SPARE_BYTES)} "
            f"to spare, found {readable_size(free)} free; {advice}"
        )


def readable_size(size: float) -> str:
    """Bytes as people say them: ``850 kB``, ``1.2 MB``, ``3.40 GB``."""
    for unit, bytes_of, digits in (("GB", 1e9, 2), ("MB", 1e6, 1)):
        if size >= 0.95 * bytes_of:
            return f"{size / bytes_of:.{digits}f} {unit}"
    return f"{size / 1e3:.0f} kB"


def reserve(file: Path, size: int) -> None:
    """Create a file of so many bytes of zeros, or bring it to that size, with its room on the disk taken at once.

    Whoever maps a file into memory would otherwise be killed by the first page that the disk has no room for.

    Raises:
        OSError: too little room; the file is removed.
    """
    try:
        with file.open("ab") as stream:
            stream.truncate(size)
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)
    except OSError as error:
        _remove(file)
        raise OSError(refusal(error, file) or str(error)) from error


def remove_leftovers(folder: Path, stem: str | None = None, suffix: str = "") -> None:
    """Remove unfinished files of processes that are gone. Where that cannot be asked, they stay.

    Args:
        folder: where to look.
        stem: only those of the file of this name; None takes any.
        suffix: of the files.
    """
    if os.name != "posix":
        return
    of_file = re.escape(stem) if stem is not None else ".+"
    unfinished = re.compile(rf"\.{of_file}\.(\d+)-{_host()}\.{_MARK}{re.escape(suffix)}")
    for entry in folder.iterdir():
        if (match := unfinished.fullmatch(entry.name)) and not _is_running(int(match[1])):
            _remove(entry)


def _me() -> str:
    return f"{os.getpid()}-{_host()}"


def _host() -> str:
    """Which machine or container this is: the numbers of processes mean something there only."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _short(name: str) -> str:
    """A name to which something can be added without its becoming too long for the file system."""
    return name.encode()[:_LONGEST].decode(errors="ignore")


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # in a folder that cannot be written to there is nothing of ours either
        return


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
