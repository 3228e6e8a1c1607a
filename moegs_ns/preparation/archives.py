"""Zip archives, whole or split into parts, unpacked into a folder they cannot leave."""

import io
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path, PurePosixPath

from moegs_ns.files import require_room
from moegs_ns.preparation.download import Progress


class JoinedFiles(io.RawIOBase):
    """Several files read as one, end to end.

    Args:
        paths: in their order.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("rb") for path in paths]
        self.starts = [0, *accumulate(path.stat().st_size for path in paths)]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        for file, start, end in zip(self._files, self.starts[:-1], self.starts[1:], strict=True):
            if start <= self._position < end:
                file.seek(self._position - start)
                count = file.readinto(memoryview(buffer)[: end - self._position])
                self._position += count
                return count
        return 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def unpack(parts: Sequence[Path], folder: Path, progress: Progress = lambda done, total: None) -> None:
    """Unpack a zip archive; every file's checksum in it is compared.

    Args:
        parts: the archive, or its parts (.z01, .z02, ..., .zip) in order.
        folder: to unpack into.
        progress: called with the bytes unpacked and in all, after every file.

    Raises:
        OSError: too little room on the disk.
        ValueError: no zip archive, a damaged one, or one whose names lead out of the folder; nothing is written in the
            last case.
    """
    with JoinedFiles(parts) as joined, io.BufferedReader(joined, 1 << 20) as content:  # type: ignore[type-var]
        try:
            with zipfile.ZipFile(content) as archive:
                _place_entries(archive, joined.starts)
                members = [member for member in archive.infolist() if not member.is_dir()]
                for member in members:
                    _check_name(member.filename, parts[-1])
                total, done = sum(member.file_size for member in members), 0
                folder.mkdir(parents=True, exist_ok=True)
                require_room(folder, total, f"what is in {parts[-1].name}", "choose another folder")
                for member in members:
                    target = folder / member.filename
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(member) as source, target.open("wb") as output:
                        shutil.copyfileobj(source, output, 1 << 20)
                    done += member.file_size
                    progress(done, total)
        # Damage shows as any of these, by where it is; encrypted members as RuntimeError.
        except (zipfile.BadZipFile, zlib.error, EOFError, IndexError, RuntimeError) as error:
            raise ValueError(
                f"expected a whole zip archive in {', '.join(map(str, parts))}, found: {error}; delete it and fetch it "
                "again"
            ) from error


def _place_entries(archive: zipfile.ZipFile, starts: Sequence[int]) -> None:
    """Entries of a split archive say in which part, and where in it, they begin; zipfile takes all for the last."""
    if len(starts) <= 2:
        return
    last = starts[-2]
    for member in archive.infolist():
        member.header_offset += starts[member.volume] - last
        if hasattr(member, "_end_offset"):  # where zipfile thinks the next entry begins
            member._end_offset = None


def _check_name(name: str, archive: Path) -> None:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0]:
        raise ValueError(f"expected names below one folder in {archive}, found '{name}'; do not trust this archive")
