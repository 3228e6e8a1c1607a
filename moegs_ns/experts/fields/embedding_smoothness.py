"""Neighbouring Gaussians should have similar embeddings, so that they move alike (E-D3DGS, Bae et al. 2024)."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from moegs_ns.splats.native_differences import mean_difference_native
from moegs_ns.splats.neighbors import nearest_neighbors
from moegs_ns.splats.rasterize import takes_native

_EPSILON = 1e-20
# Gaussians handled at a time: on CPU as many as leave their neighbours' embeddings in the cache.
_ROWS = {"cpu": 512, "cuda": 1 << 16}


class EmbeddingSmoothness(nn.Module):
    """Mean over all Gaussians i and their k nearest j of ``sqrt(w) |z_i - z_j|``, with ``w = exp(-falloff d_ij^2)``.

    Neighbours and distances are those of the moment the set of Gaussians last changed, as in the authors' training.
    The positions of that moment are part of the state: a resumed run goes on with the same neighbours.

    Args:
        neighbors: k.
        falloff: one over world units squared.
    """

    anchors: Tensor

    def __init__(self, neighbors: int, falloff: float) -> None:
        super().__init__()
        self.neighbors, self.falloff = neighbors, falloff
        self.register_buffer("anchors", torch.zeros(0, 3))
        self._graph: tuple[Tensor, ...] | None = None
        self.register_load_state_dict_pre_hook(_take_size_of_checkpoint)

    def forget(self) -> None:
        """The set of Gaussians changed: look for neighbours again when next needed."""
        self.anchors, self._graph = self.anchors.new_zeros(0, 3), None

    def forward(self, embeddings: Tensor, means: Tensor) -> Tensor:
        """Scalar mean; ``embeddings [N,E]``, ``means [N,3]`` canonical positions (no gradient flows to them)."""
        if len(self.anchors) != len(means):
            self.anchors, self._graph = means.detach().clone(), None
        if self._graph is None:
            self._graph = _neighbor_graph(self.anchors, self.neighbors, self.falloff)
        if not self._graph[0].numel():
            return embeddings.sum() * 0.0
        return _MeanDifference.apply(embeddings, *self._graph)


def _neighbor_graph(means: Tensor, neighbors: int, falloff: float) -> tuple[Tensor, ...]:
    """``index [N,k]``, ``weight [N,k]``, and the edges sorted by the neighbour they lead to: ``order [N*k]``, and where
    each neighbour's begin ``starts [N]``."""
    index, distance = nearest_neighbors(means, neighbors)
    order, starts = _sorted_edges(index)
    return index, torch.exp(-falloff * distance.square()), order, starts


def _sorted_edges(index: Tensor) -> tuple[Tensor, Tensor]:
    """``order [N*k]``, ``starts [N]``; edges to the same neighbour in their own order."""
    count, neighbors = index.shape
    edges = index.reshape(-1).cpu().numpy()
    # What scipy does to turn rows into columns is to sort by counting, several times as fast as sorting by comparison.
    shape, rows = (count, count), np.arange(count + 1) * neighbors
    columns = csr_matrix((np.arange(len(edges)), edges, rows), shape=shape).tocsc()
    order, starts = (torch.from_numpy(one.astype(np.int64)) for one in (columns.data, columns.indptr[:-1]))
    return order.to(index.device), starts.to(index.device)


class _MeanDifference(torch.autograd.Function):
    """Value and gradient at once. Autograd would keep several ``[N,k,E]`` tensors and add their rows up one by one on
    CPU, four times as slow as the torch twin, which is three times as slow as the compiled kernel."""

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, index: Tensor, weight: Tensor, *sorted_edges: Tensor) -> Tensor:
        weight = weight.to(embeddings.dtype)
        mean_difference = mean_difference_native if takes_native(embeddings) else mean_difference_torch
        mean, gradient = mean_difference(embeddings, index, weight, *sorted_edges)
        ctx.save_for_backward(gradient)
        return mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0] * ctx.saved_tensors[0], None, None, None, None


def mean_difference_torch(
    embeddings: Tensor, index: Tensor, weight: Tensor, order: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor]:
    """The twin of the compiled kernel, see `mean_difference_native`. Takes every floating dtype and device."""
    (count, neighbors), size = index.shape, embeddings.shape[1]
    per_edge = embeddings.new_empty(count, neighbors, size)  # gradient of each edge's term at its own end
    outgoing = torch.empty_like(embeddings)
    total = embeddings.new_zeros(())
    rows = _ROWS.get(embeddings.device.type, _ROWS["cuda"])
    for start in range(0, count, rows):
        part = slice(start, start + rows)
        others = embeddings.index_select(0, index[part].reshape(-1)).view(-1, neighbors, size)
        difference = embeddings[part, None] - others
        term = torch.sqrt(weight[part] * difference.square().sum(dim=-1) + _EPSILON)
        total += term.sum()
        torch.mul(difference, (weight[part] / term)[..., None], out=per_edge[part])
        torch.sum(per_edge[part], dim=1, out=outgoing[part])
    incoming = F.embedding_bag(order, per_edge.view(-1, size), starts, mode="sum")
    return total / index.numel(), (outgoing - incoming) / index.numel()


def _take_size_of_checkpoint(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    assert isinstance(module, EmbeddingSmoothness)
    stored = state_dict.get(f"{prefix}anchors")
    if stored is not None:
        module.anchors, module._graph = module.anchors.new_empty(stored.shape), None
