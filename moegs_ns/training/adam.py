"""Adam and rectified Adam (Liu et al. 2020) in one pass over each tensor on the CPU; elsewhere torch's own.

torch has no single-pass rectified Adam, and takes its time before each call of its single-pass Adam: twenty optimizers
of a few Gaussian tensors took a quarter of the time of rasterization. State and options are torch's, so checkpoints of
one are those of the other.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import optimizer as torch_optimizer

from moegs_ns.splats.native_adam import AdamRow, adam_row, adam_step_native, readable
from moegs_ns.splats.rasterize import resolve_backend

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


def _state_fits(state: dict[str, Any], value: Tensor) -> bool:
    """Whether the kernel may read a state beside ``value``: a checkpoint may have brought another."""
    if not state:
        return True
    moments = state["exp_avg"], state["exp_avg_sq"]
    step = state["step"]
    fits = all(readable(moment) and moment.shape == value.shape for moment in moments)
    return fits and isinstance(step, Tensor) and readable(step)


def _known_to_fit(optimizer: "_SinglePass", value: Tensor, state: dict[str, Any]) -> bool:
    """`_state_fits`, asked once per moment: of twenty tensors the questions took as long as the step itself."""
    if not state:
        return True
    seen = optimizer._fitting
    if seen.get(value) is state["exp_avg"]:
        return True
    if not _state_fits(state, value):
        return False
    if len(seen) > 2 * sum(len(group["params"]) for group in optimizer.param_groups):
        seen.clear()  # of Gaussians that density control has replaced
    seen[value] = state["exp_avg"]
    return True


def _forget_gradients(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for value in group["params"]:
            value.grad = None


def _rows(optimizer: "_SinglePass") -> list[AdamRow] | None:
    """What the compiled kernel needs for a step; None where it does not run or the optimizer asks for more. States that
    are not there yet begin here."""
    work = []
    for group in optimizer.param_groups:
        option = group.get
        if option("amsgrad") or option("maximize") or option("capturable") or option("differentiable"):
            return None
        if option("decoupled_weight_decay") or isinstance(group["lr"], Tensor):
            return None
        for value in group["params"]:
            if (gradient := value.grad) is None:
                continue
            state = optimizer.state[value]
            if not (readable(value) and readable(gradient) and _known_to_fit(optimizer, value, state)):
                return None
            work.append((group, value, gradient, state))
    if resolve_backend("cpu") != "native":
        return None
    rows = []
    factors_of: dict[tuple[int, float], tuple[float, float]] = {}  # nearly always a single one
    for group, value, gradient, state in work:
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(value), torch.zeros_like(value)
        number, betas = state["step"].item() + 1, group["betas"]
        factors = factors_of.get((id(group), number))
        if factors is None:
            factors = factors_of[id(group), number] = optimizer._factors(group["lr"], betas, number)
        moments = state["exp_avg"], state["exp_avg_sq"]
        rows.append(
            adam_row(value, *moments, state["step"], gradient, factors, betas, group["eps"], group["weight_decay"])
        )
    return rows


def step_together(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """A step of each optimizer, all that the compiled kernel does in one call of it."""
    rows: list[AdamRow] = []
    for optimizer in optimizers:
        own = _rows(optimizer) if isinstance(optimizer, _SinglePass) and not _is_watched(optimizer) else None
        if own is None:
            optimizer.step()
        else:
            rows += own
            optimizer._opt_called = True  # type: ignore[attr-defined]  # torch's schedules ask for it
    if rows:
        adam_step_native(rows)


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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: First moments that the kernel is known to read beside their parameters.
        self._fitting: dict[Tensor, Tensor] = {}

    def load_state_dict(self, state_dict: Any) -> None:
        """As torch's."""
        self._fitting.clear()
        super().load_state_dict(state_dict)

    def _take_step(self, closure: Callable[[], Any] | None = None) -> Any:
        rows = _rows(self) if closure is None else None
        if rows is None:
            return super().step(closure)  # type: ignore[arg-type]
        if rows:
            adam_step_native(rows)
        return None

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
