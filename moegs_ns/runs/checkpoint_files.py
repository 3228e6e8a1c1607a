"""Which checkpoint files a run has. Standard library only, so that looking is instant.

The folder holds nothing but ``step-*.ckpt``: nerfstudio's evaluation parses every name in it as a step number.
"""

import re
from pathlib import Path

CHECKPOINT_FOLDER = "nerfstudio_models"
_NAME = re.compile(r"step-(\d+)\.ckpt")


def checkpoint_name(step: int) -> str:
    """File name nerfstudio 1.1.5 looks for; ``step`` is the index of the last finished step (counted from 0)."""
    return f"step-{step:09d}.ckpt"


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """Checkpoints in ``folder`` by step, ascending; empty when the folder does not exist."""
    if not folder.is_dir():
        return {}
    named = {path: match for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return dict(sorted((int(match[1]), path) for path, match in named.items() if path.is_file()))


def find_checkpoint(folder: Path, step: int | None = None, model_dir: str | Path = CHECKPOINT_FOLDER) -> Path:
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
