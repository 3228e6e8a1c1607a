"""4DGaussians: its two stages, its density rules and its reload."""

import pytest
import torch
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.optimizers import AdamOptimizerConfig, Optimizers

from moegs_ns.experts.four_d_gaussians import FourDGaussiansModel, FourDGaussiansModelConfig


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


def test_reload_renders_the_same_at_the_saved_stage(camera) -> None:
    model = build().eval()
    model.training_step.fill_(7)
    other = build(seeds=6).eval()
    other.load_state_dict(model.state_dict())
    assert other.in_fine_stage
    pictures = [m.get_outputs_for_camera(camera(0.3))["rgb"] for m in (other, model)]
    assert torch.equal(*pictures)
