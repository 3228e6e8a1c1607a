"""Multi-head network from space-time features to changes of a Gaussian's attributes (Wu et al. 2024, §4.2)."""

from torch import Tensor, nn


class DeformationHeads(nn.Module):
    """A shared linear trunk and one small head per attribute.

    Args:
        inputs: size of the input features.
        width: hidden width W.
        outputs: size of each head's output, by attribute name.
    """

    def __init__(self, inputs: int, width: int, outputs: dict[str, int]) -> None:
        super().__init__()
        self.trunk = nn.Linear(inputs, width)
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size))
                for name, size in outputs.items()
            }
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """``{name: [N, size]}`` from ``features [N, inputs]``."""
        hidden = self.trunk(features)
        return {name: head(hidden) for name, head in self.heads.items()}
