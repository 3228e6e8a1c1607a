"""A mixture's state holds its experts: it is complete, runs no code when loaded, and fits optimizers built before."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from moegs_ns.router.mixture import MixtureModel
from tests.router.building import make_camera, make_expert, make_mixture, randomise_router, save_run


@pytest.fixture
def saved(runs: list[Path], tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """State of a mixture of three experts, two of one family, and what it renders."""
    model = make_mixture([*runs, runs[0]], kernel_size=3)
    randomise_router(model)
    file = tmp_path / "mixture.pt"
    torch.save(model.state_dict(), file)
    return file, render(model)


def render(model: MixtureModel) -> dict[str, Tensor]:
    return model.eval().get_outputs_for_camera(make_camera(0.5))


def load(model: MixtureModel, file: Path) -> None:
    model.load_state_dict(torch.load(file, weights_only=True), strict=True)


def assert_same(outputs: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert outputs.keys() == expected.keys()
    for name, image in expected.items():
        assert torch.equal(outputs[name], image), name


def test_nothing_but_the_state_is_needed(saved: tuple[Path, dict[str, Tensor]], runs: list[Path]) -> None:
    file, expected = saved
    for run in runs:
        shutil.rmtree(run)
    for experts in ([], [*runs, runs[0]]):
        model = make_mixture(experts, kernel_size=3)
        load(model, file)
        assert model.expert_names == ["stg", "4dgaussians", "stg_2"]
        assert_same(render(model), expected)
        assert not any(parameter.requires_grad for parameter in model.experts.parameters())
        load(model.train(), file)  # again, into what is there
        assert not any(module.training for module in model.experts.modules())
        assert_same(render(model), expected)


@pytest.mark.parametrize("left", ["nothing", "a record without checkpoint", "a broken checkpoint", "another expert"])
def test_the_state_wins_over_what_is_left_of_the_runs(
    saved: tuple[Path, dict[str, Tensor]], runs: list[Path], left: str
) -> None:
    file, expected = saved
    if left == "nothing":
        shutil.rmtree(runs[1])
    elif left == "a record without checkpoint":
        shutil.rmtree(runs[1] / "nerfstudio_models")
    elif left == "a broken checkpoint":
        (checkpoint,) = (runs[1] / "nerfstudio_models").iterdir()
        checkpoint.write_bytes(b"not a checkpoint")
    else:
        shutil.rmtree(runs[1])
        save_run(runs[1], make_expert("4dgaussians", seed=9, count=8, width=4), "4dgaussians")
    model = make_mixture([*runs, runs[0]], kernel_size=3)
    parameters = [parameter for group in model.get_param_groups().values() for parameter in group]
    load(model, file)
    assert_same(render(model), expected)
    # What an optimizer was given before is what the router learns with now.
    after = [parameter for group in model.get_param_groups().values() for parameter in group]
    assert all(one is other for one, other in zip(parameters, after, strict=True))


def test_loading_forgets_what_training_remembered(
    saved: tuple[Path, dict[str, Tensor]], runs: list[Path], tmp_path: Path
) -> None:
    changed = save_run(tmp_path / "changed", make_expert("stg", seed=5, count=30), "stg")
    model = make_mixture([changed, runs[1], changed], kernel_size=3).train()
    camera = make_camera(0.5)
    before = model.get_outputs(camera)["rgb"]
    load(model, saved[0])
    after = model.get_outputs(camera)["rgb"]
    fresh = make_mixture([], kernel_size=3).train()
    load(fresh, saved[0])
    assert torch.equal(after, fresh.get_outputs(camera)["rgb"])
    assert not torch.equal(after, before)


def test_the_experts_origin_is_the_states(saved: tuple[Path, dict[str, Tensor]], runs: list[Path]) -> None:
    moved = [run.rename(run.with_name(f"{run.name}-moved")) for run in runs]
    model = make_mixture([*moved, moved[0]], kernel_size=3)
    assert model.specs[1].origin["run"] == str(moved[1])
    load(model, saved[0])
    assert [spec.origin["run"] for spec in model.specs] == [str(run) for run in (*runs, runs[0])]


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_experts_are_built_on_the_mixtures_device(saved: tuple[Path, dict[str, Tensor]]) -> None:
    model = make_mixture([], kernel_size=3).to("meta")
    load(model, saved[0])
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_experts_are_described_in_plain_text(saved: tuple[Path, dict[str, Tensor]], runs: list[Path]) -> None:
    state = torch.load(saved[0], weights_only=True)
    described = json.loads(state["_extra_state"])
    assert [(one["name"], one["family"]) for one in described] == [
        ("stg", "stg"),
        ("4dgaussians", "4dgaussians"),
        ("stg_2", "stg"),
    ]
    assert described[1]["config"]["width"] == 8
    assert described[2]["origin"]["run"] == str(runs[0])
    assert all(isinstance(value, Tensor) for name, value in state.items() if name != "_extra_state")


def test_states_that_do_not_fit(saved: tuple[Path, dict[str, Tensor]], runs: list[Path]) -> None:
    file, _ = saved
    state = torch.load(file, weights_only=True)
    with pytest.raises(ValueError, match="expected a checkpoint of 2 experts, found one of 3"):
        load(make_mixture(runs), file)
    with pytest.raises(ValueError, match="not written by moegs-router"):
        make_mixture([]).load_state_dict({key: state[key] for key in state if key != "_extra_state"})
    with pytest.raises(RuntimeError, match="router.network.layers.0.weight"):
        load(make_mixture([], kernel_size=1), file)
    cut = {key: value for key, value in state.items() if key != "experts.2.gaussians.params.means"}
    with pytest.raises(ValueError, match=r"no tensor 'experts\.2\.gaussians\.params\.means'"):
        make_mixture([], kernel_size=3).load_state_dict(cut)
