"""How much of each Gaussian's opacity a fused model keeps (MoE-GS Eq. 15), and where these numbers came from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from moegs_ns.router.gaussian_weights import resize_to_checkpoint


class GaussianShares(nn.Module):
    """A learnable share in [0,1] per Gaussian of several experts, at first 1.

    The shares themselves are the parameters, clamped, not logits of them: a share of exactly 1 or 0 can be had, and
    leaves the Gaussian as it was, or out. Loading a checkpoint takes over its numbers of Gaussians in place.

    Args:
        counts: number of Gaussians of each expert.

    Attributes:
        values: ``[N_k]`` per expert.
        facts: plain data about their origin, kept in checkpoints.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__()
        self.values = nn.ParameterList(nn.Parameter(torch.ones(count)) for count in counts)
        self.facts: dict[str, Any] = {}
        self.register_load_state_dict_pre_hook(resize_to_checkpoint)

    @torch.no_grad()
    def set(self, values: Sequence[Tensor], facts: Mapping[str, Any]) -> None:
        """Take over ``[N_k]`` values per expert and what is to be known of them."""
        for parameter, value in zip(self.values, values, strict=True):
            parameter.copy_(value)
        self.facts = dict(facts)

    def factors(self, rows: Sequence[slice]) -> Tensor:
        """``[sum n_k]`` factors on the opacities of each expert's ``rows``."""
        return torch.cat([one[own] for one, own in zip(self.values, rows, strict=True)]).clamp(0.0, 1.0)

    @torch.no_grad()
    def stay_in_range(self) -> None:
        """Back into [0,1] after an optimizer step: beyond, a share would get no gradient any more."""
        for parameter in self.values:
            parameter.clamp_(0.0, 1.0)

    def get_extra_state(self) -> str:
        """The facts as JSON: a string survives ``weights_only`` loading and runs no code."""
        return json.dumps(self.facts)

    def set_extra_state(self, state: str) -> None:
        """Take over what `get_extra_state` gave."""
        self.facts = json.loads(state)
