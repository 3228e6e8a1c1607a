"""From logits to gates. Knows nothing of pixels: the expert axis comes first, whatever follows is carried along."""

import torch
from torch import Tensor


def gate(logits: Tensor, temperature: float = 1.0, top_k: int = 0) -> Tensor:
    """Partition of unity over experts (MoE-GS Eq. 8; the paper has no temperature, its code has one).

    Differentiable in ``logits``, except that which experts are kept does not move. With ``top_k`` = 1 every gate is 0
    or 1 and nothing can be learnt.

    Args:
        logits: ``[K, ...]`` one per expert.
        temperature: divides the logits; small values approach a hard choice.
        top_k: keep only the k largest logits, of equal ones the first, and give the others a gate of exactly 0; 0 or
            K keeps all.

    Returns:
        ``[K, ...]`` gates in [0,1] that sum to 1 over the first axis.

    Raises:
        ValueError: temperature not positive, or top_k out of range.
    """
    experts = logits.shape[0]
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, found {temperature}")
    if not 0 <= top_k <= experts:
        raise ValueError(f"expected top_k from 0 (all) to the number of experts {experts}, found {top_k}")
    if temperature != 1:
        # Measured from the largest logit, so that no temperature, however small, makes a difference of infinities.
        logits = (logits - logits.detach().amax(dim=0, keepdim=True)) / temperature
    if 0 < top_k < experts:
        dropped = logits.argsort(dim=0, descending=True, stable=True)[top_k:]
        logits = logits.scatter(0, dropped, -torch.inf)
    return torch.softmax(logits, dim=0)
