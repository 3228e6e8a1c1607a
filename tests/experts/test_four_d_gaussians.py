"""4DGaussians: its two stages, its density rules and its reload."""

import dataclasses

import numpy as np
import pytest
import torch
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.optimizers import AdamOptimizerConfig, Optimizers

from moegs_ns.experts.four_d_gaussians import FourDGaussiansModel, FourDGaussiansModelConfig
from moegs_ns.experts.recipes import load_recipe


@pytest.fixture(autouse=True)
def readable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_RASTER", "torch")


def build(seeds: int = 20, times: torch.Tensor | None = None, **overrides) -> FourDGaussiansModel:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    small = {"grid_resolution": 4, "time_resolution": 5, "width": 8, "coarse_steps": 3, "sh_degree": 1}
    return FourDGaussiansModelConfig(**{**small, **overrides}).setup(
        scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
        num_train_data=10,
        seed_points=(
            torch.randn(seeds, 3, generator=generator),
            torch.randint(0, 256, (seeds, 3), generator=generator, dtype=torch.uint8),
        ),
        metadata={"num_frames": 5, "camera_extent": 2.0, **({} if times is None else {"points3D_time": times})},
    )


def optimizers_of(model: FourDGaussiansModel) -> Optimizers:
    groups = model.get_param_groups()
    config = {name: {"optimizer": AdamOptimizerConfig(lr=1e-3), "scheduler": None} for name in groups}
    return Optimizers(config, groups)


def test_starts_from_points_without_time_and_those_of_the_first_instant() -> None:
    times = torch.full((20,), torch.nan)
    times[10:] = torch.tensor([0.25, 0.5]).repeat(5)
    every = build().gaussians["means"]
    assert torch.equal(build(times=times).gaussians["means"], every[[*range(10), *range(10, 20, 2)]])
    assert torch.equal(build(times=times, canonical_seeds="all").gaussians["means"], every)
    times[:10] = 0.5
    assert torch.equal(build(times=times).gaussians["means"], every[10::2])


def test_seeds_of_other_instants_do_not_crowd_out_those_wanted() -> None:
    times = torch.full((20,), torch.nan)
    times[8:] = torch.tensor([0.25, 0.5, 0.75]).repeat(4)
    every = build().gaussians["means"]
    wanted = every[[*range(8), *range(8, 20, 3)]]
    assert torch.equal(build(times=times, max_seeds=12).gaussians["means"], wanted)
    # Fewer than wanted: those with a time are spared.
    few = build(times=times, max_seeds=6).gaussians["means"]
    assert len(few) == 6 and torch.equal(few[2:], wanted[8:])


def test_cameras_of_one_instant_share_the_field_within_a_step(camera) -> None:
    model = build().train()
    model.training_step.fill_(3)
    calls = []
    model.grid.register_forward_hook(lambda *_: calls.append(1))

    def gradient(shared: bool) -> torch.Tensor:
        model.zero_grad()
        if shared:
            model._begin_step(3)
        losses = [model.get_outputs(camera(t))["rgb"].square().mean() for t in (0.3, 0.3, 0.9)]
        torch.stack(losses).sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    separate, count = gradient(shared=False), len(calls)
    torch.testing.assert_close(gradient(shared=True), separate)
    assert (count, len(calls) - count) == (3, 2)
    model._end_step(optimizers_of(model), 3)
    gradient(shared=False)  # a step's Gaussians do not outlive it
    assert len(calls) == 8


def test_static_in_the_coarse_stage_moving_in_the_fine_stage(camera) -> None:
    model = build().eval()
    for plane in model.grid.temporal:
        plane.data += 0.5 * torch.randn_like(plane)

    def difference() -> float:
        early, late = (model.get_outputs_for_camera(camera(t))["rgb"] for t in (0.0, 1.0))
        return float((early - late).abs().max())

    assert difference() == 0
    canonical = model.splats_at(0.5)
    assert torch.equal(canonical.means, model.gaussians["means"])
    model.training_step.fill_(3)
    assert model.in_fine_stage and difference() > 1e-3


def test_deltas_are_added_to_raw_values() -> None:
    model = build()
    model.training_step.fill_(3)
    change = model.network(model.grid(model.gaussians["means"], 0.4))
    splats, g = model.splats_at(0.4), model.gaussians
    assert torch.equal(splats.means, g["means"] + change["means"])
    assert torch.equal(splats.scales, torch.exp(g["scales"] + change["scales"]))
    assert torch.equal(splats.opacities, torch.sigmoid(g["opacities"] + change["opacities"][:, 0]))
    raw = g["quats"] + change["quats"]
    assert torch.allclose(splats.quats, raw / raw.norm(dim=-1, keepdim=True), atol=1e-6)
    sh = torch.cat([g["sh_base"][:, None], g["sh_rest"]], 1)
    assert torch.equal(splats.sh, sh + change["sh"].reshape(20, 4, 3))


def test_heads_can_be_left_out() -> None:
    model = build(deform_opacity=False, deform_color=False)
    assert set(model.network.heads) == {"means", "scales", "quats"}


def test_field_gradients_reach_canonical_positions() -> None:
    model = build()
    model.training_step.fill_(3)
    model.splats_at(0.4).scales.sum().backward()
    assert model.gaussians["means"].grad.abs().max() > 0


def test_regularisers_join_with_the_field() -> None:
    model = build()
    assert model.step_losses() == {}
    model.training_step.fill_(3)
    assert set(model.step_losses()) == {"spatial_smoothness", "time_smoothness", "time_sparsity"}


def test_each_regulariser_has_its_own_weight() -> None:
    model = build(spatial_smoothness_weight=0.3, time_smoothness_weight=5.0, time_sparsity_weight=0.07)
    model.training_step.fill_(3)
    spatial, temporal = (
        [plane.detach() + 0.3 * torch.randn_like(plane) for plane in planes]
        for planes in (model.grid.spatial, model.grid.temporal)
    )
    for parameters, values in ((model.grid.spatial, spatial), (model.grid.temporal, temporal)):
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data.copy_(value)

    def bends(planes: list[torch.Tensor]) -> float:
        """Three planes per level, whose rows are the second axis (or time)."""
        return sum(3 * np.square(np.diff(plane.numpy(), 2, axis=2)).mean() for plane in planes)

    expected = {
        "spatial_smoothness": 0.3 * bends(spatial),
        "time_smoothness": 5.0 * bends(temporal),
        "time_sparsity": 0.07 * sum(3 * np.abs(plane.numpy() - 1).mean() for plane in temporal),
    }
    found = {name: float(loss.detach()) for name, loss in model.step_losses().items()}
    assert found == pytest.approx(expected, rel=1e-5)


def test_positions_and_field_learn_in_proportion_to_the_rig() -> None:
    model = build()
    assert model.learning_rate_scales() == {"means": 2.0, "grid": 2.0, "network": 2.0}
    assert set(model.learning_rate_scales()) <= set(model.get_param_groups())


def test_the_recipe_is_what_the_defaults_say_and_adds_the_gradients_of_a_step_up(camera) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(FourDGaussiansModelConfig)}
    model = load_recipe("4dgaussians").model
    assert {name: defaults[name] for name in model} == model
    assert model["densify_views"] == "sum"

    statistics = []
    for views in ("sum", None):
        expert = build(**({} if views is None else {"densify_views": views})).train()
        expert._begin_step(0)
        losses = [expert.get_outputs(camera(0.0))["rgb"].square().mean() for _ in range(2)]
        (losses[0] - losses[1]).backward()  # gradients of opposite sign leave nothing of their sum
        expert._collect_statistics()
        statistics.append((float(expert.gaussians.gradient_sum.max()), int(expert.gaussians.gradient_count.max())))
    assert statistics == [(pytest.approx(0, abs=1e-6), 1)] * 2


def test_optimizers_start_afresh_at_the_fine_stage() -> None:
    model = build()
    optimizers = optimizers_of(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in optimizers.optimizers.values():
        optimizer.step()
    model.control_density(2, optimizers)
    assert all(optimizer.state for optimizer in optimizers.optimizers.values())
    model.control_density(3, optimizers)
    assert not any(optimizer.state for optimizer in optimizers.optimizers.values())


def test_density_rounds_count_within_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(coarse_steps=40, densify_start=10, densify_interval=10, densify_stop=31, opacity_reset_interval=30)
    rounds, resets = [], []
    now = 0
    monkeypatch.setattr(model, "_densify", lambda optimizers: rounds.append(now))
    monkeypatch.setattr(model.gaussians, "cap_opacity", lambda *a: resets.append(now))
    optimizers = optimizers_of(model)
    for now in range(1, 101):
        model.control_density(now, optimizers)
    assert rounds == [20, 30, 60, 70]
    assert resets == [30, 70]
    model.total_steps, rounds[:], resets[:] = 99, [], []  # too short a run to recover from the second
    for now in range(1, 100):
        model.control_density(now, optimizers)
    assert (rounds, resets) == ([20, 30, 60, 70], [30])


def test_small_scenes_are_not_pruned_and_growth_respects_the_limit() -> None:
    model = build(densify_start=0, densify_interval=1, densify_gradient=0.0, max_gaussians=25, prune_opacity=0.5)
    optimizers = optimizers_of(model)
    model.gaussians.gradient_sum += 1
    model.gaussians.gradient_count += 1
    model.control_density(1, optimizers)
    assert len(model.gaussians) == 25
    model.gaussians["opacities"].data[:20] = 3.0
    model.config.prune_above = 10
    model.control_density(2, optimizers)
    assert len(model.gaussians) == 20


def test_small_gaussians_are_cloned_and_large_ones_split() -> None:
    """The border is 0.1 * the camera extent of 2; the first five, of either size, do not pull enough."""
    model = build(densify_size=0.1, densify_gradient=0.5)
    g = model.gaussians
    large = torch.arange(20) % 2 == 0
    grown = torch.arange(20) >= 5
    g["scales"].data.copy_(torch.where(large, 0.3, 0.1).log()[:, None].expand(20, 3))
    g["scales"].data[:, 1:] -= 1  # the longest axis decides
    g.gradient_sum.copy_(torch.where(grown, 1.0, 0.1))
    g.gradient_count.fill_(1)
    before = {name: parameter.detach().clone() for name, parameter in g.params.items()}
    model._densify(optimizers_of(model))
    count = {"cloned": int((grown & ~large).sum()), "split": int((grown & large).sum())}
    assert count == {"cloned": 8, "split": 7}
    kept = 20 - 7
    assert len(g) == kept + 8 + 2 * 7
    for name, values in before.items():
        assert torch.equal(g[name][:kept], values[~(grown & large)])
        assert torch.equal(g[name][kept : kept + 8], values[grown & ~large])
    children = g["scales"][kept + 8 :].detach().exp()
    torch.testing.assert_close(children, (before["scales"][grown & large].exp() / 1.6).repeat(2, 1))
    assert not torch.isin(g["means"][kept + 8 :], before["means"]).any()


def test_the_pruned_are_those_of_little_opacity() -> None:
    model = build(densify_start=0, densify_interval=1, densify_gradient=1e9, prune_above=10)
    opacities = torch.tensor([0.001, 0.004, 0.006, 0.3] * 5)
    model.gaussians["opacities"].data.copy_(torch.logit(opacities))
    model.control_density(1, optimizers_of(model))
    left = torch.sigmoid(model.gaussians["opacities"]).detach()
    torch.testing.assert_close(left, opacities[opacities > 0.005])


def test_the_loss_falls_in_both_stages(camera) -> None:
    """Brightness that changes with time: what is static stays half the difference away, the field does not."""
    model = build(coarse_steps=20, densify_start=1000, background="black", time_sparsity_weight=0.0).train()
    model.gaussians["opacities"].data.fill_(3.0)
    model.gaussians["scales"].data.fill_(0.0)
    truths = {time: torch.full((16, 24, 3), color) for time, color in ((0.0, 0.6), (1.0, 1.0))}
    groups = model.get_param_groups()
    config = {name: {"optimizer": AdamOptimizerConfig(lr=2e-2), "scheduler": None} for name in groups}
    optimizers = Optimizers(config, groups)
    losses = []
    for step in range(50):
        model._begin_step(step)
        views = [
            model.get_loss_dict(model.get_outputs(camera(time)), {"image": truth})["photometric"]
            for time, truth in truths.items()
        ]
        loss = torch.stack(views).mean()
        optimizers.zero_grad_all()
        (loss + sum(model.step_losses().values())).backward()
        for optimizer in optimizers.optimizers.values():
            optimizer.step()
        model._end_step(optimizers, step)
        losses.append(float(loss.detach()))
    assert losses[0] > losses[19] + 0.05 and losses[19] > 0.1999 > losses[-1] + 0.03, losses


def test_reload_renders_the_same_at_the_saved_stage(camera) -> None:
    model = build().eval()
    model.training_step.fill_(7)
    other = build(seeds=6).eval()
    other.load_state_dict(model.state_dict())
    assert other.in_fine_stage
    pictures = [m.get_outputs_for_camera(camera(0.3))["rgb"] for m in (other, model)]
    assert torch.equal(*pictures)
