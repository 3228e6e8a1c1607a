"""Training survives what no scene should hold: parameters stay finite whatever Gaussians and images there are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from moegs_ns.distill.loss import STUDENT_GATE, TEACHER_IMAGE, Distillation
from moegs_ns.experts.base import ExpertModel
from moegs_ns.router.fused import FusedModel, fuse
from moegs_ns.router.lifting import lift
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.training.optimizers import AdamConfig, RAdamConfig
from tests.experts.training import make_optimizers, train_step
from tests.router.building import HEIGHT, WIDTH, make_camera, make_expert, make_mixture, randomise_router, save_run

pytestmark = pytest.mark.slow

FAMILIES = ("stg", "4dgaussians", "ed3dgs", "ex4dgs")
STEPS = 8
#: Density control in nearly every step, and opacities reset, whatever a family calls it.
BUSY = {
    "densify_start": 0,
    "densify_interval": 2,
    "densify_stop": 100,
    "densify_gradient": 0.0,
    "opacity_reset_interval": 3,
    "error_prune_start": 0,
    "unseen_prune_start": 0,
    "error_extract_interval": 3,
    "prune_start": 0,
    "prune_interval": 2,
    "max_gaussians": 60,
}


def fill(name: str, value: float) -> Callable[[ExpertModel], None]:
    """Give every Gaussian the same raw value of every parameter whose name ends so."""

    def change(model: ExpertModel) -> None:
        for one in model.gaussian_sets():
            for own, parameter in one.params.items():
                if own.endswith(name):
                    parameter.fill_(value)

    return change


def half_of(change: Callable[[ExpertModel], None]) -> Callable[[ExpertModel], None]:
    """Of the Gaussians, every second one."""

    def partly(model: ExpertModel) -> None:
        before = [value.clone() for value in model.parameters()]
        change(model)
        for value, old in zip(model.parameters(), before, strict=True):
            value[::2] = old[::2]

    return partly


#: What befalls an expert's Gaussians, as raw parameters: logarithms of sizes, logits of opacities.
DISASTERS: dict[str, Callable[[ExpertModel], None]] = {
    "none": lambda model: None,
    "zero scales": fill("scales", -200.0),
    "one flat axis": lambda model: [one.params[name][..., 0].fill_(-200.0) for one in model.gaussian_sets()
                                    for name in one.params if name.endswith("scales")] and None,
    "huge scales": fill("scales", 20.0),
    "identical positions": fill("means", 0.25),
    "all behind the camera": fill("means", 1e3),
    "far away": fill("means", -1e8),
    "opacities 0": fill("opacities", -200.0),
    "opacities 1": fill("opacities", 200.0),
    "no rotation": fill("quats", 0.0),
    "half of no size": half_of(fill("scales", -200.0)),
    "half in one place": half_of(fill("means", 0.0)),
}  # fmt: skip


def black(_: Tensor) -> Tensor:
    return torch.zeros(HEIGHT, WIDTH, 3)


def same(picture: Tensor) -> Tensor:
    """What is shown already: no gradient."""
    return picture.detach().clone()


def grey(_: Tensor) -> Tensor:
    return torch.full((HEIGHT, WIDTH, 3), 0.5)


def hard_expert(family: str, disaster: str, **config: Any) -> ExpertModel:
    known = make_expert(family).config
    busy = {name: value for name, value in BUSY.items() if hasattr(known, name)}
    assert "max_gaussians" in busy
    model = make_expert(family, count=30, **{**busy, **config})
    with torch.no_grad():
        DISASTERS[disaster](model)
    return model


def assert_finite(model: torch.nn.Module) -> None:
    broken = [name for name, value in model.named_parameters() if not bool(value.isfinite().all())]
    assert not broken


def train_expert(model: ExpertModel, truth: Callable[[Tensor], Tensor]) -> None:
    optimizers = make_optimizers(model, AdamConfig(lr=1e-2))
    for step in range(30, 30 + STEPS):
        camera = make_camera(step % 5 / 4)
        with torch.no_grad():
            picture = model(camera)["rgb"]
        assert bool(picture.isfinite().all())
        train_step(model, optimizers, step, [camera], truth(picture))
        assert_finite(model)
    assert model.num_gaussians > 0


@pytest.mark.parametrize("disaster", DISASTERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_experts_survive_degenerate_gaussians(family: str, disaster: str) -> None:
    train_expert(hard_expert(family, disaster), grey)


@pytest.mark.parametrize("truth", [black, same], ids=["black images", "zero gradients"])
@pytest.mark.parametrize("disaster", ["none", "opacities 0"])
@pytest.mark.parametrize("family", FAMILIES)
def test_experts_survive_images_that_teach_nothing(
    family: str, disaster: str, truth: Callable[[Tensor], Tensor]
) -> None:
    train_expert(hard_expert(family, disaster, background="black"), truth)


ENSEMBLES = ("none", "zero scales", "identical positions", "all behind the camera", "opacities 0", "opacities 1")


def hard_runs(folder: Path, disaster: str) -> list[Path]:
    options = {"background": "black"}
    experts = {family: hard_expert(family, disaster, **options) for family in ("stg", "ex4dgs")}
    return [save_run(folder / family, expert, family) for family, expert in experts.items()]


def train_ensemble(model: MixtureModel | FusedModel, truth: Callable[[Tensor], Tensor], kind: type) -> None:
    optimizers = [kind(lr=1e-2).setup(group) for group in model.get_param_groups().values()]
    assert optimizers
    model.train()
    for step in range(STEPS):
        outputs = model.get_outputs(make_camera(step % 5 / 4))
        assert bool(outputs["rgb"].isfinite().all())
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = sum(model.get_loss_dict(outputs, {"image": truth(outputs["rgb"])}).values())
        if loss.requires_grad:  # of an empty view nothing may be left to learn
            loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        assert_finite(model)


@pytest.mark.parametrize("router", ["volume-aware", "volume"])
@pytest.mark.parametrize("disaster", ENSEMBLES)
def test_routers_survive(tmp_path: Path, disaster: str, router: str) -> None:
    for truth in (grey, black, same):
        model = make_mixture(hard_runs(tmp_path / truth.__name__, disaster), background="black", router=router)
        randomise_router(model)
        train_ensemble(model, truth, RAdamConfig)


@pytest.mark.parametrize("disaster", ENSEMBLES)
def test_experts_that_learn_on_survive(tmp_path: Path, disaster: str) -> None:
    runs = hard_runs(tmp_path, disaster)
    model = make_mixture(runs, background="black", router="volume", experts_learn_from=1)
    model._note_step(1)
    assert model.experts_learn
    train_ensemble(model, grey, AdamConfig)


@pytest.mark.parametrize("disaster", ENSEMBLES)
def test_fused_models_survive(tmp_path: Path, disaster: str) -> None:
    for truth in (grey, black, same):
        mixture = make_mixture(hard_runs(tmp_path / truth.__name__, disaster), background="black")
        values = lift(mixture, [make_camera(0.5)]).values
        assert all(bool(one.isfinite().all()) for one in values)
        train_ensemble(fuse(mixture, values, {"source": "somewhere", "views": 1}), truth, AdamConfig)


@pytest.mark.parametrize("gate", [0.0, 1.0])
@pytest.mark.parametrize("disaster", ENSEMBLES)
def test_students_survive_black_teachers_and_gates_that_are_shut(disaster: str, gate: float) -> None:
    """By every variant; a gate of 0 or 1 leaves one of the two comparisons nothing."""
    for variant in ("weighted", "unweighted"):
        model = hard_expert("stg", disaster, background="black")
        model.supervise(Distillation(0.5, variant))
        optimizers = make_optimizers(model, AdamConfig(lr=1e-2))
        batch = {
            "image": torch.zeros(HEIGHT, WIDTH, 3),
            TEACHER_IMAGE: torch.zeros(HEIGHT, WIDTH, 3),
            STUDENT_GATE: torch.full((HEIGHT, WIDTH), gate),
        }
        for step in range(STEPS):
            optimizers.zero_grad_all()
            sum(model.get_loss_dict(model(make_camera(step % 5 / 4)), batch).values()).backward()
            for optimizer in optimizers.optimizers.values():
                optimizer.step()
            assert_finite(model)


def test_what_is_not_finite_is_found() -> None:
    model = hard_expert("stg", "none")
    with torch.no_grad():
        model.gaussians["means"][3, 1] = torch.nan
    with pytest.raises(AssertionError, match="means"):
        assert_finite(model)
