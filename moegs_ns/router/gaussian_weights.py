"""Learnable router weights of Gaussians (MoE-GS §3.2, *Per-Gaussian Weight*)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from moegs_ns.splats.optimizer_rows import kept_rows

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

        Whoever keeps lists of parameters beside the optimizers has to renew them.
        """
        holders = [*optimizers]
        for name, old in list(self.named_parameters()):
            setattr(self, name, kept_rows(old, kept, holders))

    def channels(self, time: float, rows: slice = ALL_ROWS) -> Tensor:
        """``[N,base + 1]`` weights and t * w_time at ``time`` in [0,1], of those Gaussians in ``rows``."""
        return torch.cat(self.channel_blocks(time, rows), dim=1)

    def channel_blocks(self, time: float, rows: slice = ALL_ROWS) -> tuple[Tensor, Tensor]:
        """``[N,base]`` and ``[N,1]``, which `channels` puts side by side."""
        return self.base[rows], time * self.time[rows]


def resize_to_checkpoint(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    """Before loading: the number of Gaussians is the checkpoint's; resize in place so that optimizers stay wired.
    Tensors that are missing or have other columns are left for torch to refuse."""
    for name, parameter in module.named_parameters():
        stored = state_dict.get(prefix + name)
        if stored is None or stored.shape[1:] != parameter.shape[1:] or stored.shape == parameter.shape:
            continue
        parameter.data = parameter.data.new_empty(stored.shape)
        parameter.grad = None
