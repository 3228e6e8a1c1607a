"""From logits to gates. Knows nothing of pixels: the expert axis comes first, whatever follows is carried along."""

import torch
from torch import Tensor


def gate(logits: Tensor, temperature: float = 1.0, top_k: int = 0) -> Tensor:
    """Partition of unity over experts (MoE-GS Eq. 8; the paper has no temperature, its code has one).

    Args:
        logits: ``[K, ...]`` one per expert.
        temperature: divides the logits; small values approach a hard choice.
        top_k: keep only the k largest logits and give the others a gate of exactly 0; 0 or K keeps all.

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
    scaled = logits / temperature
    if 0 < top_k < experts:
        kept = torch.topk(scaled, top_k, dim=0).indices
        # Ties are settled by topk, so exactly top_k experts remain everywhere.
        scaled = torch.full_like(scaled, -torch.inf).scatter(0, kept, scaled.gather(0, kept))
    return torch.softmax(scaled, dim=0)
