"""Frames of a film as numbered PNG files, of which a render that was stopped need not make the finished ones again."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from moegs_ns.files import written_whole
from moegs_ns.runs.record import plain, write_run_record
from moegs_ns.scene.media_files import open_image

JOB_NAME = "job.json"
_FRAME = re.compile(r"\d{5,}\.png")


class FrameFolder:
    """The frames of one job.

    What decides the frames' pixels stands in ``job.json`` beside them, and what is there is kept for that job only. A
    frame appears when it is complete.

    Args:
        folder: may exist; other files in it are left alone.
        job: plain data by what a user would call it, such as ``checkpoint`` or ``cameras``.
        count: of frames.
        overwrite: remove another job's frames instead of refusing.

    Raises:
        ValueError: there are frames of another job, or of none that is known, or the folder is a file.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any], count: int, overwrite: bool = False) -> None:
        self._folder, self._count = folder, count
        wanted = json.loads(json.dumps(plain({**job, "frames": count})))
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"expected a folder for frames at {folder}, found a file; choose another --frames folder")
        found = sorted(path for path in _files(folder) if _FRAME.fullmatch(path.name))
        if found and _read_job(folder) != wanted:
            if not overwrite:
                raise ValueError(
                    f"expected frames of this render in {folder}, found those of another one "
                    f"({_difference(_read_job(folder), wanted)}); choose another --frames folder, or --overwrite to "
                    f"remove its {len(found)} frames"
                )
            for path in found:
                path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        write_run_record(folder / JOB_NAME, wanted)

    def __len__(self) -> int:
        return self._count

    def path(self, number: int) -> Path:
        """Where the frame of that number, from 0, belongs."""
        return self._folder / f"{number:05d}.png"

    def missing(self) -> list[int]:
        """Numbers of the frames that are not there, or not whole."""
        return [number for number in range(self._count) if not _is_whole(self.path(number))]

    def write(self, number: int, frame: np.ndarray) -> None:
        """Keep a frame, uint8 ``[H,W,3]``."""
        save_frame(self.path(number), frame)

    def read(self, number: int) -> np.ndarray:
        """The frame, uint8 ``[H,W,3]``."""
        with open_image(self.path(number)) as image:
            return np.asarray(image.convert("RGB"))


def save_frame(path: Path, frame: np.ndarray) -> None:
    """Write uint8 ``[H,W,3]``, byte by byte as ns-eval and ns-render write it; the file appears when complete."""
    with written_whole(path) as scratch:
        Image.fromarray(frame).save(scratch, format="PNG")


def digest(*parts: bytes) -> str:
    """A short name of contents, for a job."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.hexdigest()[:20]


def _files(folder: Path) -> list[Path]:
    return [*folder.iterdir()] if folder.is_dir() else []


def _read_job(folder: Path) -> dict[str, Any] | None:
    try:
        job = json.loads((folder / JOB_NAME).read_text("utf8"))
    except (FileNotFoundError, ValueError):
        return None
    return job if isinstance(job, dict) else None


def _difference(found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> str:
    if found is None:
        return f"there is no readable {JOB_NAME}"
    names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    return f"other {', '.join(names)}"


def _is_whole(path: Path) -> bool:
    try:
        with open_image(path) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError):  # Pillow's word for a damaged PNG
        return False
    return True
