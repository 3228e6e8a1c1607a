"""E-D3DGS: its ramps, its clocks, its losses, its density rules and its reload."""

from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.optimizers import AdamOptimizerConfig, Optimizers

from moegs_ns.experts.ed3dgs import ED3DGSModel, ED3DGSModelConfig
from moegs_ns.experts.fields.deformation import DeformationHeads
from moegs_ns.losses import ssim

NUM_FRAMES, EXTENT = 20, 2.0
CLOCK = (NUM_FRAMES - 1) / NUM_FRAMES
FINISHED = 1000  # a step at which everything has grown


@pytest.fixture(autouse=True)
def readable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_RASTER", "torch")


def build(seeds: int = 20, times: torch.Tensor | None = None, step: int = FINISHED, **overrides: Any) -> ED3DGSModel:
    """A model whose embeddings and offsets are random, as after training."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    small = {"width": 8, "time_embedding_size": 6, "embedding_size": 4, "time_embedding_std": 1.0, "sh_degree": 1}
    schedule = {"anneal_steps": 10, "deform_from_step": 40, "fine_growth_steps": 100, "densify_start": 0}
    metadata = {"num_frames": NUM_FRAMES, "camera_extent": EXTENT, "camera_names": ["a", "b", "c"]}
    model = ED3DGSModelConfig(**{**small, **schedule, **overrides}).setup(
        scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
        num_train_data=10,
        seed_points=(
            torch.randn(seeds, 3, generator=generator),
            torch.randint(0, 256, (seeds, 3), generator=generator, dtype=torch.uint8),
        ),
        metadata={**metadata, **({} if times is None else {"points3D_time": times})},
    )
    model.gaussians["embeddings"].data.normal_(generator=generator)
    if model.config.time_offsets:
        model.camera_time_offsets.data = torch.tensor([0.05, -0.02, 0.09])
    model.training_step.fill_(step)
    return model


def of_camera(camera: Cameras, index: int) -> Cameras:
    camera.metadata = {"camera_index": torch.tensor([[index]])}
    return camera


def optimizers_of(model: ED3DGSModel) -> Optimizers:
    groups = model.get_param_groups()
    config = {name: {"optimizer": AdamOptimizerConfig(lr=1e-3), "scheduler": None} for name in groups}
    return Optimizers(config, groups)


# -- the start ---------------------------------------------------------------------------------------------------------


def test_starts_from_points_without_time_and_those_of_the_first_instant() -> None:
    times = torch.full((20,), torch.nan)
    times[10:] = torch.tensor([0.25, 0.5]).repeat(5)
    every = build().gaussians["means"]
    assert torch.equal(build(times=times).gaussians["means"], every[[*range(10), *range(10, 20, 2)]])
    assert torch.equal(build(times=times, canonical_seeds="all").gaussians["means"], every)


def test_embeddings_start_at_zero_and_scales_are_bounded() -> None:
    model = ED3DGSModelConfig(time_offsets=False).setup(
        scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
        num_train_data=1,
        seed_points=(1e3 * torch.randn(5, 3), torch.zeros(5, 3, dtype=torch.uint8)),
        metadata={"num_frames": 300},
    )
    assert model.gaussians["embeddings"].shape == (5, 32) and not model.gaussians["embeddings"].any()
    assert (model.gaussians["scales"] == 1.0).all()
    assert (model.coarse_points, model.fine_points) == (30, 150)
    assert model.time_table.weight.shape == (150, 256)
    assert float(model.time_table.weight.detach().std()) == pytest.approx(0.01 / 16, rel=0.05)
    assert model.describe()["floats_per_gaussian"] == 91  # 3 + 3 + 4 + 1 + 48 of 3D Gaussian splatting, and 32


def test_networks_start_as_torch_initialises_linear_layers() -> None:
    layer = DeformationHeads(40, 50, {"means": 3}, common=60, xavier=False).trunk
    assert layer.in_features == 100
    assert 0.09 < float(layer.weight.detach().abs().max()) <= 0.1  # U(-1/sqrt(100), 1/sqrt(100))


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="1 <= .*fine-frames <= coarse-frames, found 4 and 2"):
        build(fine_frames=4, coarse_frames=2)
    with pytest.raises(ValueError, match="time-offsets False"):
        ED3DGSModelConfig().setup(
            scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
            num_train_data=1,
            seed_points=(torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.uint8)),
            metadata={"num_frames": 3},
        )


# -- deformation -------------------------------------------------------------------------------------------------------


def test_what_all_gaussians_share_may_be_given_once() -> None:
    heads = DeformationHeads(3, 8, {"means": 3, "quats": 4}, common=5)
    own, common = torch.randn(6, 3), torch.randn(5)
    tiled = torch.cat([common.expand(6, 5), own], dim=1)
    folded, plain = heads(own, common, ["quats"]), heads(tiled)
    assert set(folded) == {"quats"} and set(plain) == {"means", "quats"}
    torch.testing.assert_close(folded["quats"], plain["quats"])


def test_nothing_is_deformed_before_the_first_step_and_by_networks_that_say_nothing() -> None:
    for model in (build(step=0), build()):
        if int(model.training_step):
            for network in (model.coarse_network, model.fine_network):
                for head in network.heads.values():
                    head[3].weight.data.zero_()
                    head[3].bias.data.zero_()
        splats, g = model.splats_at(0.7), model.gaussians
        assert torch.equal(splats.means, g["means"])
        assert torch.equal(splats.scales, torch.exp(g["scales"]))
        assert torch.equal(splats.opacities, torch.sigmoid(g["opacities"]))
        assert torch.equal(splats.sh, torch.cat([g["sh_base"][:, None], g["sh_rest"]], 1))


def test_changes_of_both_networks_are_added_to_raw_values() -> None:
    model = build()
    time = torch.tensor(CLOCK * 0.4 + (0.05 - 0.02 + 0.09) / 3)
    rows = model.time_table.weight.detach().numpy()

    def embedding(points: int) -> torch.Tensor:
        controls = [np.interp(np.linspace(0, 9, points), np.arange(10), column) for column in rows.T]
        return torch.tensor([np.interp(time * (points - 1), np.arange(points), c) for c in controls]).float()

    z = model.gaussians["embeddings"]
    slow = model.coarse_network(torch.cat([embedding(2).expand(20, 6), z], 1))  # 20 frames: 2 and 10 control points
    fast = model.fine_network(torch.cat([embedding(10).expand(20, 6), z], 1))
    change = {name: slow[name] + fast[name] for name in slow}
    splats, g = model.splats_at(0.4), model.gaussians
    close = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(splats.means, g["means"] + change["means"], **close)
    torch.testing.assert_close(splats.scales, torch.exp(g["scales"] + change["scales"]), **close)
    torch.testing.assert_close(splats.opacities, torch.sigmoid(g["opacities"] + change["opacities"][:, 0]), **close)
    raw = g["quats"] + change["quats"]
    torch.testing.assert_close(splats.quats, raw / raw.norm(dim=-1, keepdim=True), **close)
    sh = torch.cat([g["sh_base"][:, None], g["sh_rest"]], 1)
    torch.testing.assert_close(splats.sh, sh + change["sh"].reshape(20, 4, 3), **close)


def test_ramps_follow_the_schedule_per_attribute() -> None:
    model = build(anneal_steps=1000, deform_from_step=5000)

    def ramps(step: int) -> tuple[float, ...]:
        model.training_step.fill_(step)
        return tuple(model.ramps()[name] for name in ("means", "quats", "scales", "opacities", "sh"))

    assert ramps(0) == (0, 0, 0, 0, 0)
    assert ramps(250) == (0.25, 0.25, 0, 0, 0)
    assert ramps(5000) == (1, 1, 0, 0, 0)
    assert ramps(5500) == (1, 1, 0.5, 0.5, 0.5)
    assert ramps(80000) == (1, 1, 1, 1, 1)
    model.config.deform_from_step = 500  # colour has its own ramp alone, scale and opacity both
    assert ramps(750) == (0.75, 0.75, 0.1875, 0.1875, 0.25)
    model.config.anneal_steps = 0
    assert ramps(0) == (1, 1, 1, 1, 1)


def test_ramps_scale_the_changes_and_the_fine_embedding_grows() -> None:
    full, model = build(), build(step=45)  # half of scale, opacity and colour; 2 + 0.45 * 8 control points
    model.config.fine_growth_steps = full.config.fine_growth_steps = 0
    means, colours = full.splats_at(0.4).means, full.splats_at(0.4).sh
    torch.testing.assert_close(model.splats_at(0.4).means, means)
    still = torch.cat([model.gaussians["sh_base"][:, None], model.gaussians["sh_rest"]], 1)
    torch.testing.assert_close(model.splats_at(0.4).sh, (still + colours) / 2)
    model.config.fine_growth_steps = 100
    assert not torch.allclose(model.splats_at(0.4).means, means)
    points: list[int] = []
    model.time_table.register_forward_hook(lambda module, args, output: points.append(args[1]))
    model.splats_at(0.4)
    assert points == [2, 5]


def test_heads_can_be_left_out_and_idle_ones_are_not_evaluated() -> None:
    model = build(deform_opacity=False, deform_color=False, step=20)
    assert set(model.coarse_network.heads) == {"means", "scales", "quats"}
    model.splats_at(0.5).scales.sum().backward()
    assert model.coarse_network.heads["scales"][3].weight.grad is None


def test_gradients_reach_what_deforms_and_the_camera_that_looked(camera) -> None:
    model = build().train()
    model.get_outputs(of_camera(camera(0.37), 1))["rgb"].square().sum().backward()
    for name in ("embeddings", "means", "sh_base"):
        assert model.gaussians[name].grad.abs().max() > 0, name
    for parameter in (model.time_table.weight, model.coarse_network.trunk.weight, model.fine_network.trunk.weight):
        assert parameter.grad.abs().max() > 0
    assert (model.camera_time_offsets.grad != 0).tolist() == [False, True, False]


# -- clocks of the cameras ---------------------------------------------------------------------------------------------


def rendered(model: ED3DGSModel, camera: Cameras) -> torch.Tensor:
    return model.get_outputs(camera)["rgb"].detach().clamp(0, 1)


def test_a_training_camera_has_its_own_clock_in_training_only(camera) -> None:
    model = build()
    without = build(time_offsets=False).train()
    mean = (0.05 - 0.02 + 0.09) / 3
    for index, offset in enumerate((0.05, -0.02, 0.09)):
        own = rendered(model.train(), of_camera(camera(0.4), index))
        torch.testing.assert_close(own, rendered(without, camera(0.4 + offset / CLOCK)))
        held_out = rendered(without, camera(0.4 + mean / CLOCK))
        assert not torch.allclose(own, held_out, atol=1e-3)
        torch.testing.assert_close(rendered(model.eval(), of_camera(camera(0.4), index)), held_out)
        torch.testing.assert_close(model.get_outputs_for_camera(camera(0.4))["rgb"], held_out)
    torch.testing.assert_close(model.train().splats_at(0.4).means, without.splats_at(0.4 + mean / CLOCK).means)


def test_cameras_of_one_instant_do_not_share_a_clock_within_a_step(camera) -> None:
    model = build().train()
    separate = [rendered(model, of_camera(camera(0.4), index)) for index in range(3)]
    model._begin_step(FINISHED)
    for index, expected in enumerate(separate):
        assert torch.equal(rendered(model, of_camera(camera(0.4), index)), expected)
    assert not torch.equal(separate[0], separate[1])


def test_cameras_that_no_step_has_shown_do_not_count_in_the_mean() -> None:
    model = build()
    model.camera_time_offsets.data = torch.tensor([0.06, 0.0, 0.02])
    assert float(model.mean_time_offset()) == pytest.approx(0.04)
    model.camera_time_offsets.data.zero_()
    assert float(model.mean_time_offset()) == 0


def test_times_beyond_the_clip_are_reflected() -> None:
    model = build()
    model.camera_time_offsets.data.fill_(0.1)  # 0.95 + 0.1 on the authors' clock
    last = model.splats_at(1.0).means
    model.camera_time_offsets.data.fill_(0.1 - 2 * 0.05 - 1e-9)
    torch.testing.assert_close(model.splats_at(1.0).means, last, atol=1e-4, rtol=0)


# -- losses ------------------------------------------------------------------------------------------------------------


def test_similarity_joins_in_its_steps_only() -> None:
    model = build(periodic_ssim_interval=10, periodic_ssim_steps=3, periodic_ssim_start=20).train()
    image, truth = torch.rand(2, 16, 16, 3).unbind(0)
    joined = []
    for step in range(45):
        model.training_step.fill_(step)
        losses = model.get_loss_dict({"rgb": image}, {"image": truth})
        assert float(losses["photometric"]) == pytest.approx(float((image - truth).abs().mean()))
        if "periodic_ssim" in losses:
            joined.append(step + 1)
            assert float(losses["periodic_ssim"]) == pytest.approx(float(1 - ssim(image, truth)) / 2)
    assert joined == [20, 21, 22, 30, 31, 32, 40, 41, 42]
    model.training_step.fill_(20)
    assert set(model.eval().get_loss_dict({"rgb": image}, {"image": truth})) == {"photometric"}


def test_regularisers() -> None:
    model = build(smoothness_weight=0.5, smoothness_neighbors=3, smoothness_falloff=1.5, opacity_weight=0.1)
    g = model.gaussians
    g["opacities"].data.normal_()
    losses = {name: float(value.detach()) for name, value in model.step_losses().items()}
    z, x = (g[name].detach().double().numpy() for name in ("embeddings", "means"))
    squared = ((x[:, None] - x[None]) ** 2).sum(-1)
    near = np.argsort(squared, axis=1)[:, 1:4]
    terms = [np.exp(-0.75 * squared[i, j]) * np.linalg.norm(z[i] - z[j]) for i in range(20) for j in near[i]]
    assert losses["embedding_smoothness"] == pytest.approx(0.5 * np.mean(terms), rel=1e-5)
    mean_logit = float(g["opacities"].detach().mean())
    assert losses["opacity"] == pytest.approx(0.1 / (1 + np.exp(-mean_logit)), rel=1e-5)
    model.config.smoothness_interval = 4
    shares = []
    for step in range(8):
        model.training_step.fill_(step)
        shares.append(float(model.step_losses().get("embedding_smoothness", torch.zeros(())).detach()))
    assert shares == pytest.approx([4 * losses["embedding_smoothness"], 0, 0, 0] * 2)
    assert build(smoothness_weight=0.0, opacity_weight=0.0).step_losses() == {}


# -- density -----------------------------------------------------------------------------------------------------------


def test_density_rounds_and_resets(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(densify_start=20, densify_interval=10, densify_stop=60, opacity_reset_interval=25)
    rounds, resets = [], []
    now = 0
    monkeypatch.setattr(model.gaussians, "reset_statistics", lambda: rounds.append(now))
    monkeypatch.setattr(model.gaussians, "cap_opacity", lambda *a: resets.append(now))
    optimizers = optimizers_of(model)
    for now in range(1, 100):
        model.control_density(now, optimizers)
    assert rounds == [30, 40, 50]
    assert resets == [25, 50]


def test_embeddings_follow_their_gaussians() -> None:
    model = build(densify_interval=1, densify_gradient=0.5, densify_size=0.5, smoothness_falloff=1e-3)
    g = model.gaussians
    g["embeddings"].data = torch.arange(20.0)[:, None].repeat(1, 4)
    g["means"].data[:, 0] = 10 * torch.arange(20.0)
    g["scales"].data.fill_(-3.0)
    g["scales"].data[1] = 0.5  # large: split
    g["opacities"].data.fill_(1.0)
    g["opacities"].data[2] = -9.0  # faint: removed
    g.gradient_count += 1
    g.gradient_sum[:2] = 1.0
    before = model.step_losses()
    model.control_density(1, optimizers_of(model))
    owners = g["embeddings"][:, 0].round()
    assert owners.tolist() == [0, *range(3, 20), 0, 1, 1]  # 1 split, 2 removed, a copy of 0, two children of 1
    torch.testing.assert_close((g["means"][:, 0] / 10).detach().round(), owners.detach())
    assert len(model.smoothness.anchors) == 0  # neighbours are looked for again
    assert model.step_losses()["embedding_smoothness"] != before["embedding_smoothness"]
    assert len(model.smoothness.anchors) == len(g) == 21


def test_growth_respects_the_limit_and_not_all_are_pruned() -> None:
    model = build(densify_interval=1, densify_gradient=0.0, max_gaussians=25, prune_opacity=0.0)
    model.gaussians.gradient_sum += 1
    model.gaussians.gradient_count += 1
    optimizers = optimizers_of(model)
    model.control_density(1, optimizers)
    assert len(model.gaussians) == 25
    model.config.prune_opacity = 1.0
    model.control_density(2, optimizers)
    assert len(model.gaussians) == 25


# -- reload ------------------------------------------------------------------------------------------------------------


def test_reload_renders_the_same_at_the_saved_step(camera) -> None:
    model = build(step=45)
    model.step_losses()
    other = build(seeds=6)
    other.load_state_dict(model.state_dict())
    pictures = [m.eval().get_outputs_for_camera(camera(0.3))["rgb"] for m in (other, model)]
    assert torch.equal(*pictures)
    assert torch.equal(other.smoothness.anchors, model.smoothness.anchors)
    model.training_step.fill_(FINISHED)
    assert not torch.allclose(model.get_outputs_for_camera(camera(0.3))["rgb"], pictures[0], atol=1e-3)


def test_every_parameter_learns_in_a_group_of_the_recipe() -> None:
    from moegs_ns.experts.recipes import load_recipe

    model = build(camera_gains=True)
    groups = model.get_param_groups()
    assert set(groups) == set(load_recipe("ed3dgs").optimizers)
    own = {id(p) for name, p in model.named_parameters() if name != "device_indicator_param"}  # that is nerfstudio's
    assert {id(p) for group in groups.values() for p in group} == own
    assert model.learning_rate_scales() == {"means": EXTENT, "network": EXTENT}
