"""Scores of Gaussians against finite differences, full differentiation and sums over pixels."""

from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.router.gate import gate
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.router.pruning_options import Criterion
from moegs_ns.router.pruning_scores import score_gaussians
from tests.router.building import HEIGHT, WIDTH, make_camera, make_mixture, randomise_router

pytestmark = pytest.mark.usefixtures("native")

FIRST = 60  # Gaussians of the first expert: two for each of 30 seeds


@pytest.fixture
def model(runs: list[Path]) -> MixtureModel:
    model = make_mixture(runs).eval()
    randomise_router(model)
    return model


def away() -> Cameras:
    """Looks where nothing is."""
    camera = make_camera(0.3)
    camera.camera_to_worlds[0, :, 3] = torch.tensor([0.0, 0.0, -500.0])
    return camera


def values(model: MixtureModel, criterion: Criterion, *cameras: Cameras, **options: float) -> Tensor:
    return score_gaussians(model, cameras or (make_camera(0.3),), criterion, **options).values


@torch.no_grad()
def own_gate_sum(model: MixtureModel, expert: int, temperature: float) -> float:
    view, _ = model.look(make_camera(0.3))
    return float(gate(model.router.logits(view).double(), temperature)[expert].sum())


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_gate_scores_equal_finite_differences(model: MixtureModel, temperature: float) -> None:
    found = values(model, "gate", temperature=temperature)
    step = 3e-2
    checked = 0
    for row in (0, 7, 19, FIRST + 2, FIRST + 25):
        expert, own = (0, row) if row < FIRST else (1, row - FIRST)
        weights = model.router.gaussian_weights[expert]
        slopes = []
        for parameter, column in ((weights.base, 0), (weights.base, 1), (weights.time, 0)):
            with torch.no_grad():
                parameter[own, column] += step
                above = own_gate_sum(model, expert, temperature)
                parameter[own, column] -= 2 * step
                below = own_gate_sum(model, expert, temperature)
                parameter[own, column] += step
            slopes.append((above - below) / (2 * step))
        expected = float(torch.tensor(slopes).norm())
        assert float(found[row]) == pytest.approx(expected, rel=0.03, abs=2e-3)
        checked += expected > 0.05
    assert checked >= 2


def test_gate_scores_equal_differentiation_through_everything(runs: list[Path]) -> None:
    """Also where the network sees neighbours and comparisons of experts; and the mean is over all views."""
    model = make_mixture(runs, compare=("alpha", "depth", "color"), kernel_size=3, eval_temperature=0.7).eval()
    randomise_router(model)
    cameras = [make_camera(0.3), make_camera(0.8), away()]
    expected = torch.zeros(FIRST + 50)
    for camera in cameras:
        view, _ = model.look(camera)
        gates = torch.softmax(model.router.logits(view) / 0.7, dim=0)
        norms = []
        for expert, one in enumerate(model.router.gaussian_weights):
            pulls = torch.autograd.grad(gates[expert].sum(), [one.base, one.time], retain_graph=True)
            norms.append(torch.cat(pulls, dim=1).square().sum(dim=1).sqrt())
        expected += torch.cat(norms) / 3
    found = values(model, "gate", *cameras)
    assert expected.max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_contributions_and_responsibilities_equal_sums_over_pixels(model: MixtureModel) -> None:
    cameras = [make_camera(0.3), make_camera(0.8)]
    gated, visible, won = (torch.zeros(FIRST + 50) for _ in range(3))
    for camera in cameras:
        view, instant = model.look(camera)
        gates = torch.softmax(model.router.logits(view), dim=0).detach()
        alone = instant.rasterize(channels=torch.eye(FIRST + 50)).images  # T α of every Gaussian
        gated += torch.einsum("khw,khwn->n", gates, alone)
        visible += alone.sum(dim=(0, 1, 2))
        for expert in range(2):
            won += alone[expert][gates.argmax(dim=0) == expert].sum(dim=0)
    scores = score_gaussians(model, cameras, "contribution")
    torch.testing.assert_close(scores.values, gated / 2, rtol=1e-3, atol=1e-5)
    seen = visible > 1e-3
    assert seen.sum() > 40
    torch.testing.assert_close(scores.responsibilities[seen], (gated / visible)[seen], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(scores.winning[seen], (won / visible)[seen], rtol=1e-3, atol=1e-4)
    assert scores.winning.min() >= 0 and scores.responsibilities.max() <= 1 and scores.views == 2


@pytest.mark.parametrize("criterion", ["gate", "contribution", "gate*responsibility"])
def test_a_view_that_sees_nothing_counts_and_a_gaussian_never_seen_scores_nothing(
    model: MixtureModel, criterion: Criterion
) -> None:
    with torch.no_grad():
        model.expert_models[0].gaussians["means"][3] = torch.tensor([0.0, 0.0, 1000.0])  # behind the camera
    one, two = values(model, criterion), values(model, criterion, make_camera(0.3), away())
    assert one[3] == 0 and one.max() > 0
    torch.testing.assert_close(two, one / 2)


def test_scores_follow_a_permutation_of_gaussians(model: MixtureModel) -> None:
    order = torch.randperm(FIRST, generator=torch.Generator().manual_seed(2))
    whole = torch.cat([order, torch.arange(FIRST, FIRST + 50)])
    before = {name: values(model, name) for name in ("gate", "contribution", "gate*responsibility", "opacity")}
    weights = model.router.gaussian_weights[0]
    for parameter in (*model.expert_models[0].gaussians.params.values(), *weights.parameters()):
        parameter.data = parameter.data[order]
    for name, expected in before.items():
        torch.testing.assert_close(values(model, name), expected[whole], rtol=1e-3, atol=1e-5)


def test_saturated_gates_hide_the_winner_from_eq_10_only(model: MixtureModel) -> None:
    with torch.no_grad():
        for expert, one in enumerate(model.router.gaussian_weights):
            one.base[:, 0] = 200.0 if expert == 0 else -200.0
    view, _ = model.look(make_camera(0.3))
    covered = view.alphas[0] > 0.9
    assert torch.softmax(model.router.logits(view), dim=0)[0][covered].min() == 1
    scores = score_gaussians(model, [make_camera(0.3)], "contribution")
    assert scores.winning[:FIRST].mean() > 0.5  # the first expert makes the picture where it shows something
    inside = (scores.winning > 0.99) & (torch.arange(FIRST + 50) < FIRST) & (scores.values > 1)
    assert inside.sum() >= 3
    soft = values(model, "gate", temperature=1000.0)[inside]
    assert values(model, "gate")[inside].median() < 1e-3
    assert soft.min() > 0  # a matter of temperature alone
    for criterion in ("contribution", "gate*responsibility"):
        found = values(model, criterion)
        assert found[inside].min() > found[FIRST:].median()


def test_unsaturated_gates_are_eq_10s_times_responsibility(model: MixtureModel) -> None:
    randomise_router(model, scale=0.01)  # logits closer than the temperature
    scores = score_gaussians(model, [make_camera(0.3)], "gate*responsibility", temperature=2.0)
    expected = values(model, "gate", temperature=2.0) * scores.responsibilities
    torch.testing.assert_close(scores.values, expected)


def test_opacity_is_the_largest_over_time_and_random_is_seeded(model: MixtureModel) -> None:
    cameras = [make_camera(time) for time in (0.0, 0.5, 1.0)]
    moments = [torch.cat([expert.splats_at(t).opacities for expert in model.expert_models]) for t in (0.0, 0.5, 1.0)]
    assert torch.equal(values(model, "opacity", *cameras), torch.stack(moments).amax(dim=0).detach())
    assert not torch.equal(moments[0], moments[2])
    first = values(model, "random", seed=1)
    assert torch.equal(first, values(model, "random", seed=1))
    assert not torch.equal(first, values(model, "random", seed=2))


def test_what_cannot_be_scored_is_refused(runs: list[Path], model: MixtureModel) -> None:
    with pytest.raises(ValueError, match="found the volume router"):
        values(make_mixture(runs, router="volume"), "contribution")
    pixel = make_mixture(runs, router="pixel").eval()
    with pytest.raises(ValueError, match="'gate' needs router weights of Gaussians"):
        values(pixel, "gate")
    assert values(pixel, "contribution").max() > 0
    with pytest.raises(ValueError, match="expected views to score Gaussians by, found none"):
        score_gaussians(model, [], "contribution")
    with pytest.raises(ValueError, match="found 'weight'"):
        values(model, "weight")  # type: ignore[arg-type]
    assert HEIGHT < WIDTH  # the cameras are not square: maps and images agree in their order
