"""Training steps of an expert as the trainer takes them, without trainer and data manager."""

from collections.abc import Sequence
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from nerfstudio.engine.optimizers import AdamOptimizerConfig, OptimizerConfig, Optimizers

from moegs_ns.experts.base import ExpertModel


def make_optimizers(model: ExpertModel, optimizer: OptimizerConfig | None = None) -> Optimizers:
    optimizer = AdamOptimizerConfig(lr=1e-3) if optimizer is None else optimizer
    groups = model.get_param_groups()
    config: dict[str, Any] = {name: {"optimizer": optimizer, "scheduler": None} for name in groups}
    return Optimizers(config, groups)


def train_step(
    model: ExpertModel, optimizers: Optimizers, step: int, cameras: Sequence[Cameras], target: torch.Tensor
) -> float:
    attributes = TrainingCallbackAttributes(optimizers=optimizers, grad_scaler=None, pipeline=None, trainer=None)
    before, after = model.get_training_callbacks(attributes)
    before.run_callback(step)
    optimizers.zero_grad_all()
    losses = [model.get_loss_dict(model(c), {"image": target})["photometric"] for c in cameras]
    loss = sum(losses) / len(losses) + sum(model.step_losses().values())
    loss.backward()
    for optimizer in optimizers.optimizers.values():
        optimizer.step()
    after.run_callback(step)
    return float(loss.detach())
