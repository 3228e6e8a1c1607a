"""Embeddings of time: a learnt table that can be read at any number of control points (E-D3DGS, Bae et al. 2024)."""

import torch
from torch import Tensor, nn


class TemporalTable(nn.Module):
    """Embedding vectors along a clip.

    Read with n control points, the table is sampled at n equally spaced places (point samples, not averages) and
    interpolated linearly between them: few points give slow changes, as many points as rows all the table holds.

    Args:
        rows: R, vectors in the table.
        size: numbers per vector.
        std: standard deviation of the initial values.
    """

    def __init__(self, rows: int, size: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(std * torch.randn(rows, size))

    def forward(self, time: Tensor, points: int) -> Tensor:
        """``[size]`` embedding.

        Args:
            time: scalar, 0 and 1 at the first and last control point; reflected at both. Differentiable.
            points: number of control points, at least 1; a single one is the first row.
        """
        position = _reflected(time.to(self.weight.dtype)) * (points - 1)
        low = position.detach().floor().clamp(0, max(points - 2, 0)).long()
        return torch.lerp(self._control_point(low, points), self._control_point(low + 1, points), position - low)

    def _control_point(self, index: Tensor, points: int) -> Tensor:
        """``[size]``: the table at control point ``index`` of ``points``."""
        last = self.weight.shape[0] - 1
        if points < 2 or last == 0:
            return self.weight[0]
        # Whole numbers until the division: with as many points as rows every point is exactly a row.
        position = (index.clamp_max(points - 1) * last).to(self.weight.dtype) / (points - 1)
        low = position.floor().clamp_max(last - 1)
        row = low.long()
        return torch.lerp(self.weight[row], self.weight[row + 1], position - low)


def growing_points(step: int, coarse: int, fine: int, growth_steps: int) -> int:
    """Control points of a table that is read ever more finely: from ``coarse`` to ``fine`` over ``growth_steps`` steps,
    linearly and rounded down; ``fine`` from the start when ``growth_steps`` is 0."""
    share = min(step / growth_steps, 1.0) if growth_steps else 1.0
    return int(coarse + (fine - coarse) * share)


def _reflected(time: Tensor) -> Tensor:
    """``time`` folded into [0,1]: 1.2 becomes 0.8, -0.2 becomes 0.2."""
    return 1 - (1 - torch.remainder(time, 2)).abs()
