"""Multi-head network from features to changes of a Gaussian's attributes (Wu et al. 2024, §4.2; Bae et al. 2024)."""

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn


class DeformationHeads(nn.Module):
    """A shared linear trunk and one small head per attribute.

    Args:
        inputs: size of the features each Gaussian has of its own.
        width: hidden width W.
        outputs: size of each head's output, by attribute name.
        common: size of the features all Gaussians share at an instant; the trunk sees them before the others.
        xavier: initialise weights as Glorot & Bengio 2010 (as 4DGaussians) instead of torch's default.
    """

    def __init__(self, inputs: int, width: int, outputs: dict[str, int], common: int = 0, xavier: bool = True) -> None:
        super().__init__()
        self.trunk = nn.Linear(common + inputs, width)
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size))
                for name, size in outputs.items()
            }
        )
        if xavier:
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    nn.init.xavier_uniform_(module.weight)

    def forward(
        self, features: Tensor, common: Tensor | None = None, names: Iterable[str] | None = None
    ) -> dict[str, Tensor]:
        """Changes of N Gaussians.

        Args:
            features: ``[N, inputs]``.
            common: ``[common]``, shared by all N; its part of the trunk is computed once instead of N times.
            names: which heads to evaluate, all by default.

        Returns:
            ``{name: [N, size]}``.
        """
        weight: Tensor = self.trunk.weight
        bias: Tensor = self.trunk.bias
        if common is not None:
            shared = common.shape[0]
            weight, bias = weight[:, shared:], bias + weight[:, :shared] @ common
        # The heads' rectifiers act in place, the first one once for all heads: a tenth of the time on CPU.
        hidden = F.linear(features, weight, bias).relu_()
        chosen = self.heads.keys() if names is None else names
        return {name: _after_first_rectifier(self.heads[name], hidden) for name in chosen}


def _after_first_rectifier(head: nn.Module, hidden: Tensor) -> Tensor:
    _, first, _, second = head.children()
    return second(first(hidden).relu_())
