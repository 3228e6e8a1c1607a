"""What a mixture must be, whatever its weights: invariants of the rendering of frozen experts and of their blend."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from moegs_ns.experts.base import ExpertModel
from moegs_ns.router.instant import Instant
from moegs_ns.router.mixture import MixtureModel, blend
from moegs_ns.splats import native_backend
from moegs_ns.splats.camera import viewmat_from_camera_to_world
from tests.router.building import (
    HEIGHT,
    NUM_FRAMES,
    WIDTH,
    make_camera,
    make_expert,
    make_mixture,
    randomise_router,
    save_run,
)

pytestmark = pytest.mark.usefixtures("native")


def render(model: MixtureModel | ExpertModel, time: float | None = 0.3) -> dict[str, Tensor]:
    return model.eval().get_outputs_for_camera(make_camera(time))


def test_outputs(runs: list[Path]) -> None:
    model = make_mixture(runs)
    randomise_router(model)
    outputs = render(model)
    shapes = {name: tuple(image.shape) for name, image in outputs.items()}
    assert shapes == {
        **dict.fromkeys(("rgb", "expert_stg", "expert_4dgaussians"), (HEIGHT, WIDTH, 3)),
        **dict.fromkeys(("accumulation", "depth", "gate_stg", "gate_4dgaussians"), (HEIGHT, WIDTH, 1)),
    }
    for name, image in outputs.items():
        assert image.isfinite().all() and image.min() >= 0, name
    torch.testing.assert_close(outputs["gate_stg"] + outputs["gate_4dgaussians"], torch.ones(HEIGHT, WIDTH, 1))
    assert outputs["gate_stg"].std() > 0.05
    by_hand = sum(outputs[f"gate_{name}"] * outputs[f"expert_{name}"] for name in model.expert_names)
    torch.testing.assert_close(outputs["rgb"], by_hand)
    assert set(model.train().get_outputs(make_camera())) == {"rgb"}


def test_one_pass_equals_separate_renders_bit_for_bit(tmp_path: Path) -> None:
    # Different near planes, and the mip filter of Ex4DGS, put the experts into different groups of projection.
    families = ["stg", "4dgaussians", "ex4dgs", "stg"]
    experts = [
        make_expert(name, seed, near=near)
        for seed, (name, near) in enumerate(zip(families, (0.2, 0.01, 0.2, 3.9), strict=True))
    ]
    runs = [save_run(tmp_path / str(i), expert, families[i]) for i, expert in enumerate(experts)]
    model = make_mixture(runs)
    randomise_router(model)
    for time in (0.0, 0.4, 1.0):
        outputs = render(model, time)
        for name, expert in zip(("stg", "4dgaussians", "ex4dgs", "stg_2"), experts, strict=True):
            alone = render(expert, time)["rgb"]
            assert alone.std() > 0.05
            assert torch.equal(outputs[f"expert_{name}"], alone), (name, time)


def test_colour_and_weights_share_one_compositing(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_mixture(runs)
    calls = []
    composite = native_backend.composite_parts

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return composite(*args, **kwargs)

    monkeypatch.setattr(native_backend, "composite_parts", counted)
    camera = make_camera(0.25)
    viewmat = viewmat_from_camera_to_world(camera.camera_to_worlds[0])
    with torch.no_grad():
        # Weights that equal a colour must composite to the image of that colour.
        for weights, expert in zip(model.router.gaussian_weights, model.experts, strict=True):
            weights.base.copy_(expert.colors(expert.splats_at(0.25), viewmat)[:, :2])
    for training in (False, True):
        result, _ = model.train(training).composite(camera, depth=not training)
        assert torch.equal(result.images[..., 3:5], result.images[..., :2])
    assert len(calls) == 2


@pytest.mark.parametrize("learning", [False, True])
def test_gaussians_joined_without_gradients_still_have_them_later(learning: bool) -> None:
    parts = [make_expert("stg", seed).splats_at(0.5) for seed in (1, 2)]
    if not learning:
        parts = [part.detach() for part in parts]
    channels = [torch.rand(len(part), 3, requires_grad=learning) for part in parts]
    instant = Instant(0.5, [], [], parts, channels, torch.eye(4), torch.eye(3), 8, 8)
    with torch.no_grad():
        assert len(instant.splats) == len(instant.channels) == sum(map(len, parts))
    assert instant.splats.means.requires_grad == instant.channels.requires_grad == learning


@pytest.mark.parametrize("family", ["stg", "4dgaussians", "ex4dgs"])
def test_copies_of_one_expert_equal_it(tmp_path: Path, family: str) -> None:
    expert = make_expert(family, 4)
    run = save_run(tmp_path / "run", expert, family)
    model = make_mixture([run] * 3)
    assert model.expert_names == [family, f"{family}_2", f"{family}_3"]
    randomise_router(model, scale=3.0)
    outputs, alone = render(model), render(expert)
    assert outputs[f"gate_{family}"].std() > 0.05
    for name in ("rgb", "accumulation", "depth"):
        torch.testing.assert_close(outputs[name], alone[name], atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("winner", [0, 1])
def test_one_winner_with_top_1_is_that_expert_bit_for_bit(runs: list[Path], winner: int) -> None:
    model = make_mixture(runs, top_k=1)
    with torch.no_grad():
        for index, weights in enumerate(model.router.gaussian_weights):
            weights.base[:, 0] = 5.0 if index == winner else -5.0
    outputs = render(model)
    name = model.expert_names[winner]
    assert torch.equal(outputs["rgb"], outputs[f"expert_{name}"])
    assert set(outputs[f"gate_{name}"].unique().tolist()) <= {0.0, 1.0}
    assert not torch.equal(outputs["expert_stg"], outputs["expert_4dgaussians"])


def test_top_k_is_for_rendering_only(runs: list[Path]) -> None:
    """Experts left out of training would get no gradient, and with one left none would."""
    model = make_mixture(runs, top_k=1).train()
    model.get_outputs(make_camera())["rgb"].square().sum().backward()
    for weights in model.router.gaussian_weights:
        assert weights.base.grad.abs().max() > 0


def test_permuting_experts_permutes_gates(tmp_path: Path) -> None:
    runs = [save_run(tmp_path / f"{i}", make_expert("stg", i, count=20 + i), "stg") for i in range(3)]
    model = make_mixture(runs)
    randomise_router(model)
    order = [2, 0, 1]
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


def test_temperatures_of_training_and_evaluation(runs: list[Path]) -> None:
    model = make_mixture(runs, train_temperature=0.5, eval_temperature=2.0)
    randomise_router(model)
    camera = make_camera(0.3)
    view, _ = model.eval().look(camera)
    logits, images = model.router.logits(view), view.pictures
    soft, sharp = (torch.softmax(logits / temperature, dim=0) for temperature in (2.0, 0.5))
    torch.testing.assert_close(render(model)["gate_stg"][..., 0], soft[0])
    torch.testing.assert_close(model.train().get_outputs(camera)["rgb"], blend(sharp, images))


@pytest.mark.parametrize(("background", "behind"), [("own", (0, 1)), ("white", (1, 1)), ("black", (0, 0))])
def test_every_expert_keeps_its_own_background_unless_told_otherwise(
    tmp_path: Path, background: str, behind: tuple[int, int]
) -> None:
    experts = {
        "stg": make_expert("stg", 1, count=4),
        "4dgaussians": make_expert("4dgaussians", 2, 4, background="white"),
    }
    runs = [save_run(tmp_path / name, expert, name) for name, expert in experts.items()]
    model = make_mixture(runs, background=background)
    outputs = render(model)
    empty = outputs["accumulation"][..., 0] == 0
    assert empty.any() and not empty.all()
    for name, value in zip(experts, behind, strict=True):
        assert (outputs[f"expert_{name}"][empty] == value).all()
    assert (outputs["depth"][empty] == 0).all()


def test_experts_of_different_backgrounds_look_as_they_do_alone(tmp_path: Path) -> None:
    experts = {"stg": make_expert("stg", 1), "4dgaussians": make_expert("4dgaussians", 2, background="white")}
    model = make_mixture([save_run(tmp_path / name, expert, name) for name, expert in experts.items()])
    outputs = render(model)
    for name, expert in experts.items():
        assert torch.equal(outputs[f"expert_{name}"], render(expert)["rgb"])


def test_weight_background_fills_what_is_empty(runs: list[Path]) -> None:
    empty = {}
    for value in (0.0, 1.0):
        model = make_mixture(runs, weight_background=value)
        result, _ = model.eval().composite(make_camera(), depth=False)
        holes = result.alphas == 0
        assert holes.any()
        assert (result.images[..., 3:][holes] == value).all()
        empty[value] = result.images[..., :3][holes]
    assert torch.equal(empty[0.0], empty[1.0])


def test_depth_is_that_of_what_is_blended(runs: list[Path]) -> None:
    model = make_mixture(runs).eval()
    randomise_router(model)
    result, _ = model.composite(make_camera(0.3), depth=True)
    outputs = render(model)
    depth = outputs["depth"][..., 0]
    only_first = (result.alphas[0] > 0.01) & (result.alphas[1] == 0)
    assert only_first.any()
    torch.testing.assert_close(depth[only_first], result.depths[0][only_first])
    both = (result.alphas > 0).all(dim=0)
    low, high = result.depths.amin(dim=0)[both], result.depths.amax(dim=0)[both]
    assert ((depth[both] >= low * 0.9999) & (depth[both] <= high * 1.0001)).all()


def test_camera_times(runs: list[Path]) -> None:
    model = make_mixture(runs, default_time=0.5)
    randomise_router(model)
    assert torch.equal(render(model, None)["rgb"], render(model, 0.5)["rgb"])
    assert torch.equal(render(model, 1.7)["rgb"], render(model, 1.0)["rgb"])
    assert not torch.equal(render(model, 0.2)["rgb"], render(model, 1.0)["rgb"])


def test_experts_keep_the_gains_they_learnt_for_training_cameras(tmp_path: Path) -> None:
    """As in their own training: in training only, and found by the camera's name."""
    experts = [
        make_expert("stg", 1, cameras=["cam1", "cam2", "cam3"], camera_gains=True),
        make_expert("stg", 2, cameras=["cam1", "cam2", "cam3"]),
        make_expert("stg", 3, cameras=["cam1"], camera_gains=True),
    ]
    with torch.no_grad():
        experts[0].camera_log_gains.copy_(torch.tensor([[0.3], [-0.1], [-0.2]]).expand(3, 3))
    runs = [save_run(tmp_path / str(index), expert, "stg") for index, expert in enumerate(experts)]
    model = make_mixture(runs, cameras=["cam2", "cam3"])
    camera = make_camera(0.5)
    camera.metadata = {"camera_index": torch.tensor([[0]])}
    gains = torch.tensor([-0.1, 0.0, 0.0]).exp()
    result, _ = model.eval().composite(camera, depth=False)
    images = result.images[..., :3]
    expected = (images * gains[:, None, None, None]).mean(dim=0)
    torch.testing.assert_close(model.train().get_outputs(camera)["rgb"], expected)
    torch.testing.assert_close(render(model, 0.5)["rgb"], images.mean(dim=0).clamp(0, 1))
    seen, gates = model.eval().training_view(camera, ["cam2", "cam3"])
    torch.testing.assert_close(seen, (images * gains[:, None, None, None]).clamp(0, 1).mean(dim=0))
    torch.testing.assert_close(gates, torch.full_like(gates, 1 / 3))
    unknown, _ = model.training_view(make_camera(0.5), ["cam2", "cam3"])  # none of the training cameras
    assert torch.equal(unknown, render(model, 0.5)["rgb"])


def test_what_cannot_be_rendered(runs: list[Path], tmp_path: Path) -> None:
    from nerfstudio.cameras.cameras import Cameras

    pair = Cameras(torch.eye(4)[:3].expand(2, 3, 4), fx=1.0, fy=1.0, cx=1.0, cy=1.0, width=2, height=2)
    with pytest.raises(ValueError, match="one camera at a time, found 2"):
        make_mixture(runs).get_outputs(pair)
    with pytest.raises(ValueError, match="has no experts: pass --experts"):
        render(make_mixture([]))
    with pytest.raises(ValueError, match=r"has no experts.*expected the run record .*nowhere"):
        render(make_mixture([runs[0], tmp_path / "nowhere"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 3}, "number of experts 2, found 3"),
        ({"top_k": -1}, "found -1"),
        ({"eval_temperature": 0.0}, "temperature above 0"),
        ({"train_temperature": -1.0}, "temperature above 0"),
        ({"kernel_size": 2}, "odd kernel size"),
        ({"ray_input": "none"}, "would never learn"),
    ],
)
def test_impossible_options_are_refused_at_once(runs: list[Path], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_mixture(runs, **options)


def test_description(runs: list[Path]) -> None:
    facts = make_mixture([*runs, runs[0]]).describe()
    assert facts["expert"] == "router"
    assert facts["experts"] == ["stg", "4dgaussians", "stg_2"]
    assert facts["num_gaussians_per_expert"] == {"stg": 60, "4dgaussians": 50, "stg_2": 60}  # seeds at two times
    assert facts["num_gaussians"] == 170
    assert facts["expert_origins"]["stg_2"]["run"] == str(runs[0])
    assert "scene_facts" not in facts  # by which an expert's run is told from a router's


def training_attributes(**metadata: Any) -> Any:
    dataset = SimpleNamespace(metadata=metadata, cameras=make_camera())
    return SimpleNamespace(pipeline=SimpleNamespace(datamanager=SimpleNamespace(train_dataset=dataset)))


def test_training_registers_no_callbacks_but_looks_at_the_experts(
    runs: list[Path], capsys: pytest.CaptureFixture
) -> None:
    model = make_mixture(runs)
    assert model.get_training_callbacks(training_attributes(scene="toy", num_frames=NUM_FRAMES)) == []
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="num_frames 5 instead of 9"):
        model.get_training_callbacks(training_attributes(num_frames=9))
    model.get_training_callbacks(training_attributes(scene="toy-copy"))
    assert "this data is called 'toy-copy'" in capsys.readouterr().out
    shutil.rmtree(runs[0])
    with pytest.raises(ValueError, match="has no experts"):
        make_mixture(runs).get_training_callbacks(training_attributes())
    with pytest.raises(ValueError, match="has no experts"):
        make_mixture([]).get_param_groups()
