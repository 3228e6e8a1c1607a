"""The profile of a training step: its clock, the profile itself at the smallest size, and the page written of it."""

import dataclasses
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from moegs_ns.experts import base

PRESET = """
[stg]
steps = 24
[stg.model]
densify_interval = 4
densify_start = 0
seed_copies = 1
[4dgaussians]
steps = 24
[4dgaussians.model]
densify_interval = 4
densify_start = 0
coarse_steps = 4
grid_resolution = 8
time_resolution = 8
width = 16
[ed3dgs]
steps = 24
[ed3dgs.datamanager]
error_sampling = false
[ed3dgs.model]
densify_interval = 4
densify_start = 0
width = 16
time_embedding_size = 16
coarse_frames = 6
smoothness_interval = 2
anneal_steps = 2
deform_from_step = 4
"""
#: What every step of every expert spends time on.
EVERYWHERE = {"rasterization", "Gaussians of the instant", "loss", "statistics", "density control", "optimizers"}


@pytest.fixture(scope="module")
def scripts(project_root: Path) -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / "benchmarks"))
        names = (
            "stage_clock",
            "bare_work",
            "profiled_training",
            "step_profile",
            "profile_section",
            "write_performance",
        )
        return {name: importlib.import_module(name) for name in names}


# -- the clock ---------------------------------------------------------------------------------------------------------


class FakeTime:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def spending(time: FakeTime, forward: float, backward: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function that takes its time in both directions."""

    class Spend(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
            time.now += forward
            return 2 * value

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            time.now += backward
            return 2 * gradient

    return Spend.apply


def test_the_clock_tells_stages_within_stages_apart_in_both_directions(scripts: dict[str, ModuleType]) -> None:
    time = FakeTime()
    inner, outer, after, between = (spending(time, *pair) for pair in ((1, 2), (4, 8), (16, 32), (64, 128)))
    parts = SimpleNamespace(inner=inner, after=after)
    parts.outer = lambda value: outer(parts.inner(outer(value)))
    clock = scripts["stage_clock"].StageClock(time)
    before = dict(vars(parts))
    for name in ("inner", "outer", "after"):
        clock.wrap(parts, name, name)
    leaf = torch.ones(3, requires_grad=True)
    clock.start()
    result = parts.after(between(parts.outer(leaf)))
    result.sum().backward()
    spent = clock.stop()
    assert {(stage, way): seconds for (stage, way), seconds in spent.items() if seconds} == {
        ("inner", "forward"): 1,
        ("inner", "backward"): 2,
        ("outer", "forward"): 8,
        ("outer", "backward"): 16,
        ("after", "forward"): 16,
        ("after", "backward"): 32,
        ("elsewhere", "forward"): 64,
        ("elsewhere", "backward"): 128,
    }
    assert torch.equal(leaf.grad, torch.full((3,), 2.0**5))
    clock.unwrap()
    assert vars(parts) == before


# -- the profile -------------------------------------------------------------------------------------------------------


def profiled(scripts: dict[str, ModuleType], subject: str, scene: Path, folder: Path) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    preset = folder / "smallest.toml"
    preset.write_text(PRESET)
    return scripts["profiled_training"].ProfiledTraining(subject, str(preset), 200, scene, 8, folder, 0)


def test_the_smallest_profile_has_every_stage_and_a_page(
    scripts: dict[str, ModuleType], sample_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = tmp_path / "smallest.toml"
    preset.write_text(PRESET)
    experts = ("stg", "stg, full head", "4dgaussians", "ed3dgs")
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    arguments = scripts["step_profile"].Arguments(
        experts=experts,
        preset=str(preset),
        gaussians=200,
        rounds=1,
        threads=(1,),
        downscale=8,
        data=sample_scene,
        output=tmp_path / "profile.json",
        page=tmp_path / "page.md",
    )
    scripts["step_profile"].main(arguments)
    kept = json.loads(arguments.output.read_text())
    found = kept["threads"]["1"]["experts"]
    assert list(found) == list(experts)
    for one in found.values():
        assert set(one["stages"]) >= EVERYWHERE
        assert one["gaussians"] == pytest.approx(200, abs=20)
        assert min(one["stages"]["rasterization"].values()) > 0
        assert set(one["stages"]["loss"]) == {"forward", "backward"}
    assert "networks" not in found["stg"]["stages"]
    assert set(found["stg, full head"]["stages"]["networks"]) == {"forward", "backward"}
    assert set(found["4dgaussians"]["stages"]["grids"]) == {"forward", "backward"}
    assert found["4dgaussians"]["rasterizations_per_step"] == 2  # and the field is asked once for each instant
    assert set(found["4dgaussians"]["networks"]["grid"]["bare_ms"]) == {"gathers", "grid_sample"}
    assert set(found["ed3dgs"]["networks"]) == {"coarse_network", "fine_network", "time_table"}
    assert found["ed3dgs"]["stages"]["regularisers"]["forward"] > 0
    text = arguments.page.read_text()
    assert "| rasterization | 1.00 (" in text and "| ed3dgs | 1 |" in text


def test_looking_changes_nothing(scripts: dict[str, ModuleType], sample_scene: Path, tmp_path: Path) -> None:
    """A step under the clock has the gradients of one without, and leaves no wrapper behind."""

    def gradients(clocked: bool) -> tuple[Any, list[torch.Tensor]]:
        training = profiled(scripts, "4dgaussians", sample_scene, tmp_path / f"clocked {clocked}")
        clock = scripts["stage_clock"].StageClock()
        if clocked:
            with training.clocked(clock), training.watched() as watched:
                training.step()
            assert watched.visible and set(watched.rows) == set(training.networks.values())
        else:
            training.step()
        return training, [parameter.grad for parameter in training.model.parameters() if parameter.grad is not None]

    rasterize = base.rasterize
    (_, expected), (training, actual) = gradients(False), gradients(True)
    assert len(actual) == len(expected) > 10
    assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))
    assert base.rasterize is rasterize
    assert not {"splats_of_view", "channels", "get_loss_dict"} & set(vars(training.model))
    assert all("forward" not in vars(module) for module in training.networks.values())


def test_every_round_begins_with_the_same_training(
    scripts: dict[str, ModuleType], sample_scene: Path, tmp_path: Path
) -> None:
    """Also after density control has replaced the Gaussians: rounds give the same gradients bit for bit."""
    training = profiled(scripts, "ed3dgs", sample_scene, tmp_path)

    def a_round() -> list[torch.Tensor]:
        training.rewind()
        training.step()
        gradients = [one.grad.clone() for one in training.model.parameters() if one.grad is not None]
        training.model.gaussians.params["opacities"].data[: len(training.model.gaussians) // 2] = -9
        for _ in range(training.interval - 1):
            training.step()
        return gradients

    first = a_round()
    assert len(training.model.gaussians) < 150  # what is hardly there was removed
    second = a_round()
    assert len(first) == len(second) > 10
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_work_that_changes_is_refused(scripts: dict[str, ModuleType]) -> None:
    check = scripts["step_profile"].check_steady
    check("Gaussians", [1000, 980, 1000])
    with pytest.raises(ValueError, match="from 900 to 1000 Gaussians"):
        check("Gaussians", [1000, 900])


def test_bare_work_is_known_for_every_network_of_every_expert(
    scripts: dict[str, ModuleType], sample_scene: Path, tmp_path: Path
) -> None:
    subjects = scripts["profiled_training"].SUBJECTS
    assert {family for family, _ in subjects.values()} == set(base_families())
    with pytest.raises(ValueError, match=r"add it to BARE in benchmarks/bare_work\.py"):
        scripts["bare_work"].bare_work(torch.nn.Bilinear(1, 1, 1), 5)


def base_families() -> list[str]:
    from moegs_ns.experts.registry import EXPERTS

    return list(EXPERTS)


def test_the_bare_products_of_a_network_are_all_its_products(scripts: dict[str, ModuleType]) -> None:
    """As many multiplications as a forward and backward pass of the network itself."""
    from torch.utils.flop_counter import FlopCounterMode

    from moegs_ns.experts.fields.deformation import DeformationHeads

    network = DeformationHeads(5, 8, {"means": 3, "opacities": 1}, common=6)
    features = torch.rand(50, 5, requires_grad=True)
    with FlopCounterMode(display=False) as own:
        outputs = network(features, torch.rand(6))
        torch.autograd.backward(list(outputs.values()), [torch.rand_like(one) for one in outputs.values()])
    with FlopCounterMode(display=False) as bare:
        scripts["bare_work"].bare_work(network, 50)["matrix products"]()
    shared = own.get_total_flops() - bare.get_total_flops()  # the part of the trunk that is computed once
    assert 0 <= shared <= 3 * 2 * 6 * 8


# -- the page ----------------------------------------------------------------------------------------------------------


def stored() -> dict[str, Any]:
    """A profile by hand: the rest is 15 against 10 of rasterization; networks 30 against 15, the grid 8 against 8."""
    stages = {
        "networks": {"forward": 10.0, "backward": 20.0},
        "grids": {"forward": 2.0, "backward": 6.0},
        "rasterization": {"forward": 4.0, "backward": 6.0},
        "loss": {"forward": 7.0, "backward": 5.0},
        "optimizers": {"forward": 3.0},
    }
    networks = {
        "network": {
            "class": "DeformationHeads",
            "stage": "networks",
            "rows": 20000,
            "bare_ms": {"matrix products": 15.0},
        },
        "grid": {"class": "HexPlane", "stage": "grids", "rows": 20000, "bare_ms": {"gathers": 9.0, "grid_sample": 8.0}},
        "time_table": {"class": "TemporalTable", "stage": "networks", "rows": 2, "bare_ms": {}},
    }
    one = {
        "gaussians": 20000,
        "steps": [100, 700],
        "rasterizations_per_step": 2.0,
        "visible_share": 0.954,
        "stages": stages,
        "step_without_clock_ms": 62.0,
        "networks": networks,
    }
    plain = {**one, "networks": {}, "stages": {name: stages[name] for name in ("rasterization", "optimizers")}}
    machine = {"processor": "A Processor", "cores": 2, "memory_gib": 24, "system": "Linux", "vector_extensions": "AVX2"}
    return {
        "measurement": {
            "command": "python benchmarks/step_profile.py",
            "seed": 0,
            "measured": "2026-01-02T03:04:05+00:00",
            "machine": machine,
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "source": {"commit": "0123456789abcdef", "modified": False},
        },
        "clock": "wall",
        "workload": {
            "preset": "demo",
            "gaussians": 20000,
            "rounds": 5,
            "scene": "mixed",
            "image_size": [320, 240],
            "numbers": {"moving": {"width": 64, "grid_multipliers": [1, 2]}, "plain": {"sh_degree": 1}},
        },
        "stage_names": ["networks", "grids", "rasterization", "loss", "regularisers", "optimizers"],
        "threads": {"2": {"yardstick": {}, "experts": {"moving": one, "plain": plain}}},
    }


def test_the_page_states_ratios_judgments_command_and_machine(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps(stored()))
    page = tmp_path / "page.md"
    writing = scripts["write_performance"]
    nothing = {field.name: tmp_path / "none.json" for field in dataclasses.fields(writing.KeptFiles)}
    writing.write_page(page, writing.KeptFiles(**{**nothing, "profile": profile}))
    text = page.read_text()
    assert "`python benchmarks/step_profile.py`, seed 0" in text
    assert "A Processor, 2 cores (AVX2), 24 GiB" in text and "commit 012345678;" in text
    assert "| moving | 20,000 | 2 | 95% | width 64, grid_multipliers 1x2 |" in text
    assert "| networks | 3.00 (1.00 + 2.00) | - |" in text
    assert "| optimizers | 0.30 | 0.30 |" in text
    assert "regularisers" not in text  # nobody has any
    assert "| **step** | 6.30 | 1.30 |" in text and "| step, ms | 63.0 | 13.0 |" in text
    assert "| moving | 2 | **1.50, above 1** | **2.00, above 1.5** | 1.00 |" in text
    assert "HexPlane, 20,000 rows: gathers 9.00, grid_sample 8.00" in text
    assert "| plain | 2 | 0.30 | - | - | - |" in text


def test_a_ratio_at_its_bound_passes(scripts: dict[str, ModuleType]) -> None:
    section = scripts["profile_section"]
    assert section.Judgment(1.5, 1.5).passes and not section.Judgment(1.51, 1.5).passes
    assert section.Judgment(None, 1.5).passes


def test_the_kept_page_is_what_the_kept_measurements_give(
    scripts: dict[str, ModuleType], project_root: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    scripts["write_performance"].write_page(page)
    assert page.read_text() == (project_root / "docs" / "performance.md").read_text()
