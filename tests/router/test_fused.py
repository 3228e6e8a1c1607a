"""The fused model: what it equals, what its state holds, and what training changes of it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from moegs_ns.experts.recipes import load_recipe
from moegs_ns.router.expert_learning import LEARNING_TENSORS
from moegs_ns.router.fused import FusedModel, FusedModelConfig, fuse
from moegs_ns.router.lifting import lift
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.splats.splats import concatenate
from tests.router.building import (
    HEIGHT,
    NUM_FRAMES,
    WIDTH,
    make_camera,
    make_expert,
    make_mixture,
    save_run,
    scene_box,
)

pytestmark = pytest.mark.usefixtures("native")

FACTS = {"source": "somewhere", "views": 3}


def make_fused(runs: Sequence[Path] = (), **config: Any) -> FusedModel:
    return FusedModelConfig(experts=tuple(runs), **config).setup(
        scene_box=scene_box(), num_train_data=1, metadata={"num_frames": NUM_FRAMES}
    )


def with_shares(model: FusedModel, seed: int = 3) -> FusedModel:
    generator = torch.Generator().manual_seed(seed)
    model.shares.set([torch.rand(len(one), generator=generator) for one in model.shares.values], FACTS)
    return model


def render(model: Any, time: float = 0.3) -> dict[str, Tensor]:
    return model.eval().get_outputs_for_camera(make_camera(time))


@pytest.mark.parametrize("family", ["stg", "4dgaussians", "ed3dgs", "ex4dgs"])
def test_one_expert_with_gates_of_1_is_that_expert(tmp_path: Path, family: str) -> None:
    expert = make_expert(family, 3, cameras=["cam1"], background="white")
    mixture = make_mixture([save_run(tmp_path / "run", expert, family)])
    responsibilities = lift(mixture, [make_camera(0.5)])
    model = fuse(mixture, responsibilities.values, FACTS)
    for time in (0.0, 0.3):
        outputs, alone = render(model, time), render(expert, time)
        assert alone["rgb"].std() > 0.05
        for name in ("rgb", "accumulation", "depth"):
            assert torch.equal(outputs[name], alone[name]), name


def test_opacities_are_scaled_and_nothing_else(runs: list[Path]) -> None:
    """Eq. 15, against the rasterizer asked by hand."""
    model = with_shares(make_fused(runs))
    found = render(model)
    instant = model.instant(make_camera(0.3))
    splats, _ = concatenate([expert.splats_at(0.3) for expert in model.expert_models])
    scaled = splats.opacities * torch.cat([one.detach() for one in model.shares.values])
    expected = rasterize(
        splats.__class__(splats.means, splats.quats, splats.scales, scaled),
        instant.channels, instant.viewmat, instant.intrinsics, WIDTH, HEIGHT,
        settings=instant.settings[0], depth=True,
    )  # fmt: skip
    torch.testing.assert_close(found["rgb"], expected.images[0].clamp(0, 1), atol=1e-6, rtol=0)
    torch.testing.assert_close(found["depth"][..., 0], expected.depths[0], atol=1e-5, rtol=1e-5)
    unscaled = render(make_fused(runs))
    assert (unscaled["accumulation"] - found["accumulation"]).min() >= -1e-6
    assert (unscaled["rgb"] - found["rgb"]).abs().max() > 0.1


def test_outputs(runs: list[Path]) -> None:
    outputs = render(with_shares(make_fused(runs, share_maps=True)))
    shapes = {name: tuple(image.shape) for name, image in outputs.items()}
    single = ("accumulation", "depth", "share_stg", "share_4dgaussians")
    assert shapes == {"rgb": (HEIGHT, WIDTH, 3), **dict.fromkeys(single, (HEIGHT, WIDTH, 1))}
    torch.testing.assert_close(outputs["share_stg"] + outputs["share_4dgaussians"], torch.ones(HEIGHT, WIDTH, 1))
    without = render(with_shares(make_fused(runs)))
    assert set(without) == {"rgb", "accumulation", "depth"}
    torch.testing.assert_close(without["rgb"], outputs["rgb"], atol=1e-6, rtol=0)


def test_a_share_of_0_leaves_an_expert_out_and_1_leaves_it_as_it_is(runs: list[Path]) -> None:
    model = make_fused(runs)
    counts = [len(one) for one in model.shares.values]
    model.shares.set([torch.ones(counts[0]), torch.zeros(counts[1])], {})
    assert torch.equal(render(model)["rgb"], render(model.expert_models[0])["rgb"])


def test_permuting_experts_changes_nothing(runs: list[Path]) -> None:
    one = with_shares(make_fused(runs))
    other = make_fused(runs[::-1])
    other.shares.set([values.detach() for values in reversed([*one.shares.values])], FACTS)
    first, second = render(one), render(other)
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-5, rtol=1e-5)


def test_its_state_is_all_it_needs(runs: list[Path], tmp_path: Path) -> None:
    model = with_shares(make_fused([*runs, runs[0]]))
    expected, file = render(model), tmp_path / "fused.pt"
    torch.save(model.state_dict(), file)
    for run in runs:
        shutil.rmtree(run)
    again = make_fused()
    again.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert again.expert_names == ["stg", "4dgaussians", "stg_2"]
    assert again.describe()["fused"] == FACTS
    outputs = render(again)
    for name, image in expected.items():
        assert torch.equal(outputs[name], image), name


def test_it_is_described_as_an_ordinary_model(runs: list[Path]) -> None:
    facts = json.loads(json.dumps(with_shares(make_fused(runs)).describe()))
    assert facts["expert"] == "fused" and facts["fused"] == FACTS
    assert facts["num_gaussians"] == sum(facts["num_gaussians_per_expert"].values()) == 110
    assert facts["fused_experts"] == ["stg", "4dgaussians"]
    assert not {"experts", "scene_facts"} & set(facts)  # by which reports tell mixtures and experts


def test_what_cannot_be_one_set_is_refused(runs: list[Path], tmp_path: Path) -> None:
    full = save_run(tmp_path / "full", make_expert("stg", 3, head="full"), "stg")
    with pytest.raises(
        ValueError, match="a fused model needs Gaussians with colours.*'stg_2'.*--pipeline.model.head sh"
    ):
        make_fused([*runs, full])
    white = save_run(tmp_path / "white", make_expert("stg", 2, background="white"), "stg")
    with pytest.raises(ValueError, match="different backgrounds.*--pipeline.model.background black"):
        make_fused([*runs, white])
    make_fused([*runs, white], background="white")


def test_a_new_run_needs_a_fused_one(runs: list[Path]) -> None:
    with pytest.raises(ValueError, match="moegs fuse ROUTER_RUN"):
        FusedModelConfig().prepare_start({})
    with pytest.raises(ValueError, match="found a run of 'moegs-stg'"):
        FusedModelConfig().prepare_resume(runs[0])


def test_a_volume_routers_state_loads_without_its_experts(runs: list[Path]) -> None:
    """The common background was asked of no experts."""
    state = make_mixture(runs, router="volume").state_dict()
    empty = make_mixture([], router="volume")
    empty.load_state_dict(state)
    assert empty.expert_names == ["stg", "4dgaussians"]


# -- training --------------------------------------------------------------------------------------------------------


def gradients(model: FusedModel) -> dict[str, list[Tensor | None]]:
    model.train().get_outputs(make_camera(0.3))["rgb"].square().sum().backward()
    return {name: [one.grad for one in group] for name, group in model.get_param_groups().items()}


def test_fine_tuning_opacities_reaches_the_shares_only(runs: list[Path]) -> None:
    model = with_shares(make_fused(runs))
    found = gradients(model)
    assert set(found) == {"shares"}
    assert all(one is not None and one.abs().max() > 0 for one in found["shares"])
    assert all(parameter.grad is None for parameter in model.experts.parameters())


@pytest.mark.parametrize("family", ["stg", "4dgaussians", "ed3dgs", "ex4dgs"])
def test_fine_tuning_all_reaches_every_gaussian_tensor_and_nothing_else(tmp_path: Path, family: str) -> None:
    expert = make_expert(family, 3, cameras=["cam1"], background="black")
    model = with_shares(make_fused([save_run(tmp_path / "run", expert, family)], finetune="all"))
    found = gradients(model)
    assert set(found) == {"shares", *LEARNING_TENSORS} - {"features"}
    for name, group in found.items():
        assert len(group) == (2 if family == "ex4dgs" and name != "shares" else 1)  # static and dynamic
        assert all(one is not None and one.isfinite().all() and one.abs().max() > 0 for one in group), name
    learnt = {id(one) for group in model.get_param_groups().values() for one in group}
    others = [parameter for parameter in model.experts.parameters() if id(parameter) not in learnt]
    assert others and all(parameter.grad is None and not parameter.requires_grad for parameter in others)
    assert set(found) <= set(load_recipe("fused").optimizers)


def test_gradients_of_experts_follow_a_difference(tmp_path: Path) -> None:
    """What training sees of an expert's Gaussians is what it renders: nothing is remembered while they change."""
    model = with_shares(make_fused([save_run(tmp_path / "run", make_expert("stg", 3), "stg")], finetune="all")).train()
    before = model.get_outputs(make_camera(0.3))["rgb"].detach()
    with torch.no_grad():
        model.experts[0].gaussians["sh_base"].add_(0.5)
    after = model.get_outputs(make_camera(0.3))["rgb"].detach()
    assert (after - before).max() > 0.05


def test_shares_stay_between_0_and_1_and_go_on_learning(runs: list[Path]) -> None:
    shares = make_fused(runs).shares
    with torch.no_grad():
        shares.values[0][:2] = torch.tensor([1.5, -0.5])
    slices = [slice(None)] * 2
    assert shares.factors(slices).max() == 1 and shares.factors(slices).min() == 0
    shares.stay_in_range()
    shares.factors(slices).sum().backward()
    assert (shares.values[0].grad == 1).all()


def test_optimizers_built_before_loading_hold_what_is_trained(runs: list[Path], tmp_path: Path) -> None:
    model = with_shares(make_fused(runs))
    run = tmp_path / "fused"
    from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER
    from moegs_ns.runs.checkpoints import write_checkpoint

    state = model.state_dict()
    pipeline = {f"_model.{key}": value for key, value in state.items()}
    run.mkdir()
    write_checkpoint(
        {"step": 0, "pipeline": pipeline, "optimizers": {}}, run / CHECKPOINT_FOLDER, 0, scratch_folder=run
    )
    again = make_fused(finetune="all", source=run)
    before = {name: [id(one) for one in group] for name, group in again.get_param_groups().items()}
    again.load_state_dict(state)
    after = {name: [id(one) for one in group] for name, group in again.get_param_groups().items()}
    assert before == after
    assert all(parameter.grad.abs().max() > 0 for group in (gradients(again), again.get_param_groups())[1:]
               for one in group.values() for parameter in one)  # fmt: skip
    assert torch.equal(render(again)["rgb"], render(model)["rgb"])
