"""Where a scene is prepared: a folder beside it, so that the scene's own appears complete or not at all.

What long steps made stays there when they are interrupted, and is taken up by the same command on the same files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from moegs_ns.files import write_json
from moegs_ns.folder_lock import LOCK_NAME, FolderLock
from moegs_ns.preparation.options import PrepareOptions

_PLAN = "plan.json"
# Changes when a step makes something else of the same input.
_VERSION = 1


@dataclass(frozen=True)
class WorkFolder:
    """``SCENE.preparing``, which is this process's own until it is done."""

    root: Path

    @property
    def scene(self) -> Path:
        """What becomes the scene."""
        return self.root / "scene"

    @property
    def cameras(self) -> Path:
        """What structure from motion found."""
        return self.root / "cameras.json"

    def seeds(self, frame: int) -> Path:
        """Seed points of one instant; complete when there are `seed_facts`, which are written after."""
        return self.root / f"seeds_{frame:06d}.ply"

    def seed_facts(self, frame: int) -> Path:
        """How these points came about."""
        return self.seeds(frame).with_suffix(".json")

    def finish(self, output: Path) -> None:
        """The scene takes its place."""
        self.scene.replace(output)
        shutil.rmtree(self.root)


@contextmanager
def work_folder(options: PrepareOptions, files: list[Path]) -> Iterator[tuple[WorkFolder, bool]]:
    """The folder of this very preparation, with what is in it, and nobody else in it; one of another is emptied.

    Args:
        options: of the preparation.
        files: that it reads.

    Yields:
        The folder, and whether an interrupted preparation goes on.

    Raises:
        FileExistsError: the scene's folder is there and not empty, or what is to be emptied is not ours.
        FolderIsBusyError: another process prepares it right now.
    """
    output = options.output_dir
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(
            f"expected no scene at {output} yet, found one (or something else); delete it or name another --output-dir"
        )
    root = output.with_name(output.name + ".preparing")
    rows = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    plan = {"version": _VERSION, "files": rows, "options": asdict(options)}
    digest = hashlib.sha256(json.dumps(plan, default=str, sort_keys=True).encode()).hexdigest()
    known = root / _PLAN
    if root.is_symlink() or (root.exists() and not root.is_dir()):
        found = "a link; remove it" if root.is_symlink() else "a file; move it"
        raise FileExistsError(f"expected a folder of an interrupted preparation, or none, at {root}, found {found}")
    root.mkdir(parents=True, exist_ok=True)
    with FolderLock(root, "name another --output-dir") as lock:
        lock.acquire()
        if not known.is_file() and any(entry.name != LOCK_NAME for entry in root.iterdir()):
            raise FileExistsError(
                f"expected a folder of an interrupted preparation, or none, at {root}, found other files in it; move "
                "them, or name another --output-dir"
            )
        goes_on = known.is_file() and json.loads(known.read_text("utf8")).get("digest") == digest
        if not goes_on:
            _empty(root)
        write_json(known, {"digest": digest, "output": str(output)})  # first: it says that what follows is ours
        (root / "scene").mkdir(exist_ok=True)
        yield WorkFolder(root), goes_on


def _empty(folder: Path) -> None:
    """Remove what is in a folder, but for its lock; the plan, which says that it is ours, last."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in (LOCK_NAME, _PLAN):
            entry.unlink()
    (folder / _PLAN).unlink(missing_ok=True)


def files_in(paths: list[Path]) -> list[Path]:
    """Files, those directly in folders, and those of COLMAP models in their sub-folders; sorted."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += [entry for pattern in ("*", "sparse/*", "sparse/0/*", "0/*") for entry in path.glob(pattern)]
        else:
            found.append(path)
    return sorted({file for file in found if file.is_file()})
