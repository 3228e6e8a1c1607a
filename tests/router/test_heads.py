"""Experts whose channels are features to be decoded, beside those that composite colour, in one pass."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from moegs_ns.experts.base import ExpertModel
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.splats import native_backend
from tests.router.building import HEIGHT, WIDTH, make_camera, make_expert, make_mixture, randomise_router, save_run
from tests.router.test_frozen import train

pytestmark = pytest.mark.usefixtures("native")

#: Expert names of `runs`, in gate order.
NAMES = ("stg", "stg_2", "4dgaussians", "stg_3", "ed3dgs", "ex4dgs")


@pytest.fixture
def experts() -> list[tuple[str, ExpertModel]]:
    """Spherical harmonics, the full head, another family, the lite head; families with clocks of cameras, and of two
    sets with a mip filter."""
    return [
        ("stg", make_expert("stg", 1, count=30)),
        ("stg", make_expert("stg", 2, count=25, head="full")),
        ("4dgaussians", make_expert("4dgaussians", 3, count=40, background="white")),
        ("stg", make_expert("stg", 4, count=20, head="lite", background="white")),
        ("ed3dgs", make_expert("ed3dgs", 5, count=35, cameras=("a", "b"))),
        ("ex4dgs", make_expert("ex4dgs", 6, count=30)),
    ]


@pytest.fixture
def runs(tmp_path: Path, experts: list[tuple[str, ExpertModel]]) -> list[Path]:
    return [save_run(tmp_path / f"run{i}", expert, family) for i, (family, expert) in enumerate(experts)]


def render(model: MixtureModel | ExpertModel, time: float = 0.3) -> dict[str, Tensor]:
    return model.eval().get_outputs_for_camera(make_camera(time))


@pytest.mark.parametrize("near", [None, 3.9])
def test_every_expert_in_one_pass_equals_it_alone_bit_for_bit(
    tmp_path: Path, experts: list[tuple[str, ExpertModel]], near: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts[1] = ("stg", make_expert("stg", 2, count=25, head="full", decoder_output="clamp", near=near))
    runs = [save_run(tmp_path / str(i), expert, family) for i, (family, expert) in enumerate(experts)]
    model = make_mixture(runs)
    randomise_router(model)
    calls = []
    composite = native_backend.composite_parts
    monkeypatch.setattr(native_backend, "composite_parts", lambda *a, **k: calls.append(a) or composite(*a, **k))
    outputs = {time: render(model, time) for time in (0.0, 0.4, 1.0)}
    assert len(calls) == 3
    for blocks in calls[0][3]:  # of each expert: the widest expert's channels, the weights, depth
        assert [block.shape[1] for block in blocks] == [9, 2, 1, 1]
    for time, images in outputs.items():
        for name, (_, expert) in zip(NAMES, experts, strict=True):
            alone = render(expert, time)["rgb"]
            assert alone.std() > 0.02
            assert torch.equal(images[f"expert_{name}"], alone), (name, time)
        by_hand = sum(images[f"gate_{name}"] * images[f"expert_{name}"] for name in NAMES)
        torch.testing.assert_close(images["rgb"], by_hand)


def test_weights_are_composited_as_the_channels_are(runs: list[Path]) -> None:
    """Weights that equal features must composite to the image of those features, also behind padded channels."""
    model = make_mixture(runs, weight_background=0.0)
    with torch.no_grad():
        for weights, expert in zip(model.router.gaussian_weights, model.experts, strict=True):
            splats = expert.splats_at(0.25)
            weights.base.copy_(expert.channels(splats, torch.eye(4))[:, :2] if splats.sh is None else 0.0)
    for training in (False, True):
        result, _ = model.train(training).composite(make_camera(0.25), depth=not training)
        assert result.images.shape[-1] == 12
        assert torch.equal(result.images[1, ..., 9:11], result.images[1, ..., :2])
        assert not result.images[[0, 2, 3], ..., 3:9].any()


@pytest.mark.parametrize("head", ["full", "lite"])
def test_copies_of_one_expert_equal_it(tmp_path: Path, head: str) -> None:
    expert = make_expert("stg", 5, head=head)
    model = make_mixture([save_run(tmp_path / "run", expert, "stg")] * 3)
    randomise_router(model, scale=3.0)
    outputs, alone = render(model), render(expert)
    assert outputs["gate_stg"].std() > 0.05
    for name in ("rgb", "accumulation", "depth"):
        torch.testing.assert_close(outputs[name], alone[name], atol=2e-6, rtol=2e-6)


def test_permuting_experts_permutes_pictures_and_gates(runs: list[Path]) -> None:
    model = make_mixture(runs)
    randomise_router(model)
    order = [3, 1, 4, 0, 5, 2]
    permuted = make_mixture([runs[index] for index in order])
    permuted.router.network.load_state_dict(model.router.network.state_dict())
    for target, source in enumerate(order):
        permuted.router.weights[target].load_state_dict(model.router.weights[source].state_dict())
    one, other = render(model), render(permuted)
    torch.testing.assert_close(one["rgb"], other["rgb"])
    for target, source in enumerate(order):
        for kind in ("gate", "expert"):
            expected = one[f"{kind}_{model.expert_names[source]}"]
            torch.testing.assert_close(other[f"{kind}_{permuted.expert_names[target]}"], expected)


@pytest.mark.parametrize("background", ["own", "white", "black"])
def test_the_full_head_keeps_its_empty_pixels_whatever_the_background(tmp_path: Path, background: str) -> None:
    experts = {"full": make_expert("stg", 1, count=4, head="full"), "lite": make_expert("stg", 2, count=4, head="lite")}
    model = make_mixture(
        [save_run(tmp_path / name, expert, "stg") for name, expert in experts.items()], background=background
    )
    outputs = render(model)
    assert torch.equal(outputs["expert_stg"], render(experts["full"])["rgb"])
    empty = outputs["accumulation"][..., 0] == 0
    assert empty.any()
    assert (outputs["expert_stg_2"][empty] == float(background == "white")).all()


def test_only_the_router_learns_and_decoders_stay(runs: list[Path]) -> None:
    model = make_mixture(runs)
    before = {name: value.clone() for name, value in model.experts.state_dict().items()}
    assert any(name.startswith("1.head.decoder") for name in before)
    losses = train(model, steps=8)
    assert losses[-1] < losses[0]
    for name, value in model.experts.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.experts.parameters())
    for weights in model.router.gaussian_weights:
        assert weights.base.grad.abs().max() > 0


def test_training_pictures_equal_those_of_evaluation_before_clamping(runs: list[Path]) -> None:
    model = make_mixture(runs)
    camera = make_camera(0.6)
    images: list[Tensor] = []
    for training in (True, False):
        images.append(model.train(training).look(camera)[0].pictures)
    assert images[0].shape == (len(NAMES), HEIGHT, WIDTH, 3)
    assert not images[0].requires_grad
    assert torch.equal(*images)


def test_state_holds_heads_and_decoders(runs: list[Path], tmp_path: Path) -> None:
    model = make_mixture(runs)
    randomise_router(model)
    expected: dict[str, Any] = render(model)
    torch.save(model.state_dict(), tmp_path / "mixture.pt")
    for run in runs:
        shutil.rmtree(run)
    other = make_mixture([])
    other.load_state_dict(torch.load(tmp_path / "mixture.pt", weights_only=True))
    assert [spec.config["head"] for spec in other.specs if spec.family == "stg"] == ["sh", "full", "lite"]
    outputs = render(other)
    for name, image in expected.items():
        assert torch.equal(outputs[name], image), name
