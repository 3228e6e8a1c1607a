"""Stop at the first NaN, and never let it into a checkpoint."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moegs_ns.runs.checkpoints import list_checkpoints


class TrainingDivergedError(RuntimeError):
    """A loss or a parameter became NaN or infinite; the message names it and the last good checkpoint."""


def check_losses(losses: Mapping[str, Any], step: int, checkpoint_folder: Path) -> None:
    """Raise `TrainingDivergedError` if a loss of ``step`` is not finite."""
    broken = [name for name, value in losses.items() if not bool(torch.isfinite(torch.as_tensor(value)).all())]
    if broken:
        raise TrainingDivergedError(
            f"loss {_listed(broken)} is NaN or infinite at step {step}; {_last_good_checkpoint(checkpoint_folder)}"
        )


def check_parameters(parameters: Iterable[tuple[str, Tensor]], step: int, checkpoint_folder: Path) -> None:
    """Raise `TrainingDivergedError` if a parameter holds NaN after ``step``; infinite logits may be meant."""
    broken = [name for name, value in parameters if bool(torch.isnan(value).any())]
    if broken:
        raise TrainingDivergedError(
            f"parameter {_listed(broken)} holds NaN after step {step}; {_last_good_checkpoint(checkpoint_folder)}"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _last_good_checkpoint(folder: Path) -> str:
    saved = list_checkpoints(folder)
    if not saved:
        return "no checkpoint had been written yet; lower the learning rates"
    return f"the last good checkpoint is {list(saved.values())[-1]}; resume from it with lower learning rates"
