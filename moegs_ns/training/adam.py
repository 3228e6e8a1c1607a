"""Adam and rectified Adam (Liu et al. 2020) in one pass over each tensor on the CPU; elsewhere torch's own.

torch has no single-pass rectified Adam, and takes its time before each call of its single-pass Adam: twenty optimizers
of a few Gaussian tensors took a quarter of the time of rasterization. State and options are torch's, so checkpoints of
one are those of the other.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moegs_ns.splats.native_adam import adam_step_native, readable
from moegs_ns.splats.rasterize import resolve_backend

Tensors = tuple[Tensor, Tensor, Tensor, Tensor]
_LEAST_LENGTH = 5.0  # of the second moment's memory, in steps, before RAdam divides by its root


class Adam(torch.optim.Adam):
    """`torch.optim.Adam`; see the module."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """As torch's."""
        done = closure is None and _step(self, adam_factors)
        return None if done else super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's, which does little in much time."""
        if set_to_none:
            _forget_gradients(self)
        else:
            super().zero_grad(set_to_none)


class RAdam(torch.optim.RAdam):
    """`torch.optim.RAdam`; see the module."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """As torch's."""
        done = closure is None and _step(self, radam_factors)
        return None if done else super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's, which does little in much time."""
        if set_to_none:
            _forget_gradients(self)
        else:
            super().zero_grad(set_to_none)


def adam_factors(lr: float, betas: tuple[float, float], step: float) -> tuple[float, float]:
    """Learning rate and factor of the second moment's root, bias corrections included, in step ``step`` (from 1)."""
    return lr / (1 - betas[0] ** step), (1 - betas[1] ** step) ** -0.5


def radam_factors(lr: float, betas: tuple[float, float], step: float) -> tuple[float, float]:
    """The same for rectified Adam; no root (0) while the variance of the second moment is not tractable."""
    remembered, rate = betas[1] ** step, lr / (1 - betas[0] ** step)
    longest = 2 / (1 - betas[1]) - 1
    length = longest - 2 * step * remembered / (1 - remembered)
    if length <= _LEAST_LENGTH:
        return rate, 0.0
    rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return rate * (rectified * (1 - remembered)) ** 0.5, 1.0


def _forget_gradients(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for value in group["params"]:
            value.grad = None


@torch.no_grad()
def _step(optimizer: torch.optim.Optimizer, factors: Callable[..., tuple[float, float]]) -> bool:
    """Do the step by the compiled kernel, or nothing: False where it does not run or the optimizer asks for more."""
    work = []
    for group in optimizer.param_groups:
        if any(group.get(option) for option in ("amsgrad", "maximize", "capturable", "differentiable")):
            return False
        if group.get("decoupled_weight_decay") or isinstance(group["lr"], Tensor):
            return False
        values = [value for value in group["params"] if value.grad is not None]
        if not all(readable(value) and readable(value.grad) for value in values):
            return False
        work.append((group, values))
    if resolve_backend("cpu") != "native":
        return False
    for group, values in work:
        tensors: list[Tensors] = []
        pairs = []
        for value in values:
            state = optimizer.state[value]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(value), torch.zeros_like(value)
            state["step"] += 1
            tensors.append((value, value.grad, state["exp_avg"], state["exp_avg_sq"]))
            pairs.append(factors(group["lr"], group["betas"], state["step"].item()))
        if tensors:
            adam_step_native(tensors, pairs, group["betas"], group["eps"], group["weight_decay"])
    return True
