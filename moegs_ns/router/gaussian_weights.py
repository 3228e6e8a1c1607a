"""Learnable router weights of Gaussians (MoE-GS §3.2, *Per-Gaussian Weight*)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

ALL_ROWS = slice(None)


class GaussianWeights(nn.Module):
    """Learnable router weights of one expert's N Gaussians, without activation.

    Loading a checkpoint takes over its number of Gaussians in place: optimizers stay wired.

    Args:
        count: N.
        initial: initial value of the weights in ``base``; w_time starts at 0.
        base: how many weights a Gaussian has besides w_time.

    Attributes:
        base: ``[N,base]``: w, and of the volume-aware pixel router w_dir.
        time: ``[N,1]``: w_time, multiplied by t before use.
    """

    def __init__(self, count: int, initial: float, base: int = 2) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.full((count, base), float(initial)))
        self.time = nn.Parameter(torch.zeros(count, 1))
        self.register_load_state_dict_pre_hook(resize_to_checkpoint)

    def __len__(self) -> int:
        return self.base.shape[0]

    @torch.no_grad()
    def keep(self, kept: Tensor, optimizers: Iterable[Optimizer] = ()) -> None:
        """Leave only the weights of ``kept [N]`` bool, in their order; optimizers take their moments along.

        The parameters are new leaves in the places of the old: tensors cut out of the old ones would learn nothing.
        Whoever keeps lists of parameters beside the optimizers has to renew them.
        """
        for name, old in list(self.named_parameters()):
            new = nn.Parameter(old.data[kept], requires_grad=old.requires_grad)
            setattr(self, name, new)
            for optimizer in optimizers:
                _replace(optimizer, old, new, kept)

    def channels(self, time: float, rows: slice = ALL_ROWS) -> Tensor:
        """``[N,base + 1]`` weights and t * w_time at ``time`` in [0,1], of those Gaussians in ``rows``."""
        return torch.cat([self.base[rows], time * self.time[rows]], dim=1)


def _replace(optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter, kept: Tensor) -> None:
    """``new``, the rows ``kept`` of ``old``, takes its place in an optimizer that holds it."""
    for group in optimizer.param_groups:
        group["params"] = [new if one is old else one for one in group["params"]]
    state = optimizer.state.pop(old, None)
    if state is not None:
        optimizer.state[new] = {
            key: value[kept] if torch.is_tensor(value) and value.shape == old.shape else value
            for key, value in state.items()
        }


def resize_to_checkpoint(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    """Before loading: the number of Gaussians is the checkpoint's; resize in place so that optimizers stay wired.
    Tensors that are missing or have other columns are left for torch to refuse."""
    for name, parameter in module.named_parameters():
        stored = state_dict.get(prefix + name)
        if stored is None or stored.shape[1:] != parameter.shape[1:] or stored.shape == parameter.shape:
            continue
        parameter.data = parameter.data.new_empty(stored.shape)
        parameter.grad = None
