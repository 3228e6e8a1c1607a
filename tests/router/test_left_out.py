"""Pictures of an ensemble without some experts or Gaussians, of a model that stays as it is."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from moegs_ns.router.fused import FusedModel, fuse
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.router.pruning import remove_gaussians
from tests.router.building import make_camera, make_mixture, randomise_router

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture(params=["volume-aware", "pixel", "volume"])
def model(runs: list[Path], request: pytest.FixtureRequest) -> MixtureModel:
    """STG and 4DGaussians, 60 and 50 Gaussians."""
    mixture = make_mixture(runs, router=request.param, background="black").eval()
    randomise_router(mixture)
    return mixture


def as_fused(mixture: MixtureModel) -> FusedModel:
    generator = torch.Generator().manual_seed(3)
    shares = [torch.rand(expert.num_gaussians, generator=generator) for expert in mixture.expert_models]
    return fuse(mixture, shares, {}).eval()


def some_gaussians(model: MixtureModel | FusedModel) -> torch.Tensor:
    """About half of them, of every expert."""
    count = sum(expert.num_gaussians for expert in model.expert_models)
    return torch.rand(count, generator=torch.Generator().manual_seed(1)) < 0.5


def test_with_nothing_left_out_nothing_is_different(model: MixtureModel) -> None:
    camera = make_camera(0.3)
    for whole in (model, as_fused(model)):
        usual = whole.get_outputs_for_camera(camera)
        again = whole.outputs_without(camera)
        assert usual.keys() == again.keys()
        for name, image in usual.items():
            assert torch.equal(image, again[name]), name


@pytest.mark.parametrize("router", ["volume-aware", "pixel"])
def test_a_mixture_without_an_expert_is_the_other(runs: list[Path], router: str) -> None:
    model = make_mixture(runs, router=router, distrust=2.0, eval_temperature=0.1).eval()
    outputs = model.outputs_without(make_camera(0.3), experts=["stg"])
    assert outputs["gate_stg"].abs().max() == 0
    torch.testing.assert_close(outputs["rgb"], outputs["expert_4dgaussians"])
    assert outputs["expert_stg"].abs().max() > 0  # alone it can still be looked at


def test_a_union_without_an_expert_shows_nothing_of_it(runs: list[Path]) -> None:
    mixture = make_mixture(runs, router="volume", background="black").eval()
    fused = as_fused(mixture)
    for whole in (mixture, fused):
        factors = whole.outputs_without(make_camera(0.3), experts=["4dgaussians"])
        with torch.no_grad():
            gone = deepcopy(whole)
            for one in gone.experts[1].gaussian_sets():
                one.params["opacities"].fill_(-30.0)
        expected = gone.get_outputs_for_camera(make_camera(0.3))
        torch.testing.assert_close(factors["rgb"], expected["rgb"], atol=1e-5, rtol=0)


def test_gaussians_left_out_look_as_if_they_were_pruned(runs: list[Path]) -> None:
    model = make_mixture(runs).eval()
    randomise_router(model)
    hidden, camera = some_gaussians(model), make_camera(0.6)
    without = model.outputs_without(camera, gaussians=hidden)
    assert not torch.equal(without["rgb"], model.get_outputs_for_camera(camera)["rgb"])
    remove_gaussians(model, hidden)
    for name, image in model.get_outputs_for_camera(camera).items():
        torch.testing.assert_close(without[name], image, atol=1e-5, rtol=1e-5, msg=name)


def test_looking_leaves_the_model_as_it_was(model: MixtureModel) -> None:
    camera = make_camera(0.3)
    for whole in (model, as_fused(model)):
        state, before = deepcopy(whole.state_dict()), whole.get_outputs_for_camera(camera)
        whole.outputs_without(camera, experts=["stg"], gaussians=some_gaussians(whole))
        for name, value in whole.state_dict().items():
            assert value == state[name] if isinstance(value, str) else torch.equal(value, state[name]), name
        after = whole.get_outputs_for_camera(camera)
        assert all(torch.equal(image, after[name]) for name, image in before.items())


def test_choices_that_cannot_be_are_refused(model: MixtureModel) -> None:
    for whole in (model, as_fused(model)):
        with pytest.raises(ValueError, match=r"among \['stg', '4dgaussians'\], found \['ex4dgs'\]"):
            whole.outputs_without(make_camera(), experts=["ex4dgs"])
        with pytest.raises(ValueError, match="at least one of the experts"):
            whole.outputs_without(make_camera(), experts=["4dgaussians", "stg"])
        with pytest.raises(ValueError, match=r"one choice for each of 110 stored Gaussians, found \[3\]"):
            whole.outputs_without(make_camera(), gaussians=torch.ones(3, dtype=torch.bool))


def test_trajectories_of_an_ensemble_are_those_of_its_experts(model: MixtureModel) -> None:
    times, chosen = [0.0, 0.4, 1.0], torch.tensor([2, 60, 109])
    positions, opacities = model.trajectories(times, chosen)
    first, second = (expert.trajectories(times) for expert in model.expert_models)
    torch.testing.assert_close(positions, torch.cat([first[0], second[0]], dim=1)[:, chosen])
    torch.testing.assert_close(opacities, torch.cat([first[1], second[1]], dim=1)[:, chosen])


def test_pruning_for_a_preview_is_pruning(model: MixtureModel) -> None:
    if model.config.router == "volume":
        assert model.pruning_criteria() == []
        return
    gates = {"gate", "gate*responsibility"}
    assert gates.isdisjoint(model.pruning_criteria()) == (model.config.router == "pixel")
    scores = model.pruning_scores([make_camera(0.0), make_camera(1.0)], "contribution")
    hidden = model.pruned_at(scores, 0.2)
    assert hidden.sum() == 22 and scores[hidden].max() <= scores[~hidden].min()
