"""Checkpoint files written so that a killed process never leaves a broken one, and read without running their code."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from moegs_ns.files import remove_leftovers, written_whole
from moegs_ns.runs.checkpoint_files import checkpoint_name, list_checkpoints

_SUFFIX = ".ckpt"


def write_checkpoint(
    state: dict[str, Any], folder: Path, step: int, scratch_folder: Path, only_latest: bool = False
) -> Path:
    """Write ``state`` as the checkpoint of ``step``; at no instant is the folder without a whole newest checkpoint.

    The file is written beside the folder, flushed to the disk and renamed into place, and only then are older
    checkpoints removed.

    Args:
        state: tensors and plain data only (it must load with ``torch.load(..., weights_only=True)``).
        folder: the checkpoint folder, created when missing.
        scratch_folder: where the unfinished file lies; on the same file system as ``folder``, but not inside it.
        only_latest: remove all other checkpoints of ``folder`` afterwards.

    Raises:
        OSError: the disk is full, or the folder may not be written to; the message says which steps are lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / checkpoint_name(step)
    try:
        with written_whole(target, durable=True, scratch_folder=scratch_folder) as scratch, scratch.open("wb") as file:
            torch.save(state, file)
    except OSError as error:
        kept = list(list_checkpoints(folder))
        rest = f"the checkpoint of step {kept[-1]} is whole" if kept else "there is no earlier checkpoint"
        lost = f"steps {kept[-1] + 1} to {step} are lost" if kept else f"steps 0 to {step} are lost"
        raise OSError(f"{error}. The checkpoint of step {step} was not written: {lost}, {rest}") from error
    if only_latest:
        for path in list_checkpoints(folder).values():
            if path != target:
                path.unlink()
    return target


def remove_unfinished_checkpoints(scratch_folder: Path) -> None:
    """Delete what killed processes left half written in ``scratch_folder``."""
    remove_leftovers(scratch_folder, suffix=_SUFFIX)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU without running any code from it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a nerfstudio checkpoint.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint file at {path}, found nothing; name an existing step-*.ckpt")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"expected a whole checkpoint of tensors and plain data at {path}, found something else "
            f"({_first_line(error)}); use another step-*.ckpt of the run, or train it again"
        ) from error
    missing = {"step", "pipeline", "optimizers"} - set(state if isinstance(state, dict) else ())
    if missing:
        raise ValueError(
            f"expected a nerfstudio checkpoint at {path}, found a file without {sorted(missing)}; "
            "name a step-*.ckpt that ns-train wrote"
        )
    return state


def _first_line(error: Exception) -> str:
    """What is wrong, without torch's advice to load the file's code as well."""
    lines = [line.strip() for line in str(error).splitlines() if "Unsupported" in line or "GLOBAL" in line]
    return (lines or str(error).splitlines() or [type(error).__name__])[0]


def stored_megabytes(state: Mapping[str, Any]) -> float:
    """Size of a file that holds ``state`` (tensors and plain data) and nothing else, in MB (10^6 bytes)."""
    sink = _ByteCounter()
    torch.save(dict(state), sink)
    return sink.count / 1e6


class _ByteCounter(io.BytesIO):
    """A file that forgets what is written into it."""

    count = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.count += size
        return size
