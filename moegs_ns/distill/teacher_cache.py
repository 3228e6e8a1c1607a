"""A teacher's views rendered once and kept on disk, for every student it teaches.

An entry ``teacher_views/<run>-<hash>/`` of the user's cache holds ``images.u8`` ``[N,H,W,3]``, ``gates.u8`` or
``gates.f16`` ``[N,K,H,W]``, ``rendered.u8`` ``[N]`` (1 for every view that is there) and ``facts.json``. The hash
covers all that decides what is in them: the teacher's checkpoint, every camera and time, the images' size, the
precision. A view's flag is written after the view, so an interrupted entry goes on where it stopped. A lock beside the
folder lets one process render; others wait for it and then use its views.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.distill.teacher import TeacherView
from moegs_ns.files import readable_size, require_room, reserve, write_json
from moegs_ns.paths import user_cache_dir

Precision = Literal["uint8", "half"]

_FACTS = "facts.json"
_HASH_CHUNK = 1 << 22


@dataclass(frozen=True)
class Shape:
    """Sizes of an entry.

    Attributes:
        views: N.
        experts: K.
        height, width: pixels.
    """

    views: int
    experts: int
    height: int
    width: int


class TeacherCache:
    """The views of one teacher for one list of cameras.

    Args:
        folder: of the entry.
        shape: its sizes.
        precision: of gates.
        facts: plain data, what the entry is of; kept in it.
    """

    def __init__(self, folder: Path, shape: Shape, precision: Precision, facts: Mapping[str, Any]) -> None:
        self.folder, self.shape, self.precision = folder, shape, precision
        self._facts = {**facts, "shape": vars(shape), "precision": precision}
        self._gate_type = np.dtype(np.uint8 if precision == "uint8" else np.float16)
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None

    # -- what is there -----------------------------------------------------------------------------------------------

    @property
    def num_bytes(self) -> int:
        """Size of the whole entry on disk."""
        pixels = self.shape.views * self.shape.height * self.shape.width
        return pixels * (3 + self.shape.experts * self._gate_type.itemsize) + self.shape.views

    def missing(self) -> list[int]:
        """Views still to be rendered."""
        file = self.folder / "rendered.u8"
        if not file.is_file() or file.stat().st_size != self.shape.views:
            return list(range(self.shape.views))
        return np.flatnonzero(np.fromfile(file, np.uint8) == 0).tolist()

    def facts(self) -> dict[str, Any]:
        """What the entry is of, and how much quantisation cost: ``image_rms``, ``image_max``, ``gate_rms``,
        ``gate_max``, in units of [0,1], over all views."""
        return json.loads((self.folder / _FACTS).read_text("utf8"))

    def view(self, index: int, expert: int | None, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Picture ``[H,W,3]`` and gate ``[H,W]`` of one expert, float in [0,1], of a view that is there; without an
        expert the gate is 1 everywhere."""
        if self._arrays is None:
            self._arrays = self._open("r")
        images, gates = self._arrays
        image = torch.from_numpy(images[index].copy()).to(device).float().div_(255)
        if expert is None:
            return image, torch.ones_like(image[..., 0])
        gate = torch.from_numpy(gates[index, expert].copy()).to(device).float()
        return image, gate.div_(255) if self.precision == "uint8" else gate

    def of_expert(self, expert: int | None, device: torch.device | str) -> KeptViews:
        """The views for the student whose position among the teacher's experts is ``expert``; None for another one."""
        return KeptViews(self, expert, device)

    # -- making it ---------------------------------------------------------------------------------------------------

    def check_space(self, limit_gb: float) -> None:
        """Look whether the entry may be made, before anything is rendered.

        Raises:
            ValueError: it would be larger than ``limit_gb`` (10^9 bytes).
            OSError: it does not fit on the disk.
        """
        without = "--teacher-views live renders them in training instead"
        if self.num_bytes > limit_gb * 1e9:
            raise ValueError(
                f"expected at most {limit_gb:g} GB for the teacher's {self.shape.views} views, found "
                f"{readable_size(self.num_bytes)}; "
                f"raise --teacher-cache-gb, or {without}"
            )
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        there = sum(file.stat().st_size for file in self.folder.glob("*.*")) if self.folder.is_dir() else 0
        require_room(
            self.folder.parent,
            self.num_bytes - there,
            "the teacher's views",
            f"set MOEGS_CACHE_DIR to a larger disk, or {without}",
        )

    def fill(
        self,
        render: Callable[[int], TeacherView],
        watch: Callable[[list[int]], Iterable[int]] = iter,
        on_wait: Callable[[], None] = lambda: None,
    ) -> int:
        """Render what is missing.

        Args:
            render: gives a view by its number.
            watch: told the views to render, hands them out; for a progress bar.
            on_wait: called once if another process is rendering them.

        Returns:
            How many views were rendered.
        """
        if not self.missing():
            return 0
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder.with_name(self.folder.name + ".lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            on_wait()
            lock.acquire()
        try:
            missing = self.missing()
            if missing:
                self._render(missing, render, watch)
            return len(missing)
        finally:
            lock.release()

    def _render(
        self, missing: list[int], render: Callable[[int], TeacherView], watch: Callable[[list[int]], Iterable[int]]
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if len(missing) == self.shape.views:
            (self.folder / _FACTS).unlink(missing_ok=True)
        facts = self.facts() if (self.folder / _FACTS).is_file() else self._facts
        (images, gates), flags = self._open("r+"), self._flags()
        errors = _Errors(facts.get("quantisation"))
        for index in watch(missing):
            image, own = (value.float().cpu().numpy() for value in render(index))
            images[index] = np.rint(image * 255).astype(np.uint8)
            gates[index] = np.rint(own * 255).astype(np.uint8) if self.precision == "uint8" else own.astype(np.float16)
            errors.see(image, images[index].astype(np.float32) / 255, own, self._restored(gates[index]))
            flags[index] = 1
            # The entry's facts lag behind by at most the view that is being written: its errors count twice then.
            _write_json(self.folder / _FACTS, {**facts, "quantisation": errors.plain()})
        for array in (images, gates, flags):
            array.flush()

    def _restored(self, gates: np.ndarray) -> np.ndarray:
        return gates.astype(np.float32) / 255 if self.precision == "uint8" else gates.astype(np.float32)

    def _open(self, mode: Literal["r", "r+"]) -> tuple[np.memmap, np.memmap]:
        shape = self.shape
        images = _array(self.folder / "images.u8", np.uint8, (shape.views, shape.height, shape.width, 3), mode)
        name = "gates.u8" if self.precision == "uint8" else "gates.f16"
        size = (shape.views, shape.experts, shape.height, shape.width)
        return images, _array(self.folder / name, self._gate_type, size, mode)

    def _flags(self) -> np.memmap:
        return _array(self.folder / "rendered.u8", np.uint8, (self.shape.views,), "r+")


@dataclass(frozen=True)
class KeptViews:
    """Views of a cache that is full, for one student; see `moegs_ns.distill.teacher.TeacherViews`."""

    cache: TeacherCache
    expert: int | None
    device: torch.device | str

    def view(self, index: int) -> tuple[Tensor, Tensor]:
        """Picture ``[H,W,3]`` and gate ``[H,W]``, float in [0,1]."""
        return self.cache.view(index, self.expert, self.device)


class _Errors:
    """What rounding costs, over all views seen so far."""

    def __init__(self, earlier: Mapping[str, float] | None) -> None:
        earlier = earlier or {}
        self._views = int(earlier.get("views", 0))
        self._squares = [self._views * earlier.get(f"{name}_rms", 0.0) ** 2 for name in ("image", "gate")]
        self._most = [earlier.get(f"{name}_max", 0.0) for name in ("image", "gate")]

    def see(self, image: np.ndarray, kept_image: np.ndarray, gates: np.ndarray, kept_gates: np.ndarray) -> None:
        self._views += 1
        for place, (value, kept) in enumerate(((image, kept_image), (gates, kept_gates))):
            error = np.abs(value - kept)
            self._squares[place] += float((error**2).mean())
            self._most[place] = max(self._most[place], float(error.max()))

    def plain(self) -> dict[str, float]:
        rms = [(total / max(1, self._views)) ** 0.5 for total in self._squares]
        (image_max, gate_max) = self._most
        return {
            "views": self._views,
            "image_rms": round(rms[0], 6),
            "image_max": round(image_max, 6),
            "gate_rms": round(rms[1], 6),
            "gate_max": round(gate_max, 6),
        }


def teacher_cache(
    teacher_run: Path, checkpoint: Path, cameras: Cameras, experts: int, precision: Precision
) -> TeacherCache:
    """The entry of a teacher for a list of cameras, and none of what the same run showed before it was trained on.

    Args:
        teacher_run: run folder, which names the entry.
        checkpoint: the teacher's; its content counts, not its name.
        cameras: N views of one size, with times.
        experts: K.
        precision: of gates.

    Raises:
        ValueError: views of several sizes.
    """
    sizes = torch.unique(torch.cat([cameras.height, cameras.width], dim=1), dim=0)
    if len(sizes) != 1:
        raise ValueError(
            f"expected training images of one size to keep a teacher's views of, found {len(sizes)} sizes; use "
            "--teacher-views live"
        )
    shape = Shape(len(cameras), experts, int(sizes[0, 0]), int(sizes[0, 1]))
    taught = file_digest(checkpoint)
    identity = [taught, cameras_digest(cameras), vars(shape), precision]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    folder = user_cache_dir() / "teacher_views" / f"{teacher_run.name[:64]}-{digest}"
    facts = {"teacher": str(teacher_run), "checkpoint": checkpoint.name, "checkpoint_sha256": taught}
    return TeacherCache(folder, shape, precision, facts)


def remove_stale(cache: TeacherCache) -> list[Path]:
    """Delete what other checkpoints of the same teacher run showed. Returns the entries deleted."""
    facts, stale = cache._facts, []
    for file in cache.folder.parent.glob(f"*/{_FACTS}"):
        other = json.loads(file.read_text("utf8"))
        if other["teacher"] == facts["teacher"] and other["checkpoint_sha256"] != facts["checkpoint_sha256"]:
            shutil.rmtree(file.parent)
            stale.append(file.parent)
    return stale


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def cameras_digest(cameras: Cameras) -> str:
    """SHA-256 of everything that decides what cameras see: poses, intrinsics, sizes, times, which camera each is."""
    digest = hashlib.sha256()
    parts = [cameras.camera_to_worlds, cameras.fx, cameras.fy, cameras.cx, cameras.cy, cameras.width, cameras.height]
    parts += [cameras.times, (cameras.metadata or {}).get("camera_index")]
    for part in parts:
        digest.update(b"none" if part is None else part.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _array(file: Path, kind: Any, shape: tuple[int, ...], mode: Literal["r", "r+"]) -> np.memmap:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if mode == "r+" and (not file.is_file() or file.stat().st_size != size):
        file.unlink(missing_ok=True)
        reserve(file, size)
    return np.memmap(file, kind, mode, shape=shape)


def _write_json(file: Path, values: Mapping[str, Any]) -> None:
    write_json(file, values)
