"""The matrix products and gathers inside an expert's networks and grids, and nothing else: what `step_profile` holds
their evaluation against.

Forward and backward, on tensors made beforehand. A new class of network or grid adds one row to `BARE`.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from profile_section import GRIDS, NETWORKS
from torch import Tensor, nn

from moegs_ns.experts.fields.deformation import DeformationHeads
from moegs_ns.experts.fields.hexplane import HexPlane
from moegs_ns.experts.fields.temporal_table import TemporalTable
from moegs_ns.experts.heads import FeatureDecoder

Work = Callable[[], None]


def bare_work(module: nn.Module, rows: int) -> dict[str, Work]:
    """Ways to do the bare work of one call of ``module`` for ``rows`` Gaussians (or pixels), by name; the fastest
    counts. None for a module whose work does not depend on the rows.

    Raises:
        ValueError: nobody said what a module of this class must compute.
    """
    return _found(module)[1](module, rows)


def stage_of(module: nn.Module) -> str:
    """Whether a module is a network or a grid.

    Raises:
        ValueError: nobody said so.
    """
    return _found(module)[0]


def _found(module: nn.Module) -> tuple[str, Callable[[nn.Module, int], dict[str, Work]]]:
    for kind, found in BARE.items():
        if isinstance(module, kind):
            return found
    raise ValueError(
        f"expected a network or grid of {', '.join(kind.__name__ for kind in BARE)}, found {type(module).__name__}; "
        "add it to BARE in benchmarks/bare_work.py"
    )


def _products(weights: Sequence[Tensor], rows: int) -> dict[str, Work]:
    """``y = x W^T`` with its two gradients, for weights ``[out, in]``."""
    jobs = []
    for weight in weights:
        outputs, inputs = weight.shape
        jobs.append((torch.rand(rows, inputs), torch.rand(outputs, inputs), torch.rand(rows, outputs)))

    def work() -> None:
        for x, weight, gradient in jobs:
            torch.mm(x, weight.t())
            torch.mm(gradient.t(), x)
            torch.mm(gradient, weight)

    return {"matrix products": work}


def _deformation(module: nn.Module, rows: int) -> dict[str, Work]:
    """The trunk sees the features each Gaussian has of its own, the heads are evaluated all."""
    assert isinstance(module, DeformationHeads)
    own = module.trunk.weight[:, module.common :]
    heads = [layer.weight for head in module.heads.values() for layer in head.modules() if isinstance(layer, nn.Linear)]
    return _products([own, *heads], rows)


def _decoder(module: nn.Module, rows: int) -> dict[str, Work]:
    return _products([layer.weight for layer in module.modules() if isinstance(layer, nn.Linear)], rows)


def _hexplane(module: nn.Module, rows: int) -> dict[str, Work]:
    """Per level three planes looked up bilinearly, at four corners, and (time being one for all) three lines linearly,
    at two."""
    assert isinstance(module, HexPlane)
    sizes = [tuple(plane.shape[1:]) for plane in module.spatial]
    return {"gathers": _gathers(sizes, rows), "grid_sample": _grid_samples(sizes, rows)}


def _gathers(sizes: Sequence[tuple[int, ...]], rows: int) -> Work:
    jobs = []
    for channels, height, width in sizes:
        for length, corners in ((3 * height * width, 4), (3 * width, 2)):
            table, gradient = torch.rand(length, channels), torch.rand(3 * rows, channels)
            jobs.append((table, torch.randint(length, (corners, 3 * rows)), gradient))

    def work() -> None:
        for table, corners, gradient in jobs:
            total = torch.zeros_like(table)
            for index in corners:
                table.index_select(0, index)
                total.index_add_(0, index, gradient)

    return work


def _grid_samples(sizes: Sequence[tuple[int, ...]], rows: int) -> Work:
    jobs = []
    for channels, height, width in sizes:
        for plane in (torch.rand(3, channels, height, width), torch.rand(3, channels, 1, width)):
            where = torch.rand(3, 1, rows, 2) * 2 - 1
            gradient = torch.rand(3, channels, 1, rows)
            jobs.append((plane.requires_grad_(), where.requires_grad_(), gradient))

    def work() -> None:
        for plane, where, gradient in jobs:
            values = F.grid_sample(plane, where, mode="bilinear", padding_mode="border", align_corners=True)
            torch.autograd.grad(values, (plane, where), gradient)

    return work


def _nothing(module: nn.Module, rows: int) -> dict[str, Work]:
    return {}


BARE: dict[type[nn.Module], tuple[str, Callable[[nn.Module, int], dict[str, Work]]]] = {
    DeformationHeads: (NETWORKS, _deformation),
    FeatureDecoder: (NETWORKS, _decoder),
    TemporalTable: (NETWORKS, _nothing),  # a few rows of it, beside a network
    HexPlane: (GRIDS, _hexplane),
}
