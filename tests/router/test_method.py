"""The method ``moegs-router`` as ``ns-train`` offers it: the recipe's numbers and where they come from."""

from pathlib import Path
from typing import Any

import pytest
import torch
import tyro

from moegs_ns.router.mixture import MixtureModelConfig
from moegs_ns.training.optimizers import RAdamConfig
from tests.router.building import NUM_FRAMES, make_mixture


@pytest.fixture(scope="module")
def method() -> Any:
    from moegs_ns.method_configs import moegs_router

    return moegs_router.config


def test_experts_are_named_without_a_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tyro.cli(MixtureModelConfig, args=["--experts", "a/run", "../b/run/config.yml", "--top-k", "1"])
    assert (config.experts, config.top_k) == ((Path("a/run"), Path("../b/run/config.yml")), 1)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    config.make_paths_absolute()
    assert config.experts == (folder / "a/run", tmp_path / "b/run")


def test_the_recipe_trains_exactly_the_routers_parameters(method: Any, runs: list[Path]) -> None:
    groups = make_mixture(runs).get_param_groups()
    used = {name: method.optimizers[name]["optimizer"] for name in groups}
    assert all(type(optimizer) is RAdamConfig for optimizer in used.values())
    rates = {name: optimizer.lr for name, optimizer in used.items()}
    assert rates == {"weights": 0.5, "time_weights": 0.05, "network": 0.05}  # MoE-GS §4.1
    assert (method.max_num_iterations, method.pipeline.datamanager.cameras_per_step) == (5000, 1)
    optimizer = method.optimizers["weights"]["optimizer"].setup(groups["weights"])
    assert len(optimizer.param_groups) == 1
    assert [id(one) for one in optimizer.param_groups[0]["params"]] == [id(one) for one in groups["weights"]]


def test_the_rate_of_the_weights_decays_as_in_the_authors_script(method: Any) -> None:
    schedules = {name: group["scheduler"] for name, group in method.optimizers.items()}
    assert schedules["time_weights"] is schedules["network"] is None
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    scheduler = schedules["weights"].setup().get_scheduler(optimizer, lr_init=0.5)
    seen = [0.5 * scheduler.lr_lambdas[0](step) for step in (0, 500, 2000, 5000, 10000, 12000)]
    assert seen == pytest.approx([0.5, 0.5 * 0.01**0.05, 0.5 * 0.01**0.2, 0.05, 0.005, 0.005])


def test_a_new_run_needs_experts(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found none; pass --experts RUN RUN"):
        MixtureModelConfig().prepare_start({})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        MixtureModelConfig(experts=(runs[0], tmp_path / "nowhere")).prepare_start({})
    MixtureModelConfig(experts=tuple(runs)).prepare_start({})


def test_experts_of_other_data_are_refused_before_anything_is_built(runs: list[Path]) -> None:
    config = MixtureModelConfig(experts=tuple(runs))
    config.prepare_start({"scene": "toy", "num_frames": NUM_FRAMES, "first_frame": 0})
    with pytest.raises(ValueError, match=r"expected experts of the scene 'dance', found .* trained on 'toy'"):
        config.prepare_start({"scene": "dance", "num_frames": NUM_FRAMES + 1})
    with pytest.raises(ValueError, match="frame options"):
        config.prepare_start({"scene": "toy", "num_frames": NUM_FRAMES + 1})
