"""Learning-rate schedules whose values are plain floats.

nerfstudio 1.1.5's own schedules return ``numpy.float64``, which ends up in the checkpoint and makes it unreadable for
``torch.load(weights_only=True)``, the default since torch 2.6 (nerfstudio issue 3683).
"""

import math
from dataclasses import dataclass, field

from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


def log_linear(step: int, lr_init: float, lr_final: float, max_steps: int) -> float:
    """Learning rate that moves on a straight line in log space, ``exp(lerp(log lr_init, log lr_final, s))``.

    Args:
        step: steps already taken; ``s = step / max_steps`` is clamped to [0, 1].
        lr_init, lr_final: positive learning rates at ``s = 0`` and ``s = 1``, both met exactly.
        max_steps: length of the decay, positive.
    """
    s = min(max(step / max_steps, 0.0), 1.0)
    if s in (0.0, 1.0):
        return lr_final if s else lr_init
    return math.exp((1.0 - s) * math.log(lr_init) + s * math.log(lr_final))


class FactorSchedule(LambdaLR):
    """`LambdaLR`, state included, with a step of a few lines: torch's own takes as long as a small optimizer's."""

    def step(self, epoch: int | None = None) -> None:
        """As torch's."""
        groups = self.optimizer.param_groups
        if epoch is not None or self._step_count <= 1 or any(isinstance(group["lr"], Tensor) for group in groups):
            super().step(epoch)  # which also sees to it that the optimizer's first step came first
            return
        self._step_count += 1
        self.last_epoch += 1
        for group, base, factor in zip(groups, self.base_lrs, self.lr_lambdas, strict=True):
            group["lr"] = base * factor(self.last_epoch)
        self._last_lr = [group["lr"] for group in groups]


@dataclass
class LogLinearDecayConfig(SchedulerConfig):
    """Log-linear decay, the schedule of positions in 3D Gaussian splatting and its descendants."""

    _target: type = field(default_factory=lambda: LogLinearDecay)
    lr_final: float | None = None
    """Learning rate after ``max_steps`` and from then on; None keeps the optimizer's learning rate throughout."""
    max_steps: int = 30_000
    """Length of the decay in training steps."""
    restart_step: int = 0
    """Training step at which the decay begins anew (recipes of two stages); 0 = never."""


class LogLinearDecay(Scheduler):
    """See `log_linear`."""

    config: LogLinearDecayConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        """torch schedule for ``optimizer``, whose learning rate is ``lr_init``.

        Raises:
            ValueError: ``max_steps`` or a learning rate is not positive. ``lr_init`` = 0 is allowed and stays 0, the
                way to hold a group still from the command line.
        """
        lr_final, max_steps, restart = self.config.lr_final, self.config.max_steps, self.config.restart_step
        if max_steps <= 0:
            raise ValueError(f"expected a positive max_steps for a log-linear decay, found {max_steps}")
        if lr_final is None or lr_init == 0.0:
            return FactorSchedule(optimizer, lr_lambda=_one)
        if lr_init < 0.0 or lr_final <= 0.0:
            raise ValueError(f"expected positive learning rates for a log-linear decay, found {lr_init} to {lr_final}")

        def factor(step: int) -> float:
            stage_step = step - restart if step >= restart else step
            return log_linear(stage_step, lr_init, lr_final, max_steps) / lr_init

        return FactorSchedule(optimizer, lr_lambda=factor)


@dataclass
class ConstantConfig(SchedulerConfig):
    """No decay; unlike leaving the scheduler out, the learning rate is logged."""

    _target: type = field(default_factory=lambda: Constant)


class Constant(Scheduler):
    """Keeps the optimizer's learning rate."""

    config: ConstantConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        """torch schedule for ``optimizer``; ``lr_init`` is not needed."""
        return FactorSchedule(optimizer, lr_lambda=_one)


def _one(step: int) -> float:
    return 1.0
