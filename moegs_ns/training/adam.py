"""Adam and rectified Adam (Liu et al. 2020) in one pass over each tensor on the CPU; elsewhere torch's own.

torch has no single-pass rectified Adam, and takes its time before each call of its single-pass Adam: twenty optimizers
of a few Gaussian tensors took a quarter of the time of rasterization. State and options are torch's, so checkpoints of
one are those of the other.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import optimizer as torch_optimizer

from moegs_ns.splats.native_adam import adam_step_native, readable
from moegs_ns.splats.rasterize import resolve_backend

Tensors = tuple[Tensor, Tensor, Tensor, Tensor]
_LEAST_LENGTH = 5.0  # of the second moment's memory, in steps, before RAdam divides by its root


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


def _moments_fit(state: dict[str, Any] | None, value: Tensor) -> bool:
    """Whether the kernel may read a state's moments beside ``value``: a checkpoint may have brought others."""
    if not state:
        return True
    moments = state["exp_avg"], state["exp_avg_sq"]
    return all(readable(moment) and moment.shape == value.shape for moment in moments)


def _forget_gradients(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for value in group["params"]:
            value.grad = None


def _step(optimizer: torch.optim.Optimizer, factors: Callable[..., tuple[float, float]]) -> bool:
    """Do the step by the compiled kernel, or nothing: False where it does not run or the optimizer asks for more."""
    work = []
    for group in optimizer.param_groups:
        option = group.get
        if option("amsgrad") or option("maximize") or option("capturable") or option("differentiable"):
            return False
        if option("decoupled_weight_decay") or isinstance(group["lr"], Tensor):
            return False
        pairs = [(value, gradient) for value in group["params"] if (gradient := value.grad) is not None]
        for value, gradient in pairs:
            if not (readable(value) and readable(gradient) and _moments_fit(optimizer.state.get(value), value)):
                return False
        if pairs:
            work.append((group, pairs))
    if resolve_backend("cpu") != "native":
        return False
    for group, pairs in work:
        tensors: list[Tensors] = []
        steps = []
        for value, gradient in pairs:
            state = optimizer.state[value]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(value), torch.zeros_like(value)
            steps.append(state["step"])
            tensors.append((value, gradient, state["exp_avg"], state["exp_avg_sq"]))
        torch._foreach_add_(steps, 1)
        numbers = [step.item() for step in steps]
        lr, betas = group["lr"], group["betas"]
        of_step = {number: factors(lr, betas, number) for number in set(numbers)}  # nearly always a single one
        adam_step_native(tensors, [of_step[number] for number in numbers], betas, group["eps"], group["weight_decay"])
    return True


def _is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether hooks or a profiler are to be told of the optimizer's steps."""
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or torch_optimizer._global_optimizer_pre_hooks
        or torch_optimizer._global_optimizer_post_hooks
        or torch.autograd.profiler._is_profiler_enabled
    )


class _SinglePass(torch.optim.Optimizer):
    """What goes before torch's own class among the bases."""

    #: Of a learning rate, betas and the number of the step; see `adam_factors`.
    _factors: Callable[..., tuple[float, float]]

    def _take_step(self, closure: Callable[[], Any] | None = None) -> Any:
        done = closure is None and _step(self, self._factors)
        return None if done else super().step(closure)  # type: ignore[arg-type]

    _take_watched_step = torch.optim.Optimizer.profile_hook_step(_take_step)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """As torch's."""
        return (self._take_watched_step if _is_watched(self) else self._take_step)(closure)

    step.hooked = True  # type: ignore[attr-defined]  # else torch makes every step a watched one, which takes its time

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's, which does little in much time."""
        if set_to_none:
            _forget_gradients(self)
        else:
            super().zero_grad(set_to_none)


class Adam(_SinglePass, torch.optim.Adam):
    """`torch.optim.Adam`; see the module."""

    _factors = staticmethod(adam_factors)


class RAdam(_SinglePass, torch.optim.RAdam):
    """`torch.optim.RAdam`; see the module."""

    _factors = staticmethod(radam_factors)
