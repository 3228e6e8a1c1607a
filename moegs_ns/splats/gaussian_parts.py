"""Several Gaussian sets of one expert, end to end: parts with tensors of their own, such as static and dynamic."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from moegs_ns.splats.gaussian_set import GaussianSet


class GaussianParts(nn.Module):
    """Named Gaussian sets in a fixed order; to the outside, one row of Gaussians.

    The parameter and optimizer group of tensor ``means`` in part ``static`` is ``static_means``.

    Args:
        parts: the sets by name, in the order their Gaussians are drawn and counted.
    """

    def __init__(self, parts: Mapping[str, GaussianSet]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self)

    def __iter__(self):
        return iter(self.parts.values())

    def __getitem__(self, part: str) -> GaussianSet:
        return self.parts[part]  # type: ignore[return-value]

    @property
    def params(self) -> dict[str, nn.Parameter]:
        """All parameters by group name."""
        return {
            f"{name}_{tensor}": parameter
            for name, part in self.parts.items()
            for tensor, parameter in part.params.items()  # type: ignore[union-attr,operator]
        }

    def optimizers_of(self, part: str, optimizers: Mapping[str, Any]) -> dict[str, Any]:
        """The optimizers of one part by tensor name, from those of all groups."""
        return {tensor: optimizers[f"{part}_{tensor}"] for tensor in self[part].params}

    def divide(self, rows: Tensor) -> tuple[Tensor, ...]:
        """``[N, ...]`` values of all Gaussians cut into those of each part."""
        return rows.split([len(part) for part in self])

    def cap_scale(self, maximum: float) -> None:
        """Clamp the scales of all Gaussians to at most ``maximum``, world units."""
        for part in self:
            part.cap_scale(maximum)

    @torch.no_grad()
    def accumulate_gradients(
        self, means2d_gradient: Tensor, visible: Tensor, width: int, height: int, rows: Tensor | None = None
    ) -> None:
        """Add one view's screen-space gradients; see `GaussianSet.accumulate_gradients`."""
        if rows is not None:
            means2d_gradient, visible = (
                some.new_zeros(len(self), *some.shape[1:]).index_copy_(0, rows, some)
                for some in (means2d_gradient, visible)
            )
        for part, gradient, seen in zip(self, self.divide(means2d_gradient), self.divide(visible), strict=True):
            part.accumulate_gradients(gradient, seen, width, height)
