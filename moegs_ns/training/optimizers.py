"""Optimizer configs for nerfstudio's ``{"optimizer": ..., "scheduler": ...}`` groups, and learning-rate scales."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from nerfstudio.engine.optimizers import OptimizerConfig, Optimizers

from moegs_ns.training.adam import Adam, RAdam, step_together


@dataclass
class AdamConfig(OptimizerConfig):
    """Adam with all its numbers reachable from the command line."""

    _target: type = Adam
    lr: float = 1e-3
    """Learning rate at step 0."""
    eps: float = 1e-15
    """Added to the denominator; 3D Gaussian splatting uses 1e-15 so that tiny gradients still move parameters."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moment."""
    weight_decay: float = 0.0
    """L2 penalty added to the gradient."""
    fused: bool = True
    """Update each tensor in one pass, several times faster: on CPU by a compiled kernel, on CUDA by torch's own."""

    def setup(self, params: Any) -> torch.optim.Optimizer:
        """The torch optimizer over ``params`` (a list of parameters)."""
        params = list(params)
        target = self._target if self.fused else torch.optim.Adam
        return target(
            params,
            lr=self.lr,
            eps=self.eps,
            betas=tuple(self.betas),
            weight_decay=self.weight_decay,
            fused=self.fused and all(_has_fused_adam(parameter) for parameter in params),
        )


@dataclass
class RAdamConfig(OptimizerConfig):
    """Rectified Adam (the MoE-GS paper trains its router with it)."""

    _target: type = RAdam
    lr: float = 1e-3
    """Learning rate at step 0."""
    eps: float = 1e-8
    """Added to the denominator."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moment."""
    weight_decay: float = 0.0
    """L2 penalty added to the gradient."""
    fused: bool = True
    """On CPU, update each tensor in one pass of a compiled kernel, several times faster."""

    def setup(self, params: Any) -> torch.optim.Optimizer:
        """The torch optimizer over ``params`` (a list of parameters)."""
        target = self._target if self.fused else torch.optim.RAdam
        return target(list(params), lr=self.lr, eps=self.eps, betas=tuple(self.betas), weight_decay=self.weight_decay)


#: By what the registry of experts calls them.
OPTIMIZERS: dict[str, type[AdamConfig] | type[RAdamConfig]] = {"adam": AdamConfig, "radam": RAdamConfig}


class SinglePassOptimizers(Optimizers):
    """nerfstudio's, with the steps of all groups done in one: twenty optimizers of a few tensors each took their time
    beside what they compute."""

    def optimizer_scaler_step_some(self, grad_scaler: Any, param_groups: list[str]) -> None:
        """Step the optimizers of these groups that have a gradient."""
        clipping = any(self.config[group]["optimizer"].max_norm is not None for group in param_groups)
        if clipping or grad_scaler.is_enabled():
            super().optimizer_scaler_step_some(grad_scaler, param_groups)
            return
        stepping = (self.optimizers[group] for group in param_groups)
        step_together([one for one in stepping if _has_gradient(one)])


def _has_gradient(optimizer: torch.optim.Optimizer) -> bool:
    return any(value.grad is not None for group in optimizer.param_groups for value in group["params"])


def _has_fused_adam(parameter: torch.Tensor) -> bool:
    if not parameter.is_floating_point():
        return False
    if parameter.device.type == "cpu":
        return tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4)
    return parameter.device.type == "cuda"


def scaled_groups(groups: Mapping[str, Any], scales: Mapping[str, float]) -> dict[str, Any]:
    """A copy of nerfstudio's optimizer groups with ``lr`` and the scheduler's ``lr_final`` multiplied.

    Papers state the learning rate of positions in units of the scene's extent, which only the model knows.

    Raises:
        ValueError: a scale for a group that does not exist, or one that is not positive and finite.
    """
    unknown = sorted(set(scales) - set(groups))
    if unknown:
        raise ValueError(f"learning-rate scales name the groups {unknown}, but there are only {sorted(groups)}")
    scaled = copy.deepcopy(dict(groups))
    for name, scale in scales.items():
        scale = float(scale)
        if not 0.0 < scale < float("inf"):
            raise ValueError(f"expected a positive, finite learning-rate scale for group '{name}', found {scale}")
        scaled[name]["optimizer"].lr *= scale
        scheduler = scaled[name].get("scheduler")
        if getattr(scheduler, "lr_final", None) is not None:
            scheduler.lr_final *= scale
    return scaled


def used_groups(groups: Mapping[str, Any], configured: Mapping[str, str]) -> dict[str, Any]:
    """The configured numbers of every parameter group.

    Args:
        groups: nerfstudio's optimizer groups.
        configured: for each parameter group the optimizer group it takes its numbers from, as a rule its namesake.

    Raises:
        ValueError: a parameter group without an optimizer group.
    """
    missing = sorted({*configured.values()} - set(groups))
    if missing:
        raise ValueError(f"expected an optimizer for the parameter groups {missing}, found only {sorted(groups)}")
    return {name: groups[source] for name, source in configured.items()}


def describe_learning_rates(groups: Mapping[str, Any], scales: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Resolved numbers of (already scaled) groups, as plain data for ``run.json``."""
    described = {}
    for name, group in groups.items():
        numbers = {"lr": float(group["optimizer"].lr), "scale": float(scales.get(name, 1.0))}
        for key in ("lr_final", "max_steps", "restart_step"):
            value = getattr(group.get("scheduler"), key, None)
            if value is not None:
                numbers[key] = value
        described[name] = numbers
    return described
