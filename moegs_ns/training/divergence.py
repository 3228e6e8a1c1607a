"""Stop at the first NaN, and never let it into a checkpoint."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moegs_ns.runs.checkpoints import list_checkpoints

_MOST_NAMED = 6


class TrainingDivergedError(RuntimeError):
    """A loss or a parameter became NaN or infinite; the message names it and the last good checkpoint."""


def check_losses(
    losses: Mapping[str, Any], step: int, checkpoint_folder: Path, parameters: Iterable[tuple[str, Tensor]]
) -> None:
    """Raise `TrainingDivergedError` if a loss of ``step`` is not finite.

    Args:
        losses: by name.
        step: that they are of.
        checkpoint_folder: of the run.
        parameters: as they were when the losses were computed, by name; looked at only where a loss is not finite.
    """
    broken = [name for name, value in losses.items() if not bool(torch.isfinite(torch.as_tensor(value)).all())]
    if broken:
        raise TrainingDivergedError(
            f"loss {_listed(broken)} is NaN or infinite at step {step}; {_culprits(parameters)}; "
            f"{_last_good_checkpoint(checkpoint_folder)}"
        )


def _culprits(parameters: Iterable[tuple[str, Tensor]]) -> str:
    """Which parameters a loss that is not finite can come from."""
    values = list(parameters)
    infinite = [name for name, value in values if bool(torch.isinf(value).any())]
    if nan := [name for name, value in values if bool(torch.isnan(value).any())]:
        return f"NaN is in {_parameters(nan, values)}"
    if infinite:
        return f"no parameter holds NaN, infinite numbers are in {_parameters(infinite, values)}"
    return "every parameter is finite, so it arose in rendering or in the loss itself"


def _parameters(names: list[str], values: list[tuple[str, Tensor]]) -> str:
    shown = f"parameter {_listed(names[:_MOST_NAMED])}"
    return shown if len(names) <= _MOST_NAMED else f"{shown} and others, {len(names)} of {len(values)}"


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
