"""Checkpoint files: found by folder, written so that a killed process never leaves a broken one.

The folder holds nothing but ``step-*.ckpt``: nerfstudio's evaluation parses every name in it as a step number.
Imports torch and the standard library only.
"""

import os
import re
from pathlib import Path
from typing import Any

import torch

_NAME = re.compile(r"step-(\d+)\.ckpt")
_SCRATCH_PREFIX = ".checkpoint-"


def checkpoint_name(step: int) -> str:
    """File name nerfstudio 1.1.5 looks for; ``step`` is the index of the last finished step (counted from 0)."""
    return f"step-{step:09d}.ckpt"


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """Checkpoints in ``folder`` by step, ascending; empty when the folder does not exist."""
    if not folder.is_dir():
        return {}
    found = {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


def find_checkpoint(folder: Path, step: int | None = None, model_dir: str | Path = "nerfstudio_models") -> Path:
    """The newest checkpoint, or that of ``step``, of a run.

    Args:
        folder: the run folder (the one with ``config.yml``) or the folder of checkpoints inside it.
        step: which one; None takes the newest.
        model_dir: name of the checkpoint folder inside a run folder.

    Raises:
        FileNotFoundError: no such folder, no checkpoint in it, or none of that step.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"expected a run folder or its '{model_dir}' folder at {folder}, found "
            f"{'a file' if folder.exists() else 'nothing'}; give the folder that holds config.yml"
        )
    searched = [folder, folder / model_dir]
    for candidate in searched:
        checkpoints = list_checkpoints(candidate)
        if not checkpoints:
            continue
        if step is None:
            return list(checkpoints.values())[-1]
        if step in checkpoints:
            return checkpoints[step]
        raise FileNotFoundError(
            f"expected a checkpoint of step {step} in {candidate}, found steps {list(checkpoints)}; choose one of these"
        )
    raise FileNotFoundError(
        f"expected step-*.ckpt files in {searched[0]} or {searched[1]}, found none; "
        "the run was stopped before its first checkpoint (--steps-per-save), or this is not a run folder"
    )


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
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / checkpoint_name(step)
    scratch = scratch_folder / f"{_SCRATCH_PREFIX}{os.getpid()}.tmp"
    try:
        with scratch.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    _flush_folder(folder)
    if only_latest:
        for path in list_checkpoints(folder).values():
            if path != target:
                path.unlink()
    return target


def remove_unfinished_checkpoints(scratch_folder: Path) -> None:
    """Delete what killed processes left half written in ``scratch_folder``."""
    for path in scratch_folder.glob(f"{_SCRATCH_PREFIX}*.tmp"):
        path.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU without running any code from it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a nerfstudio checkpoint.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint file at {path}, found nothing; name an existing step-*.ckpt")
    state = torch.load(path, map_location="cpu", weights_only=True)
    missing = {"step", "pipeline", "optimizers"} - set(state if isinstance(state, dict) else ())
    if missing:
        raise ValueError(
            f"expected a nerfstudio checkpoint at {path}, found a file without {sorted(missing)}; "
            "name a step-*.ckpt that ns-train wrote"
        )
    return state


def _flush_folder(folder: Path) -> None:
    """Make a rename durable; systems without folder handles (Windows) have nothing to flush."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
