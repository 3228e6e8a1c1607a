"""Late in STG's training a Gaussian learns its rotation or its rate of rotation, not both."""

import copy

import numpy as np
import pytest
import torch

from moegs_ns.experts.stg import STGModel
from tests.experts.training import make_optimizers, train_step

OPTIONS = {
    "turning_start": 3,
    "turning_stop": 6,
    "turning_speed": 0.3,
    "turning_sizes": (0.2, 0.6),
    "turning_opacity": 0.7,
    "densify_stop": 0,
}


@pytest.fixture(autouse=True)
def readable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_RASTER", "torch")


@pytest.fixture
def varied(stg) -> STGModel:
    """Fast and slow, small, middle-sized and large, opaque and faint Gaussians in all combinations."""
    model = stg(seeds=12, seed_copies=1, **OPTIONS)
    g = model.gaussians
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    for row in range(12):
        fast, size, opaque = row % 2, row // 2 % 3, row // 6
        linear = generator.dirichlet([1, 1, 1]) * (0.4 if fast else 0.2) * generator.choice([-1, 1], 3)
        g["motion"].data[row, :3] = torch.from_numpy(linear)
        g["scales"].data[row] = torch.tensor([0.05, (0.15, 0.4, 0.8)[size], 0.1]).log()
        g["opacities"].data[row] = 2.0 if opaque else 0.0
    g["motion"].data[:, 3:] = 5.0  # only the linear part counts
    return model


def run(model: STGModel, camera, steps: int, start: int = 0, optimizers=None):
    optimizers = optimizers or make_optimizers(model)
    target = torch.rand(16, 24, 3, generator=torch.Generator().manual_seed(1))
    for step in range(start, start + steps):
        train_step(model, optimizers, step, [camera(0.3), camera(0.3)], target)
    return optimizers


def test_rates_are_kept_where_fast_middle_sized_and_opaque(varied: STGModel, camera) -> None:
    optimizers = run(varied, camera, 2)
    before = varied.gaussians["rotation_rate"].detach().clone()
    seen = before.any(dim=1)
    assert seen.sum() >= 10
    g = {name: value.detach().double().numpy() for name, value in varied.gaussians.params.items()}
    run(varied, camera, 1, 2, optimizers)
    size = np.exp(g["scales"]).max(axis=1)
    qualify = (np.abs(g["motion"][:, :3]).sum(axis=1) > 0.3) & (size > 0.2) & (size < 0.6)
    qualify &= 1 / (1 + np.exp(-g["opacities"])) > 0.7
    assert qualify.sum() == 1 and seen[torch.from_numpy(qualify)].all()
    assert (varied.gaussians["rotation_rate"].any(dim=1).numpy() == qualify).all()
    state = optimizers.optimizers["rotation_rate"].state[varied.gaussians["rotation_rate"]]
    for name in ("exp_avg", "exp_avg_sq"):
        assert (state[name].any(dim=1).numpy() == qualify).all()


def test_then_each_gaussian_learns_one_of_the_two_until_the_end(varied: STGModel, camera) -> None:
    optimizers = run(varied, camera, 3)
    g = varied.gaussians
    turning = g["rotation_rate"].any(dim=1)
    assert 0 < turning.sum() < 12
    for step in (3, 4, 5):
        run(varied, camera, 1, step, optimizers)
        assert torch.equal(g["rotation_rate"].any(dim=1), turning)  # zeros stay zeros, whatever the optimizer does
        assert not g["rotation_rate"].grad[~turning].any() and g["rotation_rate"].grad[turning].any()
        assert not g["quats"].grad[turning].any() and g["quats"].grad[~turning].any()
    run(varied, camera, 1, 6, optimizers)
    assert g["rotation_rate"].grad[~turning].any() and g["quats"].grad[turning].any()


def test_pictures_do_not_change_by_it_and_a_run_may_be_resumed_within(varied: STGModel, stg, camera) -> None:
    optimizers = run(varied, camera, 4)
    trained = varied.train().get_outputs(camera(0.7))["rgb"].detach()
    assert torch.equal(varied.eval().get_outputs(camera(0.7))["rgb"].clamp(0, 1), trained.clamp(0, 1))
    varied.train()
    saved = copy.deepcopy((varied.state_dict(), {n: o.state_dict() for n, o in optimizers.optimizers.items()}))
    run(varied, camera, 1, 4, optimizers)
    resumed = stg(seeds=12, seed_copies=1, **OPTIONS)
    own = make_optimizers(resumed)
    resumed.load_state_dict(saved[0])
    for name, optimizer in own.optimizers.items():
        optimizer.load_state_dict(saved[1][name])
    run(resumed, camera, 1, 4, own)
    for name, value in varied.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_off_by_default(stg, camera) -> None:
    model = stg()
    optimizers = run(model, camera, 4)
    assert model.gaussians["rotation_rate"].any(dim=1).sum() > 12
    assert not model.turning_is_settled and optimizers
