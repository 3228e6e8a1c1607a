"""An expert of several clips inside a frozen mixture: one expert, of which one part renders at a time."""

from pathlib import Path

import pytest
import torch

from moegs_ns.experts.clips import ClippedModel
from moegs_ns.router.mixture import MixtureModel
from tests.router.building import HEIGHT, WIDTH, make_camera, make_expert, make_mixture, randomise_router, save_run

pytestmark = pytest.mark.usefixtures("native")

#: Five frames: the first clip has three of them, the second two.
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)


def clipped(seed: int, **options: object) -> ClippedModel:
    expert = make_expert("stg", seed, count=20, clip_frames=3, **options)
    part = expert.parts[1]
    kept = torch.arange(len(part.gaussians)) < 25  # parts of different size
    for parameter in part.gaussians.params.values():
        parameter.data = parameter.data[kept]
    part.gaussians.reset_statistics()
    return expert


@pytest.fixture
def experts() -> dict[str, object]:
    return {
        "stg": clipped(1, head="full", camera_gains=True, cameras=["cam1"]),
        "4dgaussians": make_expert("4dgaussians", 2),
        "stg_2": clipped(3, background="white"),
    }


@pytest.fixture
def model(tmp_path: Path, experts: dict) -> MixtureModel:
    runs = [save_run(tmp_path / name, expert, name.removesuffix("_2")) for name, expert in experts.items()]
    model = make_mixture(runs, cameras=["cam1"])
    randomise_router(model)
    return model


def test_pictures_equal_the_experts_alone_bit_for_bit(model: MixtureModel, experts: dict) -> None:
    model.eval()
    assert model.describe()["num_gaussians_per_expert"] == {"stg": 40 + 25, "4dgaussians": 40, "stg_2": 40 + 25}
    for time in TIMES:
        outputs = model.get_outputs_for_camera(make_camera(time))
        for name, expert in experts.items():
            alone = expert.eval().get_outputs_for_camera(make_camera(time))["rgb"]
            assert alone.std() > 0.02
            assert torch.equal(outputs[f"expert_{name}"], alone), (name, time)


def test_only_the_weights_of_the_instants_clip_are_composited_and_learn(model: MixtureModel) -> None:
    for time, rows in ((0.25, slice(0, 40)), (0.75, slice(40, 65))):
        model.zero_grad()
        camera = make_camera(time)
        camera.metadata = {"camera_index": torch.tensor([[0]])}
        truth = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
        model.train()
        model.get_loss_dict(model.get_outputs(camera), {"image": truth})["photometric"].backward()
        gradient = model.router.gaussian_weights[0].base.grad
        reached = gradient.abs().sum(dim=1) > 0
        assert reached[rows].any() and not reached[: rows.start].any() and not reached[rows.stop :].any()


def test_the_state_is_enough(model: MixtureModel, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "mixture.pt")
    other = make_mixture([])
    other.load_state_dict(torch.load(tmp_path / "mixture.pt", weights_only=True))
    for time in TIMES:
        one, two = (m.eval().get_outputs_for_camera(make_camera(time)) for m in (model, other))
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_copies_of_one_equal_it(tmp_path: Path) -> None:
    expert = clipped(5)
    model = make_mixture([save_run(tmp_path / "run", expert, "stg")] * 2)
    randomise_router(model, scale=3.0)
    for time in TIMES:
        outputs = model.eval().get_outputs_for_camera(make_camera(time))
        alone = expert.eval().get_outputs_for_camera(make_camera(time))
        torch.testing.assert_close(outputs["rgb"], alone["rgb"], atol=2e-6, rtol=2e-6)
