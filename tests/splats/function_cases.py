"""The kernels besides rasterization against their torch twins in float64, values and gradients.

Used by the tests here, and on libraries built with other flags (`test_native_build`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from moegs_ns.experts.fields.deformation import evaluate_torch
from moegs_ns.experts.fields.embedding_smoothness import mean_difference_torch
from moegs_ns.experts.fields.hexplane import plane_features_torch
from moegs_ns.experts.heads import decode_torch
from moegs_ns.losses import photometric_loss_torch, ssim_map_torch
from moegs_ns.splats.gaussian_set import add_gradients_torch
from moegs_ns.splats.native_decoder import decode_native
from moegs_ns.splats.native_differences import mean_difference_native
from moegs_ns.splats.native_heads import heads_native
from moegs_ns.splats.native_photometric import photometric_native
from moegs_ns.splats.native_planes import plane_features_native
from moegs_ns.splats.native_sh import evaluate_sh_native
from moegs_ns.splats.native_ssim import ssim_map_native
from moegs_ns.splats.native_statistics import add_gradients_native
from moegs_ns.splats.sh import evaluate_sh_torch

#: Rows of fewer, as many and more columns than are handled at a time; images smaller than the window.
IMAGES = [(1, 1, 1), (3, 4, 3), (7, 11, 3), (24, 31, 3), (40, 32, 1), (5, 70, 4)]
#: (degree, coefficients stored, Gaussians): whole groups of sixteen and not.
HARMONICS = [(0, 1, 5), (0, 16, 16), (1, 4, 40), (1, 16, 3), (2, 9, 33), (3, 16, 64), (3, 16, 1)]
#: (nodes, neighbours, size of a row): whole vectors and not.
GRAPHS = [(2, 1, 3), (60, 5, 32), (41, 20, 16), (30, 3, 37)]


#: (points, channels, sizes of the levels): whole groups of sixteen channels and not; a plane of a single cell.
PLANES = [(1, 16, (4,)), (700, 16, (9, 18)), (50, 5, (6, 3)), (33, 20, (8,)), (20, 48, (5, 1))]


#: (height, width, channels of which the first nine are decoded): no pixels, whole groups of sixteen and not, several
#: chunks whose gradients are added up one by one.
DECODERS = [(0, 3, 9), (1, 1, 9), (3, 5, 12), (4, 8, 9), (37, 61, 9), (40, 64, 11)]


#: (rows, inputs, width, numbers of each head): no rows, whole tiles and not, more tiles than parts; widths of one
#: vector, of an odd number of vectors and of several pairs.
HEADS = [
    (0, 16, 16, (3,)),
    (1, 32, 16, (1, 2)),
    (63, 16, 48, (3, 4, 1)),
    (200, 32, 32, (3, 3, 4, 1)),
    (1300, 48, 64, (12, 2)),
]


#: (Gaussians of a picture, all Gaussians).
STATISTICS = [(0, 5), (7, 7), (90, 133), (1, 40)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def compare(native: Callable, twin: Callable, leaf: Tensor, tolerance: float) -> None:
    """Asserts that two functions of one float32 tensor and the gradients of a random function of them agree."""
    mine, theirs = leaf.clone().requires_grad_(), leaf.double().requires_grad_()
    actual, expected = native(mine), twin(theirs)
    torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=tolerance)
    upstream = noise(*expected.shape, seed=9) - 0.3
    (my_gradient,) = torch.autograd.grad(actual, mine, upstream)
    (their_gradient,) = torch.autograd.grad(expected, theirs, upstream.double())
    scale = float(their_gradient.abs().max().clamp_min(1e-6))
    torch.testing.assert_close(my_gradient.double() / scale, their_gradient / scale, rtol=0, atol=tolerance)


def compare_ssim(shape: tuple[int, int, int]) -> None:
    target = noise(*shape, seed=1)
    image = (target + 0.2 * (noise(*shape, seed=2) - 0.5)).clamp(0, 1)
    compare(lambda x: ssim_map_native(x, target), lambda x: ssim_map_torch(x, target.double()), image, 2e-5)


def compare_photometric(shape: tuple[int, int, int]) -> None:
    target = noise(*shape, seed=1)
    image = (target + 0.2 * (noise(*shape, seed=2) - 0.5)).clamp(0, 1)
    image[-1, -1] = target[-1, -1] if shape[1] > 1 else 0.0  # no error at all
    for weight in (0.2, 1.0):
        compare(
            lambda x, weight=weight: photometric_native(x, target, weight, maps=False)[0],
            lambda x, weight=weight: photometric_loss_torch(x, target.double(), weight)[0],
            image,
            2e-5,
        )
    maps = photometric_native(image, target, 0.2, maps=True)[1]
    expected = photometric_loss_torch(image.double(), target.double(), 0.2)[1]
    torch.testing.assert_close(maps.double(), expected, rtol=2e-5, atol=2e-5)


def compare_sh(degree: int, bases: int, count: int) -> None:
    directions = 3 * (noise(count, 3, seed=3) - 0.5)
    compare(
        lambda sh: evaluate_sh_native(degree, directions, sh),
        lambda sh: evaluate_sh_torch(degree, directions.double(), sh),
        noise(count, bases, 3) - 0.5,
        2e-6,
    )


def random_graph(nodes: int, neighbors: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Edges to any nodes, with weights, and the edges sorted by where they lead."""
    generator = torch.Generator().manual_seed(4)
    index = torch.randint(nodes, (nodes, neighbors), generator=generator)
    incoming = torch.bincount(index.reshape(-1), minlength=nodes)
    order = torch.argsort(index.reshape(-1), stable=True)
    return index, noise(nodes, neighbors, seed=5), order, incoming.cumsum(0) - incoming


def compare_differences(nodes: int, neighbors: int, size: int) -> None:
    rows = noise(nodes, size, seed=6)
    rows[0] = rows[1]  # no distance at all
    index, weight, order, starts = random_graph(nodes, neighbors)
    actual, gradient = mean_difference_native(rows, index, weight, order, starts)
    expected, wanted = mean_difference_torch(rows.double(), index, weight.double(), order, starts)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradient.double(), wanted, rtol=1e-5, atol=1e-7)


def plane_inputs(points: int, channels: int, sizes: tuple[int, ...]) -> list[Tensor]:
    """Points within and beyond the planes and on their corners, then planes, then lines."""
    where = 2.4 * noise(points, 3, seed=7) - 1.2
    where[0] = torch.tensor([-1.0, 1.0, 0.0])
    planes = [noise(3, channels, size, size, seed=8) + 0.1 for size in sizes]
    return [where, *planes, *(noise(3, channels, size, seed=9) + 0.5 for size in sizes)]


def compare_planes(points: int, channels: int, sizes: tuple[int, ...]) -> None:
    inputs = plane_inputs(points, channels, sizes)

    def run(function: Callable, dtype: torch.dtype) -> tuple[Tensor, tuple[Tensor, ...]]:
        leaves = [tensor.to(dtype).requires_grad_() for tensor in inputs]
        features = function(leaves[0], leaves[1 : 1 + len(sizes)], leaves[1 + len(sizes) :])
        upstream = noise(points, channels * len(sizes), seed=10).to(dtype) - 0.3
        return features, torch.autograd.grad(features, leaves, upstream)

    actual, gradients = run(plane_features_native, torch.float32)
    expected, wanted = run(plane_features_torch, torch.float64)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(gradients, wanted, strict=True):
        scale = float(theirs.abs().max().clamp_min(1e-6))
        torch.testing.assert_close(mine.double() / scale, theirs / scale, rtol=0, atol=2e-5)


def decoder_inputs(height: int, width: int, channels: int) -> list[Tensor]:
    """Features (colours beyond [0,1] among them), rays, and both matrices."""
    rays = noise(6, height, width, seed=12) - 0.5
    composited = 3 * noise(height, width, channels, seed=11) - 1
    return [composited, rays, noise(6, 12, seed=13) - 0.5, noise(3, 6, seed=14) - 0.5]


def compare_decoder(height: int, width: int, channels: int, sigmoid: bool) -> None:
    inputs = decoder_inputs(height, width, channels)

    def run(function: Callable, dtype: torch.dtype) -> tuple[Tensor, tuple[Tensor, ...]]:
        composited, rays, *weights = (tensor.to(dtype) for tensor in inputs)
        leaves = [tensor.requires_grad_() for tensor in (composited, *weights)]
        rgb = function(composited[..., :9], rays, *weights, sigmoid)
        return rgb, torch.autograd.grad(rgb, leaves, noise(height, width, 3, seed=15).to(dtype) - 0.3)

    actual, gradients = run(decode_native, torch.float32)
    expected, wanted = run(decode_torch, torch.float64)
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=2e-6)
    for mine, theirs in zip(gradients, wanted, strict=True):
        scale = float(theirs.abs().max().clamp_min(1e-6)) if theirs.numel() else 1.0
        torch.testing.assert_close(mine.double() / scale, theirs / scale, rtol=0, atol=1e-5)


def heads_inputs(rows: int, inputs: int, width: int, outputs: tuple[int, ...]) -> list[Tensor]:
    """Features, the trunk's weight and bias, then four parameters for each head."""
    shapes = [(rows, inputs), (width, inputs), (width,)]
    for size in outputs:
        shapes += [(width, width), (width,), (size, width), (size,)]
    return [noise(*shape, seed=21 + at) - 0.5 for at, shape in enumerate(shapes)]


def evaluate_heads(function: Callable, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """``function`` of what `heads_inputs` gives."""
    features, weight, bias, *others = tensors
    heads = [tuple(others[at : at + 4]) for at in range(0, len(others), 4)]
    values: tuple[Tensor, ...] = function(features, (weight, bias), heads)
    return values


def compare_heads(rows: int, inputs: int, width: int, outputs: tuple[int, ...]) -> None:
    tensors = heads_inputs(rows, inputs, width, outputs)
    upstream = [noise(rows, size, seed=60 + size) - 0.3 for size in outputs]

    def run(function: Callable, dtype: torch.dtype) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        leaves = [tensor.to(dtype).requires_grad_() for tensor in tensors]
        values = evaluate_heads(function, leaves)
        return values, torch.autograd.grad(values, leaves, [one.to(dtype) for one in upstream])

    actual, gradients = run(heads_native, torch.float32)
    expected, wanted = run(evaluate_torch, torch.float64)
    for mine, theirs in zip((*actual, *gradients), (*expected, *wanted), strict=True):
        scale = float(theirs.detach().abs().max().clamp_min(1e-6)) if theirs.numel() else 1.0
        torch.testing.assert_close(mine.double() / scale, theirs / scale, rtol=0, atol=5e-6)


def statistics_inputs(count: int, total: int) -> list[Tensor]:
    """Sums and counts so far, gradients of some Gaussians and whether they are visible; where these stand."""
    rows = torch.randperm(total, generator=torch.Generator().manual_seed(16))[:count].sort().values
    return [
        noise(total, seed=17),
        noise(total, seed=18).round(),
        noise(count, 2, seed=19) - 0.5,
        noise(count, seed=20) > 0.3,
        rows,
    ]


def compare_statistics(count: int, total: int) -> None:
    sums, counts, gradient, visible, rows = statistics_inputs(count, total)
    chosen = None if count == total else rows
    expected = sums.double(), counts.double()
    add_gradients_torch(*expected, gradient.double(), visible, 30, 17, chosen)
    add_gradients_native(sums, counts, gradient, visible, 30, 17, chosen)
    torch.testing.assert_close(sums.double(), expected[0], rtol=1e-6, atol=1e-6)
    assert torch.equal(counts.double(), expected[1])


def compare_all() -> None:
    """Every case."""
    for image in IMAGES:
        compare_ssim(image)
        compare_photometric(image)
    for harmonics in HARMONICS:
        compare_sh(*harmonics)
    for graph in GRAPHS:
        compare_differences(*graph)
    for planes in PLANES:
        compare_planes(*planes)
    for decoder in DECODERS:
        compare_decoder(*decoder, sigmoid=True)
        compare_decoder(*decoder, sigmoid=False)
    for heads in HEADS:
        compare_heads(*heads)
    for statistics in STATISTICS:
        compare_statistics(*statistics)
