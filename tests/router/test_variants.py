"""The other routers, and what the paper's may see beyond it: invariants, and values against a few lines of numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from moegs_ns.router.comparisons import COMPARED_CHANNELS, comparison_channels, disagreement
from moegs_ns.router.interface import RouterView
from moegs_ns.router.pixel import PixelRouter
from moegs_ns.router.routers import RouterOptions, make_router
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.splats.splats import concatenate
from tests.router.building import HEIGHT, WIDTH, make_camera, make_expert, make_mixture, randomise_router, save_run
from tests.router.views import make_view

pytestmark = pytest.mark.usefixtures("native")

EVERYTHING = ("alpha", "depth", "color")
VARIANTS = {
    "pixel": {"router": "pixel"},
    "volume": {"router": "volume"},
    "compare": {"compare": EVERYTHING, "kernel_size": 3, "hidden": (8,)},
    "distrust": {"distrust": 10.0},
}


def randomise(model: torch.nn.Module, scale: float = 0.5) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.router.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_renders_learns_and_sums_to_one(runs: list[Path], variant: str) -> None:
    model = make_mixture(runs, **VARIANTS[variant])
    randomise(model)
    outputs = model.eval().get_outputs_for_camera(make_camera(0.3))
    gates = torch.stack([outputs[f"gate_{name}"] for name in model.expert_names])
    torch.testing.assert_close(gates.sum(dim=0), torch.ones(HEIGHT, WIDTH, 1))
    assert gates.min() >= 0 and gates.std() > 0.01
    assert {outputs[name].shape for name in ("accumulation", "depth")} == {(HEIGHT, WIDTH, 1)}
    picture, seen = model.training_view(make_camera(0.3), [])
    assert torch.equal(picture, outputs["rgb"]) and torch.equal(seen, gates[..., 0])
    model.train().get_outputs(make_camera(0.3))["rgb"].square().sum().backward()
    groups = model.get_param_groups()
    learnt = [parameter for group in groups.values() for parameter in group]
    assert {id(one) for one in learnt} == {id(one) for one in model.router.parameters()}
    for parameter in learnt:
        assert parameter.grad is not None and parameter.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.experts.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_experts_look_the_same_beside_every_router(runs: list[Path], variant: str) -> None:
    model = make_mixture(runs, **VARIANTS[variant]).eval()
    randomise(model)
    usual = make_mixture(runs).eval()
    outputs, expected = (one.get_outputs_for_camera(make_camera(0.3)) for one in (model, usual))
    for name in model.expert_names:
        assert torch.equal(outputs[f"expert_{name}"], expected[f"expert_{name}"])


def test_an_unknown_router_is_refused() -> None:
    with pytest.raises(ValueError, match="'volume-aware', 'pixel' or 'volume', found 'voxel'"):
        make_router(RouterOptions(router="voxel"), [1])  # type: ignore[arg-type]


# -- pixel ---------------------------------------------------------------------------------------------------------


def test_the_pixel_router_equals_numpy_and_sees_time_and_direction_only() -> None:
    torch.manual_seed(0)
    router = PixelRouter(3, hidden=(5,))
    view = make_view(torch.zeros(3, 4, 6, 0), torch.randn(6, 4, 6), time=0.7)
    assert torch.equal(router.logits(view), torch.zeros(3, 4, 6))  # all experts count the same at first
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.normal_()
    first, bias, last, last_bias = (parameter.detach().numpy() for parameter in router.parameters())
    expected = np.empty((3, 4, 6))
    for row, column in np.ndindex(4, 6):
        inputs = np.append(view.rays[3:, row, column].numpy(), 0.7)
        expected[:, row, column] = last @ np.maximum(first @ inputs + bias, 0) + last_bias
    np.testing.assert_allclose(router.logits(view).detach().numpy(), expected, atol=1e-5)
    other = make_view(torch.zeros(3, 4, 6, 0), view.rays + torch.tensor([9.0, 9, 9, 0, 0, 0])[:, None, None], 0.7, 1)
    assert torch.equal(router.logits(other), router.logits(view))
    assert not torch.equal(router.logits(make_view(view.weights, view.rays, time=0.1)), router.logits(view))


def test_the_pixel_router_splats_no_weights(runs: list[Path]) -> None:
    model = make_mixture(runs, router="pixel")
    view, _ = model.eval().look(make_camera(0.3))
    assert view.weights.shape == (2, HEIGHT, WIDTH, 0)
    assert set(model.get_param_groups()) == {"network"}


# -- volume --------------------------------------------------------------------------------------------------------


def test_the_volume_router_with_all_gates_1_is_the_union_render(runs: list[Path]) -> None:
    model = make_mixture(runs, router="volume").eval()
    with torch.no_grad():
        for weights in model.router.gaussian_weights:
            weights.base.fill_(40.0)  # sigmoid(40) is 1 in single precision
    camera = make_camera(0.3)
    found = model.get_outputs_for_camera(camera)
    instant = model.instant(camera)
    union, _ = concatenate([expert.splats_at(0.3) for expert in model.expert_models])
    expected = rasterize(
        union,
        instant.channels,
        instant.viewmat,
        instant.intrinsics,
        WIDTH,
        HEIGHT,
        settings=instant.settings[0],
        depth=True,
    )
    assert len(set(instant.settings)) == 1
    torch.testing.assert_close(found["rgb"], expected.images[0].clamp(0, 1), atol=1e-6, rtol=0)
    torch.testing.assert_close(found["depth"][..., 0], expected.depths[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found["accumulation"][..., 0], expected.alphas[0], atol=1e-6, rtol=0)


def test_an_expert_whose_opacities_are_gated_off_is_not_there(runs: list[Path]) -> None:
    model = make_mixture(runs, router="volume").eval()
    with torch.no_grad():
        for weights, value in zip(model.router.gaussian_weights, (40.0, -40.0), strict=True):
            weights.base.fill_(value)
    outputs = model.get_outputs_for_camera(make_camera(0.3))
    torch.testing.assert_close(outputs["rgb"], outputs["expert_stg"], atol=1e-6, rtol=0)
    seen = outputs["accumulation"] > 0.01
    assert (outputs["gate_stg"][seen] > 0.999).all()


def test_opacity_gates_follow_w_and_w_time(runs: list[Path]) -> None:
    model = make_mixture(runs, router="volume")
    randomise_router(model)
    weights = model.router.gaussian_weights
    expected = [1 / (1 + torch.exp(-(one.base[:, 0] + 0.25 * one.time[:, 0]))) for one in weights]
    torch.testing.assert_close(model.router.opacity_gates(0.25), torch.cat(expected))


def test_experts_that_cannot_be_one_set_are_refused(tmp_path: Path) -> None:
    runs = [save_run(tmp_path / name, make_expert(name, 1), name) for name in ("4dgaussians", "stg")]
    white = save_run(tmp_path / "white", make_expert("stg", 2, background="white"), "stg")
    full = save_run(tmp_path / "full", make_expert("stg", 3, head="full"), "stg")
    with pytest.raises(ValueError, match="different backgrounds.*--pipeline.model.background black"):
        make_mixture([*runs, white], router="volume")
    make_mixture([*runs, white], router="volume", background="black")
    with pytest.raises(ValueError, match="'stg' composites features"):
        make_mixture([runs[0], full], router="volume")


def test_groups_of_projection_make_one_picture(tmp_path: Path) -> None:
    """The mip filter of Ex4DGS and another near plane: each Gaussian is projected as in its own expert."""
    families = ("ex4dgs", "stg")
    runs = [save_run(tmp_path / name, make_expert(name, seed), name) for seed, name in enumerate(families)]
    model = make_mixture(runs, router="volume").eval()
    with torch.no_grad():
        model.router.gaussian_weights[1].base.fill_(-40.0)
        model.router.gaussian_weights[0].base.fill_(40.0)
    outputs = model.get_outputs_for_camera(make_camera(0.3))
    torch.testing.assert_close(outputs["rgb"], outputs["expert_ex4dgs"], atol=1e-6, rtol=0)


# -- comparisons ---------------------------------------------------------------------------------------------------


def test_comparisons_equal_numpy() -> None:
    view = make_view(torch.zeros(3, 4, 5, 3), torch.zeros(6, 4, 5), seed=4)
    view.alphas[:, 0, 0] = 0  # nothing there
    view.depths[:, 0, 0] = 0
    found = comparison_channels(view, EVERYTHING).numpy()
    assert found.shape == (3, sum(COMPARED_CHANNELS[name] for name in EVERYTHING), 4, 5)
    alphas, depths, pictures = view.alphas.numpy(), view.depths.numpy(), view.pictures.numpy()
    for expert, row, column in np.ndindex(3, 4, 5):
        here = (slice(None), row, column)
        alpha, depth = alphas[here], depths[here]
        difference = pictures[here] - pictures[here].mean(axis=0)
        lengths = np.linalg.norm(difference, axis=1)
        relative = 0.0
        if alpha.sum() > 0:
            mean = (alpha * depth).sum() / alpha.sum()
            relative = alpha[expert] * np.clip((depth[expert] - mean) / mean, -1, 1)
        expected = [alpha[expert], alpha[expert] - alpha.mean(), relative]
        expected += [*difference[expert], lengths[expert], lengths.mean()]
        np.testing.assert_allclose(found[expert, :, row, column], expected, atol=1e-5)


def test_copies_of_one_expert_have_nothing_to_compare(tmp_path: Path) -> None:
    expert = make_expert("stg", 4)
    run = save_run(tmp_path / "run", expert, "stg")
    model = make_mixture([run] * 3, **VARIANTS["compare"]).eval()
    randomise_router(model)
    outputs = model.get_outputs_for_camera(make_camera(0.3))
    torch.testing.assert_close(outputs["rgb"], expert.eval().get_outputs_for_camera(make_camera(0.3))["rgb"])


def test_permuting_experts_permutes_what_is_compared() -> None:
    view = make_view(torch.rand(3, 4, 5, 3), torch.rand(6, 4, 5), seed=4)
    order = [2, 0, 1]
    permuted = RouterView(
        view.time, view.rays, view.weights[order], view.pictures[order], view.alphas[order], view.depths[order]
    )
    torch.testing.assert_close(comparison_channels(permuted, EVERYTHING), comparison_channels(view, EVERYTHING)[order])


def test_depths_that_are_not_there_are_missed() -> None:
    view = make_view(torch.rand(2, 4, 5, 3), torch.rand(6, 4, 5))
    blind = RouterView(view.time, view.rays, view.weights, view.pictures, view.alphas, None)
    with pytest.raises(ValueError, match="expected depths to compare"):
        comparison_channels(blind, ("depth",))


# -- distrust ------------------------------------------------------------------------------------------------------


def test_disagreement_equals_numpy() -> None:
    pictures = torch.rand(3, 6, 7, 3, generator=torch.Generator().manual_seed(0))
    found = disagreement(pictures, window=3).numpy()
    difference = np.abs(pictures.numpy() - pictures.numpy().mean(axis=0)).mean(axis=-1)
    for expert, row, column in np.ndindex(3, 6, 7):
        window = difference[expert, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        np.testing.assert_allclose(found[expert, row, column], window.mean(), atol=1e-6)


def test_distrust_is_subtracted_from_the_logits(tmp_path: Path) -> None:
    runs = [save_run(tmp_path / str(seed), make_expert("stg", seed), "stg") for seed in range(3)]
    usual, distrustful = make_mixture(runs), make_mixture(runs, distrust=4.0)
    for model in (usual, distrustful):
        randomise_router(model)
        model.router.network.load_state_dict(usual.router.network.state_dict())
    camera = make_camera(0.3)
    view, _ = usual.eval().look(camera)
    logits = usual.router.logits(view)
    expected = torch.softmax(logits - 4 * disagreement(view.pictures), dim=0)
    outputs = distrustful.eval().get_outputs_for_camera(camera)
    for index, name in enumerate(distrustful.expert_names):
        torch.testing.assert_close(outputs[f"gate_{name}"][..., 0], expected[index])
    assert (expected - torch.softmax(logits, dim=0)).abs().max() > 0.01


def test_of_two_experts_neither_is_distrusted(runs: list[Path]) -> None:
    """Both are as far from their mean."""
    model = make_mixture(runs, distrust=50.0).eval()
    outputs = model.get_outputs_for_camera(make_camera(0.3))
    torch.testing.assert_close(outputs["gate_stg"], torch.full((HEIGHT, WIDTH, 1), 0.5), atol=1e-5, rtol=0)


def test_copies_of_one_expert_are_trusted_alike(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", make_expert("stg", 4), "stg")
    model = make_mixture([run] * 3, distrust=50.0).eval()
    outputs = model.get_outputs_for_camera(make_camera(0.3))
    third = torch.full((HEIGHT, WIDTH, 1), 1 / 3)
    for name in model.expert_names:
        torch.testing.assert_close(outputs[f"gate_{name}"], third)
