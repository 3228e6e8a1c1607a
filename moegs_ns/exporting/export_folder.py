"""The folder of an export: finished frames, and ``export.json``, which says what they are."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moegs_ns.files import require_room, written_whole
from moegs_ns.folder_lock import LOCK_NAME, FolderLock
from moegs_ns.paths import check_plain_names
from moegs_ns.runs.record import write_run_record

RECORD_NAME = "export.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ExportFolder:
    """Where an export lies.

    Attributes:
        path: of the folder.
        job: plain data that decide what the files contain; files of another job are never taken for this one's.
    """

    path: Path
    job: Mapping[str, Any]

    @contextmanager
    def opened(self, overwrite: bool = False) -> Iterator[None]:
        """`open`, with nobody else at work in the folder meanwhile; what fails before a first file leaves nothing.

        Raises:
            ValueError: the folder holds another export, or files that are none, or it is a file.
            FolderIsBusyError: another process exports into it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"expected a folder for the export at {self.path}, found a file; choose another --output")
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(self.path, "choose another --output")
        lock.acquire()
        try:
            self.open(overwrite)
            try:
                yield
            except Exception:
                self.leave()
                raise
        finally:
            lock.release(remove=True)
            for folder in made:
                if any(folder.iterdir()):
                    break
                folder.rmdir()

    def open(self, overwrite: bool = False) -> None:
        """Make the folder, or take it up again where it was left.

        Args:
            overwrite: remove the files of another export.

        Raises:
            ValueError: the folder holds another export, or files that are none.
        """
        known = self.read()
        if known is None and self.path.is_dir() and any(file.name != LOCK_NAME for file in self.path.iterdir()):
            raise ValueError(
                f"expected an empty folder or an export at {self.path}, found other files; choose another --output"
            )
        if known is not None and known["job"] != _plain(self.job):
            if not overwrite and any((self.path / name).is_file() for name in known["files"]):
                raise ValueError(
                    f"expected an export of the same run with the same options in {self.path}, found another "
                    f"({_differences(known['job'], _plain(self.job))}); choose another --output, or replace it with "
                    "--overwrite"
                )
            for name in known["files"]:
                (self.path / name).unlink(missing_ok=True)
            known = None
        self.path.mkdir(parents=True, exist_ok=True)
        if known is None:
            self.write({"complete": False, "files": []})

    def read(self) -> dict[str, Any] | None:
        """What ``export.json`` says; None where there is none.

        Raises:
            ValueError: of another version, or damaged.
        """
        file = self.path / RECORD_NAME
        if not file.is_file():
            return None
        advice = "remove the folder, or choose another --output"
        try:
            found = json.loads(file.read_text("utf8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"expected JSON in {file}, found something else ({error}); {advice}") from error
        version = found.get("schema_version") if isinstance(found, dict) else None
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"expected an export of schema version {SCHEMA_VERSION} in {file}, found {version}; {advice}"
            )
        if not _is_record(found):
            raise ValueError(f"expected 'job' and the names of 'files' of an export in {file}, found others; {advice}")
        check_plain_names(found["files"], f"files in {file}")  # which another export removes
        return found

    def write(self, facts: Mapping[str, Any]) -> None:
        """Write ``export.json``: the job, and ``facts`` beside it, ``complete`` and ``files`` among them."""
        known = {"schema_version": SCHEMA_VERSION, "job": self.job, "sizes": self._sizes()}
        write_run_record(self.path / RECORD_NAME, {**known, **facts})

    def announce(self, names: list[str]) -> None:
        """Say which files there will be, before the first is written, so that another job can remove them."""
        self.write({"complete": False, "files": names})

    def has(self, name: str) -> bool:
        """Whether a file is there as it was written: one that was cut off since does not count."""
        path = self.path / name
        return path.is_file() and path.stat().st_size == self._sizes().get(name)

    def write_file(self, name: str, write: Callable[[Path], object]) -> Path:
        """A file by ``write(path)``; it appears under its name only when complete."""
        path = self.path / name
        with written_whole(path) as scratch:
            write(scratch)
        self.write({**(self.read() or {}), "sizes": {**self._sizes(), name: path.stat().st_size}})
        return path

    def leave(self) -> None:
        """Take the record away again if no file came of the export, and the folders if nothing else is in them."""
        known = self.read()
        if known is not None and not any((self.path / name).exists() for name in known["files"]):
            (self.path / RECORD_NAME).unlink()

    def _sizes(self) -> dict[str, int]:
        """Bytes of the files that are finished; none of another job's."""
        known = self.read()
        return known.get("sizes", {}) if known is not None and known["job"] == _plain(self.job) else {}

    def require_space(self, missing_bytes: int) -> None:
        """Raises OSError where the disk has no room for so many bytes more."""
        require_room(
            self.path,
            missing_bytes,
            "the frames to come",
            "export fewer frames (--frames ::2), fewer Gaussians (--min-opacity), less colour (--sh-degree 0), or name "
            "another --output",
        )


def frame_file(frame: int, suffix: str) -> str:
    """Name of a frame's file: ``frame_0007.ply``."""
    return f"frame_{frame:04d}{suffix}"


def parse_frames(text: str, num_frames: int) -> list[int]:
    """Frames as a user names them: one number, or first:end:step as Python slices.

    Raises:
        ValueError: not of this form, or none of the clip's frames.
    """
    try:
        numbers = [int(part) if part.strip() else None for part in text.split(":")]
        if len(numbers) > 3 or (len(numbers) == 1 and numbers[0] is None):
            raise ValueError(text)
        everything = range(num_frames)
        chosen = [everything[numbers[0]]] if len(numbers) == 1 else [*everything[slice(*numbers)]]  # type: ignore[index]
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"--frames: expected a frame of the clip's {num_frames} (such as 5) or first:end:step (such as 0:24:2), "
            f"found '{text}'"
        ) from error
    if not chosen:
        raise ValueError(
            f"--frames: expected at least one of the clip's {num_frames} frames, found '{text}', which names none"
        )
    return sorted(chosen)


def _is_record(found: Mapping[str, Any]) -> bool:
    """Whether the parts that are relied on are there."""
    names, sizes = found.get("files"), found.get("sizes", {})
    return (
        isinstance(found.get("job"), dict)
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and isinstance(sizes, dict)
        and all(type(size) is int for size in sizes.values())
    )


def _plain(job: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON."""
    return json.loads(json.dumps(job))


def _differences(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names = [name for name in {**known, **wanted} if known.get(name) != wanted.get(name)]
    return "; ".join(f"{name}: {known.get(name)} there, {wanted.get(name)} now" for name in names)
