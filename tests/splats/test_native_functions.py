"""The compiled kernels besides rasterization: losses, harmonics, planes, STG's decoder, networks
with heads, statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from moegs_ns import losses
from moegs_ns.experts import heads
from moegs_ns.experts.fields import deformation, embedding_smoothness, hexplane
from moegs_ns.splats import gaussian_set, native_backend, sh
from moegs_ns.splats.native_decoder import decode_native
from moegs_ns.splats.native_differences import mean_difference_native
from moegs_ns.splats.native_heads import heads_native
from moegs_ns.splats.native_photometric import photometric_native
from moegs_ns.splats.native_planes import plane_features_native
from moegs_ns.splats.native_sh import evaluate_sh_native
from moegs_ns.splats.native_ssim import ssim_map_native
from moegs_ns.splats.native_statistics import add_gradients_native
from tests.splats.function_cases import (
    DECODERS,
    GRAPHS,
    HARMONICS,
    HEADS,
    IMAGES,
    PLANES,
    STATISTICS,
    compare_decoder,
    compare_differences,
    compare_heads,
    compare_photometric,
    compare_planes,
    compare_sh,
    compare_ssim,
    compare_statistics,
    decoder_inputs,
    evaluate_heads,
    heads_inputs,
    noise,
    plane_inputs,
    random_graph,
    statistics_inputs,
)

if not native_backend.available():
    pytest.skip(f"no native kernels: {native_backend.unavailable_reason()}", allow_module_level=True)


@pytest.mark.parametrize("shape", IMAGES)
def test_similarity_equals_the_twin(shape):
    compare_ssim(shape)


@pytest.mark.parametrize("shape", IMAGES)
def test_the_photometric_loss_equals_the_twin(shape):
    compare_photometric(shape)


@pytest.mark.parametrize(("degree", "bases", "count"), HARMONICS)
def test_harmonics_equal_the_twin(degree, bases, count):
    compare_sh(degree, bases, count)


@pytest.mark.parametrize(("nodes", "neighbors", "size"), GRAPHS)
def test_differences_equal_the_twin(nodes, neighbors, size):
    compare_differences(nodes, neighbors, size)


@pytest.mark.parametrize(("points", "channels", "sizes"), PLANES)
def test_plane_features_equal_the_twin(points, channels, sizes):
    compare_planes(points, channels, sizes)


@pytest.mark.parametrize("sigmoid", [True, False], ids=["sigmoid", "clamp"])
@pytest.mark.parametrize(("height", "width", "channels"), DECODERS)
def test_the_decoder_equals_the_twin(height, width, channels, sigmoid):
    compare_decoder(height, width, channels, sigmoid)


def test_the_decoders_twin_has_the_gradients_of_finite_differences():
    composited, rays, *weights = (tensor.double() for tensor in decoder_inputs(2, 3, 9))
    leaves = [tensor.requires_grad_() for tensor in (composited, *weights)]
    assert torch.autograd.gradcheck(lambda x, *w: heads.decode_torch(x, rays, *w, True), leaves)


def test_a_pixels_colour_depends_neither_on_the_others_nor_on_the_layout():
    composited, rays, *weights = decoder_inputs(9, 11, 14)
    together = decode_native(composited[..., :9], rays, *weights, True)
    assert torch.equal(together, decode_native(composited[..., :9].contiguous(), rays, *weights, True))
    assert torch.equal(together[3:4, 2:], decode_native(composited[3:4, 2:, :9], rays[:, 3:4, 2:], *weights, True))


def test_large_sums_are_decoded_without_overflow():
    _, rays, *weights = decoder_inputs(1, 2, 9)
    features = torch.tensor([[[1e4] * 3 + [0.0] * 6, [-1e4] * 3 + [0.0] * 6]]).requires_grad_()
    rgb = decode_native(features, 0 * rays, *weights, True)
    assert rgb[0, 0].tolist() == [1.0] * 3 and (rgb[0, 1].detach().abs() < 1e-30).all()
    assert torch.autograd.grad(rgb.sum(), features)[0].isfinite().all()


@pytest.mark.parametrize(("rows", "inputs", "width", "outputs"), HEADS)
def test_networks_with_heads_equal_the_twin(rows, inputs, width, outputs):
    compare_heads(rows, inputs, width, outputs)


def test_the_twin_of_networks_with_heads_has_the_gradients_of_finite_differences():
    leaves = [tensor.double().requires_grad_() for tensor in heads_inputs(3, 4, 5, (2, 1))]
    assert torch.autograd.gradcheck(lambda *t: evaluate_heads(deformation.evaluate_torch, [*t]), leaves)


def test_a_head_nothing_depends_on_gets_no_gradient_and_changes_no_other():
    leaves = [tensor.requires_grad_() for tensor in heads_inputs(70, 16, 32, (3, 4))]
    first, _ = evaluate_heads(heads_native, leaves)
    gradients = torch.autograd.grad(first.sum(), leaves)
    (alone,) = evaluate_heads(heads_native, leaves[:7])
    expected = torch.autograd.grad(alone.sum(), leaves[:7])
    assert all(torch.equal(*pair) for pair in zip(gradients[:7], expected, strict=True))
    assert not any(gradient.any() for gradient in gradients[7:])


def test_a_row_of_a_network_depends_neither_on_the_others_nor_on_whether_gradients_are_wanted():
    tensors = heads_inputs(150, 32, 48, (3, 1))
    together = evaluate_heads(heads_native, [tensor.clone().requires_grad_() for tensor in tensors])
    with torch.no_grad():
        apart = evaluate_heads(heads_native, [tensors[0][91:92], *tensors[1:]])
    assert all(torch.equal(one[91:92], other) for one, other in zip(together, apart, strict=True))


@pytest.mark.parametrize(("count", "total"), STATISTICS)
def test_statistics_equal_the_twin(count, total):
    compare_statistics(count, total)


def test_points_that_are_no_numbers_read_no_memory_but_the_planes():
    where = torch.tensor([[float("nan"), float("inf"), -float("inf")]])
    features = plane_features_native(where, [torch.ones(3, 4, 5, 5)], [torch.ones(3, 4, 5)])
    assert torch.equal(features, torch.ones(1, 4))


def test_differences_equal_every_edge_looked_at():
    rows = noise(12, 6)
    index, weight, order, starts = random_graph(12, 4)
    z, w = rows.double().numpy(), weight.double().numpy()
    value = np.mean(
        [[np.sqrt(w[i, n] * ((z[i] - z[j]) ** 2).sum() + 1e-20) for n, j in enumerate(index[i])] for i in range(12)]
    )
    assert float(mean_difference_native(rows, index, weight, order, starts)[0]) == pytest.approx(value, rel=1e-6)


def test_differences_of_rows_in_another_order_of_memory():
    graph, rows = random_graph(50, 5), noise(7, 50).t()
    assert not rows.is_contiguous()
    _, gradient = mean_difference_native(rows, *graph)
    assert torch.equal(gradient, mean_difference_native(rows.contiguous(), *graph)[1])


def run_similarity() -> list[torch.Tensor]:
    image = noise(37, 50, 3).requires_grad_()
    similarity = ssim_map_native(image, noise(37, 50, 3, seed=1))
    return [similarity, *torch.autograd.grad(similarity, image, noise(37, 50, 3, seed=2))]


def run_photometric() -> list[torch.Tensor]:
    image = noise(37, 50, 3).requires_grad_()
    loss, errors = photometric_native(image, noise(37, 50, 3, seed=1), 0.3, maps=True)
    return [loss, errors, *torch.autograd.grad(loss, image)]


def run_harmonics() -> list[torch.Tensor]:
    coefficients = noise(101, 16, 3).requires_grad_()
    colors = evaluate_sh_native(3, noise(101, 3, seed=1) - 0.5, coefficients)
    return [colors, *torch.autograd.grad(colors, coefficients, noise(101, 3, seed=2))]


def run_differences() -> list[torch.Tensor]:
    return list(mean_difference_native(noise(203, 32), *random_graph(203, 20)))


def run_planes() -> list[torch.Tensor]:
    leaves = [tensor.requires_grad_() for tensor in plane_inputs(1300, 16, (9, 18))]
    features = plane_features_native(leaves[0], leaves[1:3], leaves[3:])
    return [features, *torch.autograd.grad(features, leaves, noise(1300, 32, seed=2))]


def run_decoder() -> list[torch.Tensor]:
    composited, rays, *weights = decoder_inputs(37, 61, 9)
    leaves = [tensor.requires_grad_() for tensor in (composited, *weights)]
    rgb = decode_native(composited, rays, *weights, True)
    return [rgb, *torch.autograd.grad(rgb, leaves, noise(37, 61, 3, seed=2))]


def run_heads() -> list[torch.Tensor]:
    leaves = [tensor.requires_grad_() for tensor in heads_inputs(2000, 32, 32, (3, 4, 1))]
    values = evaluate_heads(heads_native, leaves)
    return [*values, *torch.autograd.grad([one.square().sum() for one in values], leaves)]


def run_statistics() -> list[torch.Tensor]:
    sums, counts, gradient, visible, rows = statistics_inputs(300, 411)
    add_gradients_native(sums, counts, gradient, visible, 30, 17, rows)
    return [sums, counts]


RUNS = [
    run_similarity,
    run_photometric,
    run_harmonics,
    run_differences,
    run_planes,
    run_decoder,
    run_heads,
    run_statistics,
]


@pytest.mark.parametrize("run", RUNS)
def test_any_number_of_threads_gives_the_same_bits(run: Callable[[], list[torch.Tensor]]):
    torch.set_num_threads(1)
    expected = run()
    for threads in (2, 7, 300):
        torch.set_num_threads(threads)
        assert all(torch.equal(one, other) for one, other in zip(run(), expected, strict=True))


def test_a_gaussians_colour_does_not_depend_on_the_others():
    directions, coefficients = noise(70, 3) - 0.5, noise(70, 16, 3, seed=1)
    together = evaluate_sh_native(3, directions, coefficients)
    for start, end in ((0, 1), (17, 70), (3, 34)):
        alone = evaluate_sh_native(3, directions[start:end], coefficients[start:end])
        assert torch.equal(alone, together[start:end])


def test_the_kernels_are_used_where_they_can_be_and_the_twins_elsewhere(monkeypatch):
    """float64, a gradient the kernels do not give, and the user's choice lead to the twins."""
    used: list[str] = []

    def note(module, name):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, **k: (used.append(name), function(*a, **k))[1])

    for module, names in (
        (losses, ("ssim_map_native", "ssim_map_torch", "photometric_native", "photometric_loss_torch")),
        (sh, ("evaluate_sh_native", "evaluate_sh_torch")),
        (embedding_smoothness, ("mean_difference_native", "mean_difference_torch")),
        (hexplane, ("plane_features_native", "plane_features_torch")),
        (deformation, ("heads_native", "evaluate_torch")),
        (heads, ("decode_native", "decode_torch")),
        (gaussian_set, ("add_gradients_native", "add_gradients_torch")),
    ):
        for name in names:
            note(module, name)

    def call(dtype: torch.dtype, second_gradient: bool = False) -> list[str]:
        used.clear()
        image, directions = noise(9, 9, 3).to(dtype), (noise(4, 3) - 0.5).to(dtype)
        losses.ssim(noise(9, 9, 3, seed=1).to(dtype), image.requires_grad_(second_gradient))
        with monkeypatch.context() as patch:  # the twin of the loss asks for the similarity itself
            patch.setattr(losses, "ssim_map", torch.mul)
            losses.photometric_loss(noise(9, 9, 3, seed=1).to(dtype), image, 0.2)
        sh.evaluate_sh(1, directions.requires_grad_(second_gradient), noise(4, 4, 3).to(dtype))
        embedding_smoothness.EmbeddingSmoothness(2, 1.0)(noise(4, 5).to(dtype), directions.detach())
        hexplane.HexPlane(torch.tensor([[0.0] * 3, [1.0] * 3]), 2, 3, (1,), 2).to(dtype)(directions.detach(), 0.5)
        composited, rays, *_ = (tensor.to(dtype) for tensor in decoder_inputs(2, 2, 9))
        deformation.DeformationHeads(16, 16, {"means": 3}).to(dtype)(noise(2, 16).to(dtype))
        heads.FeatureDecoder("clamp").to(dtype)(composited, rays.requires_grad_(second_gradient))
        tensors = {"means": noise(2, 3), "scales": noise(2, 3), "quats": noise(2, 4), "opacities": noise(2)}
        gaussians = gaussian_set.GaussianSet(tensors).to(dtype)
        gaussians.accumulate_gradients(noise(2, 2).to(dtype), torch.tensor([True, False]), 4, 4)
        return list(used)

    native = [
        "ssim_map_native",
        "photometric_native",
        "evaluate_sh_native",
        "mean_difference_native",
        "plane_features_native",
        "heads_native",
        "decode_native",
        "add_gradients_native",
    ]
    twins = [
        "ssim_map_torch",
        "photometric_loss_torch",
        "evaluate_sh_torch",
        "mean_difference_torch",
        "plane_features_torch",
        "evaluate_torch",
        "decode_torch",
        "add_gradients_torch",
    ]
    assert call(torch.float32) == native
    assert call(torch.float64) == twins
    assert call(torch.float32, second_gradient=True) == [*twins[:3], *native[3:6], twins[6], native[7]]
    with torch.no_grad():
        assert call(torch.float32, second_gradient=True) == native
    monkeypatch.setenv("MOEGS_RASTER", "torch")
    assert call(torch.float32) == twins


def test_gradients_the_kernels_do_not_give_are_refused():
    image = noise(4, 4, 3)
    with pytest.raises(ValueError, match="detach it"):
        ssim_map_native(image, image.clone().requires_grad_())
    with pytest.raises(ValueError, match="detach it"):
        photometric_native(image, image.clone().requires_grad_(), 0.2, maps=False)
    with pytest.raises(ValueError, match="detach them"):
        evaluate_sh_native(0, noise(2, 3).requires_grad_(), noise(2, 1, 3))
    composited, rays, *weights = decoder_inputs(2, 2, 9)
    with pytest.raises(ValueError, match="detach them"):
        decode_native(composited, rays.requires_grad_(), *weights, True)


def test_tensors_the_kernels_cannot_read_are_refused():
    with pytest.raises(ValueError, match=r"expected target of shape \[4, 4, 3\]"):
        ssim_map_native(noise(4, 4, 3), noise(4, 5, 3))
    with pytest.raises(ValueError, match="expected sh as torch.float32"):
        evaluate_sh_native(0, noise(2, 3), noise(2, 1, 3).double())
    index, weight, order, starts = random_graph(6, 2)
    with pytest.raises(ValueError, match="expected index as torch.int64"):
        mean_difference_native(noise(6, 3), index.int(), weight, order, starts)
    composited, rays, *weights = decoder_inputs(2, 2, 8)
    with pytest.raises(ValueError, match=r"expected features of shape \[2, 2, 9\]"):
        decode_native(composited, rays, *weights, True)
    with pytest.raises(ValueError, match="multiples of 16, found 8 and 16"):
        evaluate_heads(heads_native, heads_inputs(2, 8, 16, (3,)))
    tensors = heads_inputs(2, 16, 16, (3,))
    tensors[3] = tensors[3][:8]
    with pytest.raises(ValueError, match=r"expected hidden weight of shape \[16, 16\]"):
        evaluate_heads(heads_native, tensors)
    sums, counts, gradient, visible, _ = statistics_inputs(3, 5)
    for rows in ([0, 2, 1], [1, 1, 2], [-1, 0, 1], [3, 4, 5]):
        with pytest.raises(ValueError, match="rows that ascend"):
            add_gradients_native(sums, counts, gradient, visible, 4, 4, torch.tensor(rows))
