"""Ex4DGS: its state at a time, its two sets, error back-tracking, density control and reload."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from nerfstudio.engine.optimizers import Optimizers
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation, Slerp

from moegs_ns.experts.ex4dgs import Ex4DGSModel, Ex4DGSModelConfig
from moegs_ns.experts.ex4dgs_density import extracted_tensors
from moegs_ns.experts.ex4dgs_errors import SeenView, accumulate_errors
from moegs_ns.splats.projection import rotation_matrices
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.training.optimizers import RAdamConfig

NUM_FRAMES = 31
NAN = torch.nan


@pytest.fixture(autouse=True)
def readable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_RASTER", "torch")


def build(untimed: int = 14, times: tuple[float, ...] = (), **overrides: Any) -> Ex4DGSModel:
    """Static Gaussians at ``untimed`` random points, dynamic ones at as many as there are ``times``."""
    count = untimed + len(times)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    metadata: dict[str, Any] = {"num_frames": NUM_FRAMES, "camera_extent": 2.0}
    if times:
        metadata["points3D_time"] = torch.tensor([NAN] * untimed + list(times))[:, None]
    return Ex4DGSModelConfig(**{"sh_degree": 1, "sh_degree_interval": 1, **overrides}).setup(
        scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
        num_train_data=10,
        seed_points=(
            torch.randn(count, 3, generator=generator),
            torch.randint(0, 256, (count, 3), generator=generator, dtype=torch.uint8),
        ),
        metadata=metadata,
    )


def randomise(model: Ex4DGSModel, amount: float = 0.3) -> Ex4DGSModel:
    with torch.no_grad():
        for parameter in model.gaussians.parameters():
            parameter += amount * torch.randn_like(parameter)
    return model


def optimizers_of(model: Ex4DGSModel) -> Optimizers:
    groups = model.get_param_groups()
    return Optimizers({name: {"optimizer": RAdamConfig(lr=1e-3), "scheduler": None} for name in groups}, groups)


def train_step(model: Ex4DGSModel, optimizers: Optimizers, step: int, cameras: list, target: torch.Tensor) -> float:
    attributes = TrainingCallbackAttributes(optimizers=optimizers, grad_scaler=None, pipeline=None, trainer=None)
    before, after = model.get_training_callbacks(attributes)
    before.run_callback(step)
    optimizers.zero_grad_all()
    losses = [model.get_loss_dict(model(c), {"image": target})["photometric"] for c in cameras]
    loss = sum(losses) / len(losses) + sum(model.step_losses().values())
    loss.backward()
    for optimizer in optimizers.optimizers.values():
        optimizer.step()
    after.run_callback(step)
    return float(loss.detach())


def values(model: Ex4DGSModel, part: str) -> dict[str, np.ndarray]:
    return {name: p.detach().double().numpy() for name, p in model.gaussians[part].params.items()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# -- state at a time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [0, 7.25, 8, 30])
def test_state_at_a_time_follows_the_paper(frame: float) -> None:
    model = randomise(build(times=(0.1, 0.5, 0.9, 1.0)))
    model.training_step.fill_(800)  # the window ends at frame 20
    static, dynamic = values(model, "static"), values(model, "dynamic")
    splats = model.splats_at(frame / 30)
    assert len(splats) == 18
    moved = static["means"] + static["displacement"] * frame / 20
    np.testing.assert_allclose(splats.means[:14].detach().numpy(), moved, atol=1e-5)
    np.testing.assert_allclose(splats.opacities[:14].detach().numpy(), sigmoid(static["opacities"]), rtol=1e-5)

    # Keyframes every ten frames, the second one two frames before the clip.
    at = np.arange(dynamic["means"].shape[1]) * 10 - 12
    tangents = (dynamic["means"][:, 2:] - dynamic["means"][:, :-2]) / 20
    curve = CubicHermiteSpline(at[1:-1], dynamic["means"][:, 1:-1], tangents, axis=1)
    np.testing.assert_allclose(splats.means[14:].detach().numpy(), curve(frame), atol=1e-5)
    for quat, keyframes in zip(splats.quats[14:].detach().numpy(), dynamic["quats"], strict=True):
        turned = Slerp(at, Rotation.from_quat(np.roll(keyframes, -1, axis=-1)))(frame)
        assert (Rotation.from_quat(np.roll(quat, -1)).inv() * turned).magnitude() < 1e-3
    first, last = np.sort(dynamic["time_centers"]).T * 10 - 12  # in frames
    distance = np.stack([np.maximum(first - frame, 0), np.maximum(frame - last, 0)], axis=1) / 10
    fade = np.exp(-((distance / (np.exp(dynamic["time_log_widths"]) + 3 / 23.6)) ** 2)).prod(axis=1)
    np.testing.assert_allclose(
        splats.opacities[14:].detach().numpy(), sigmoid(dynamic["opacities"]) * fade, rtol=1e-3, atol=1e-6
    )
    np.testing.assert_allclose(
        splats.scales.detach().numpy(), np.exp(np.concatenate([static["scales"], dynamic["scales"]])), rtol=1e-5
    )


def test_seeds_without_a_time_are_static_those_with_one_dynamic_around_it() -> None:
    model = build(untimed=5, times=(0.0, 0.2, 0.4, 0.4))
    static, dynamic = model.gaussians["static"], model.gaussians["dynamic"]
    assert (len(static), len(dynamic), len(model.gaussians)) == (5, 4, 9)
    points = model.seed_points[0]
    assert torch.equal(static["means"], points[:5])
    assert torch.equal(dynamic["means"], points[5:, None].expand(-1, model.clock.count, -1))
    full = 0.1
    for time, expected in ((0.0, [0, 1, 1, 1]), (0.2, [1, 0, 1, 1]), (0.4, [1, 1, 0, 0])):
        faded = model.splats_at(time).opacities[5:] < 0.99 * full
        assert faded.tolist() == [bool(e) for e in expected], time
    halfway = model.splats_at(0.1).opacities[5:].detach()
    assert (halfway[:2] > 0.99 * full).all(), "one takes over from the other"
    assert float(model.splats_at(1.0).opacities[5:].detach().max()) < 0.15 * full  # three gaps after the last of them


def test_a_cloud_per_frame_starts_from_its_first_frame_as_in_the_paper() -> None:
    model = build(untimed=0, times=(0.0, 0.0, 0.5, 1.0))
    assert (len(model.gaussians["static"]), len(model.gaussians["dynamic"])) == (2, 0)
    assert len(build(untimed=0, times=(0.0, *(0.5,) * 30, 1.0), max_seeds=3).gaussians) == 1, "chosen, then thinned out"


def test_seeds_are_thinned_out_to_the_limit_timed_ones_last() -> None:
    def counts(**limits: int) -> tuple[int, int]:
        model = build(untimed=40, times=(0.5,) * 10, **limits)
        return len(model.gaussians["static"]), len(model.gaussians["dynamic"])

    assert counts() == counts(max_gaussians=50) == (40, 10)
    assert counts(max_seeds=30, max_gaussians=100) == (20, 10)
    assert counts(max_gaussians=12) == (2, 10)


def test_initial_picture_has_the_seeds_colour() -> None:
    model = build(times=(0.5,)).eval()
    model.training_step.fill_(9)
    colors = model.colors(model.splats_at(0.5), torch.eye(4))
    assert torch.allclose(colors, model.seed_points[1].float() / 255, atol=1e-6)


def test_pictures_are_filtered_and_their_background_is_random_in_training_only(camera) -> None:
    model = build(untimed=3)
    assert model.projection_settings.antialiased and model.projection_settings.eps2d == 0.1
    torch.manual_seed(4)
    corners = [model.train().get_outputs(camera(0.5))["rgb"][0, 0].detach() for _ in range(2)]
    assert not torch.allclose(*corners)
    outputs = model.eval().get_outputs_for_camera(camera(0.5))
    assert outputs["rgb"].shape == (16, 24, 3) and "extra" not in outputs
    assert model.background_color().tolist() == [1, 1, 1]


# -- losses and back-tracking ----------------------------------------------------------------------------------------


def test_errors_are_tracked_back_with_the_blending_weights(camera) -> None:
    """Against the weight image of each Gaussian, rendered one by one in channels of their own."""
    model = randomise(build(times=(0.4, 0.5, 0.6)), 0.1)
    with torch.no_grad():
        for part in model.gaussians:
            part["opacities"].add_(4)
    count = len(model.gaussians)
    optimizers = optimizers_of(model)
    target = torch.rand(16, 24, 3, generator=torch.Generator().manual_seed(1))
    from moegs_ns.losses import ssim_map
    from moegs_ns.splats.camera import viewmat_from_camera_to_world

    view, state = camera(0.5), torch.get_rng_state()
    with torch.no_grad():
        shown = model.train().get_outputs(view)["rgb"]
        weights = rasterize(
            model.splats_at(0.5),
            torch.eye(count),
            viewmat_from_camera_to_world(view.camera_to_worlds[0]),
            view.get_intrinsics_matrices()[0],
            24,
            16,
            settings=model.projection_settings,
        ).images[0]
    weight = weights.sum(dim=(0, 1))
    error = (weights * (shown - target).abs().mean(-1, keepdim=True)).sum(dim=(0, 1)) / weight
    alike = (weights * ssim_map(shown, target).mean(-1, keepdim=True)).sum(dim=(0, 1)) / weight

    torch.set_rng_state(state)  # the same background
    train_step(model, optimizers, 0, [view], target)
    seen = weight > 0.02
    assert 5 < int(seen.sum()) < count
    for name, expected in (("error_sum", error), ("similarity_sum", alike), ("least_error", error)):
        actual = torch.cat([part.statistic(name) for part in model.gaussians])
        torch.testing.assert_close(actual[seen], expected[seen], rtol=1e-3, atol=1e-5)
    frames = torch.cat([part.statistic("least_error_frame") for part in model.gaussians])
    assert (frames[seen] == 15).all() and (frames[weight < 1e-3] == -1).all()


def test_back_tracking_changes_neither_loss_nor_gradients(camera) -> None:
    model = randomise(build(times=(0.4, 0.5)), 0.1)
    target = torch.rand(16, 24, 3, generator=torch.Generator().manual_seed(1))

    def step(tracking: bool) -> tuple[torch.Tensor, list]:
        torch.manual_seed(3)
        model.zero_grad()
        outputs = model.train().get_outputs(camera(0.45))
        loss = model.get_loss_dict(outputs if tracking else {"rgb": outputs["rgb"]}, {"image": target})["photometric"]
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in model.gaussians.parameters()]

    (with_loss, with_gradients), (loss, gradients) = step(True), step(False)
    torch.testing.assert_close(with_loss, loss)
    for one, other in zip(with_gradients, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)


def test_statistics_of_several_views_are_of_each_views_own_error(camera) -> None:
    target = torch.zeros(16, 24, 3)
    sums = []
    for views in (1, 3):
        model = build(random_background=False)
        train_step(model, optimizers_of(model), 0, [camera(0.0)] * views, target)
        static = model.gaussians["static"]
        sums.append(static.statistic("error_sum") / static.statistic("error_count").clamp_min(1))
    torch.testing.assert_close(*sums)
    assert sums[0].max() > 0


def test_hidden_gaussians_learn_nothing_of_when_they_fit() -> None:
    """The gradient of a mean over two views holds half of each view's weights."""
    for weight, known in ((0.012, True), (0.008, False)):
        model = build(untimed=1)
        probe = torch.zeros(1, 3)
        probe.grad = torch.tensor([[weight, 0.5 * weight, 0.0]]) / 2
        view = SimpleNamespace(radii=torch.tensor([6]))
        accumulate_errors(model.gaussians, SeenView(7, torch.eye(4), 24, view, probe), views=2)
        static = model.gaussians["static"]
        assert static.statistic("error_sum").item() == pytest.approx(0.5)
        assert static.statistic("least_radius").item() == pytest.approx(6 / 24)
        assert static.statistic("least_error_frame").item() == (7 if known else -1)


def test_regularisers() -> None:
    model = randomise(build(times=(0.5, 0.6), motion_weight=0.5, displacement_weight=0.25))
    assert model.step_losses() == {}
    model.training_step.fill_(500)
    losses = model.step_losses()
    displacement = np.linalg.norm(values(model, "static")["displacement"], axis=1)
    assert losses["displacement"].item() == pytest.approx(0.25 * np.log(displacement + 1e-3).mean(), rel=1e-5)
    # The window ends at frame 10, position 2.2: keyframe 4 is the last its curves use.
    keyframes = values(model, "dynamic")["means"]
    assert keyframes.shape[1] > 5
    distances = np.linalg.norm(keyframes[:, 1:5] - keyframes[:, :1], axis=-1)
    assert losses["motion"].item() == pytest.approx(0.5 * distances.mean(), rel=1e-5)
    assert set(randomise(build(window_interval=0, extract_delay=0)).step_losses()) == {"displacement"}


# -- the window and extraction ---------------------------------------------------------------------------------------


def test_training_sees_no_frame_beyond_the_window() -> None:
    class DataManager:
        limits: list[float] = []  # noqa: RUF012

        def limit_time(self, latest: float) -> None:
            self.limits.append(latest)

    model = build()
    manager = SimpleNamespace(datamanager=DataManager())
    attributes = TrainingCallbackAttributes(optimizers_of(model), None, manager, None)
    for step in (0, 799, 800, 1200, 5000):
        for callback in model.get_training_callbacks(attributes):
            if callback.where_to_run[0].name == "BEFORE_TRAIN_ITERATION":
                callback.run_callback(step)
    assert DataManager.limits == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1, 1])

    other = TrainingCallbackAttributes(optimizers_of(model), None, SimpleNamespace(datamanager=object()), None)
    with pytest.raises(ValueError, match="set --pipeline.model.window-interval 0"):
        model.get_training_callbacks(other)
    assert len(build(window_interval=0).get_training_callbacks(other)) == 2


def test_what_moves_is_carried_on_when_the_window_grows() -> None:
    model = build(times=(0.2, 0.2, 0.9), window_interval=10, extract_start=10)
    g, clock = model.gaussians["dynamic"], model.clock
    frames, speed = clock.keyframes(), torch.tensor([[0.1, 0, 0], [0, -0.2, 0], [0, 0, 0.3]])
    with torch.no_grad():
        model.gaussians["static"]["displacement"].normal_()
        line = g["means"][:, :1] + frames[None, :, None] * speed[:, None]
        g["means"].copy_(line)
        g["means"][1, 2] += 5.0  # a detour, which does not count
        g["means"][:, 4:] = 7.0  # beyond what frames up to 10 pull at
        g["time_log_widths"].fill_(6.0)
        g["time_centers"][:2] = torch.tensor([[1.3, 2.0], [1.0, 1.1]])
    model.training_step.fill_(19)
    before = model.splats_at(8 / 30).means
    model.control_density(20, optimizers_of(model))
    model.training_step.fill_(20)
    torch.testing.assert_close(model.splats_at(8 / 30).means, before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(g["means"][:2, 3:], line[:2, 3:], atol=1e-4, rtol=1e-4)
    assert torch.equal(g["means"][2, 4:], torch.full_like(g["means"][2, 4:], 7.0)), "its time is still to come"
    assert g["time_log_widths"].tolist() == [[6, 1], [6, 6], [6, 6]], "what ended lately fades"


def test_extraction_keeps_the_picture(camera) -> None:
    model = randomise(build(untimed=30), 0.2)
    model.training_step.fill_(800)
    model.eval()
    static = model.gaussians["static"]
    static["opacities"].data += 2
    static.statistic("least_error_frame").copy_(torch.randint(0, 21, (30,)).float())
    times = [frame / 30 for frame in (0, 3, 11, 20)]
    before = [model.get_outputs_for_camera(camera(time))["rgb"] for time in times]
    chosen = torch.zeros(30, dtype=torch.bool)
    chosen[::2] = True
    optimizers = optimizers_of(model).optimizers
    rows = extracted_tensors(static, chosen, model.clock, end=20)
    model.gaussians["dynamic"].append(rows, model.gaussians.optimizers_of("dynamic", optimizers))
    static.remove(chosen, model.gaussians.optimizers_of("static", optimizers))
    assert [len(part) for part in model.gaussians] == [15, 15]
    after = [model.get_outputs_for_camera(camera(time))["rgb"] for time in times]
    assert float((before[0] - before[-1]).abs().max()) > 0.05, "something moves"
    for one, other in zip(before, after, strict=True):
        assert float((one - other).abs().max()) < 1e-3


def test_temporal_centres_of_the_extracted_lie_around_the_frame_they_fitted_best() -> None:
    model = build(untimed=3)
    static = model.gaussians["static"]
    static.statistic("least_error_frame").copy_(torch.tensor([0.0, 8.0, 20.0]))
    rows = extracted_tensors(static, torch.ones(3, dtype=torch.bool), model.clock, end=20)
    frames = 10 * rows["time_centers"] - 12
    torch.testing.assert_close(frames, torch.tensor([[1.0, 10.0], [4.0, 14.0], [10.0, 19.0]]))


def test_the_fastest_visible_gaussians_become_dynamic_at_the_windows_newest_frames(camera) -> None:
    model = build(untimed=40, window_interval=10, extract_start=10, extract_delay=6, extract_share=0.1)
    with torch.no_grad():
        static = model.gaussians["static"]
        static["means"].mul_(0.3)
        static["opacities"].fill_(-3.0)
        static["displacement"][:, 0] = torch.linspace(0.0, 0.02, 40)
    speed = model.gaussians["static"]["displacement"].detach().norm(dim=-1)
    distance = (model.gaussians["static"]["means"].detach() - torch.tensor([0.0, 0.0, 4.0])).norm(dim=-1)
    optimizers, target = optimizers_of(model), torch.rand(16, 24, 3)
    for optimizer in optimizers.optimizers.values():
        optimizer.param_groups[0]["lr"] = 0.0
    counts = []
    for step in range(18, 28):
        model.training_step.fill_(step)
        train_step(model, optimizers, step, [camera((20 if step > 22 else 5) / 30)], target)
        counts.append(len(model.gaussians["dynamic"]))
    # Grown after step 20; awaited until frames from 10 on are seen; once more six steps after the growth.
    assert counts == [0, 0, 0, 0, 0, 4, 4, 8, 8, 8]
    # They keep their speed of so much per ten frames, the window before it grew.
    born = model.gaussians["dynamic"]["means"].detach()
    moved = (born[:, 1] - born[:, 0]).norm(dim=-1)
    fastest = (speed / distance**2).topk(8).indices
    torch.testing.assert_close(moved[:4].sort().values, speed[fastest[:4]].sort().values, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(moved.sort().values, speed[fastest].sort().values, rtol=1e-3, atol=1e-6)


def test_the_worst_frames_are_looked_for_and_forgotten() -> None:
    density = build().density
    assert density._worst_frames() is None
    density.frame_losses.copy_(torch.tensor([[5.0, 50.0], [9.0, 30.0], [2.0, 2.0], [1.0, 40.0]]))
    assert density._worst_frames() == (10, 19), "the third was hardly seen"
    assert density._worst_frames() == (0, 9)


def test_extraction_at_the_worst_frames(camera) -> None:
    model = build(error_extract_interval=6, extract_start=2, window_interval=0, densify_stop=8)
    density, optimizers = model.density, optimizers_of(model)
    target = torch.rand(16, 24, 3)
    for step in range(5):
        model.training_step.fill_(step)
        train_step(model, optimizers, step, [camera(25 / 30)], target)
    assert density.frame_losses[2, 1] == 5 and not density.frame_losses[[0, 1, 3]].any()
    density._extract = lambda *_: None  # type: ignore[method-assign]
    train_step(model, optimizers, 5, [camera(0.0)], target)
    assert density.extraction_frames.tolist() == [20, 29]


# -- cloning, splitting, pruning -------------------------------------------------------------------------------------


def test_split_dynamic_gaussians_keep_their_place_in_the_turning_body() -> None:
    model = randomise(build(untimed=2, times=(0.2, 0.5, 0.8)))
    dynamic = model.gaussians["dynamic"]
    parent = {name: p.detach().clone() for name, p in dynamic.params.items()}
    optimizers = model.gaussians.optimizers_of("dynamic", optimizers_of(model).optimizers)
    model.density._split_dynamic(dynamic, torch.tensor([False, True, False]), optimizers)
    assert len(dynamic) == 4
    assert torch.equal(dynamic["means"][:2], parent["means"][[0, 2]])
    torch.testing.assert_close(dynamic["scales"][2:].exp(), (parent["scales"][1].exp() / 1.6).expand(2, 3))
    turned = rotation_matrices(parent["quats"][1])  # [K,3,3]
    local = torch.einsum("kji,nkj->nki", turned, (dynamic["means"] - parent["means"][1])[2:].detach())
    torch.testing.assert_close(local, local[:, :1].expand_as(local), rtol=1e-3, atol=1e-5)
    assert float((local[0] - local[1]).abs().max()) > 1e-3
    assert dynamic["time_log_widths"].max().item() <= 2
    assert model.clock.position(1) <= dynamic["time_centers"][2:].min().item()
    assert dynamic["time_centers"][2:].max().item() <= model.clock.position(29)


def test_copies_do_not_live_longer_than_their_originals() -> None:
    model = build(untimed=1, times=(0.5,) * 6)
    dynamic = model.gaussians["dynamic"]
    dynamic["time_log_widths"].data[:] = torch.tensor([[6.0, -1.0]])
    model.density._scatter_in_time(dynamic, 2)
    assert dynamic["time_log_widths"].tolist() == [[6, -1]] * 4 + [[2, -1]] * 2


def test_growth_respects_the_limit_and_both_thresholds() -> None:
    model = build(untimed=6, times=(0.5,) * 6, max_gaussians=17, densify_interval=10, densify_start=0)
    static, dynamic = model.gaussians["static"], model.gaussians["dynamic"]
    static["opacities"].data[0] = -9.0  # nearly transparent
    with torch.no_grad():
        static["scales"][:] = -9.0
        dynamic["scales"][:] = torch.tensor([[-9.0], [-9.0], [-9.0], [1.0], [1.0], [1.0]])
    for part in (static, dynamic):
        part.gradient_count.fill_(1)
    static.gradient_sum.copy_(torch.tensor([1.0, 1.0, 1.9, 1.9, 3.0, 1.9]) * 1e-4)
    dynamic.gradient_sum.copy_(torch.tensor([0.5, 1.3, 1.4, 1.2, 1.6, 1.7]) * 1e-4)
    optimizers = optimizers_of(model)
    model.control_density(10, optimizers)
    # Room for five: one static above 2e-4, and the four dynamic ones farthest above 1e-4.
    assert (len(static), len(dynamic)) == (6 + 1 - 1, 6 + 4)
    for part in model.gaussians:
        assert not part.gradient_sum.any() and not part.statistic("error_count").any()
    for name, parameter in model.gaussians.params.items():
        assert optimizers.optimizers[name].param_groups[0]["params"][0] is parameter


def test_density_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(
        densify_start=20,
        densify_interval=10,
        densify_stop=100,
        error_prune_start=50,
        error_prune_rounds=2,
        widen_interval=40,
        widen_stop=90,
        unseen_prune_start=105,
        error_extract_interval=0,
        window_interval=0,
    )
    density, done, now = model.density, [], 0
    for name in ("_wrong", "_widen", "_prune_unseen"):
        monkeypatch.setattr(density, name, lambda *_, name=name: done.append((name, now)))
    monkeypatch.setattr(density, "_prune", lambda *_: done.append(("_prune", now)))
    optimizers = optimizers_of(model)
    for now in range(1, 131):
        model.control_density(now, optimizers)

    def steps(name: str) -> list[int]:
        return sorted({at for what, at in done if what == name})

    assert steps("_prune") == [30, 40, 50, 60, 70, 80, 90]
    assert steps("_wrong") == [60, 80]
    assert steps("_widen") == [40, 80]
    assert steps("_prune_unseen") == [110, 120, 130]  # ten training images


def test_what_is_wrong_unseen_or_tiny_is_removed() -> None:
    model = build(untimed=6, times=(0.5, 0.5))
    static, dynamic = model.gaussians["static"], model.gaussians["dynamic"]
    static.statistic("error_count").fill_(2)
    static.statistic("error_sum").copy_(torch.tensor([0.1, 0.2, 0.1, 0.1, 0.1, 0.0]))
    static.statistic("similarity_sum").copy_(torch.tensor([1.6, 1.6, 1.1, 1.3, 1.6, 0.0]))
    assert model.density._wrong(static).tolist() == [False, True, True, False, False, False]
    assert not model.density._wrong(dynamic).any()

    optimizers = optimizers_of(model).optimizers
    for part in model.gaussians:
        part.statistic("least_radius").fill_(0.01)
        part.statistic("least_error_frame").fill_(3.0)
    static.statistic("least_radius")[1] = 0.003
    dynamic.statistic("least_error_frame")[0] = -1
    model.density._prune_unseen(7000, model.gaussians, optimizers)
    assert (len(static), len(dynamic)) == (5, 1)
    model.density.window = model.density.window.__class__(30, 10, 10, 400, 20000)
    dynamic.statistic("least_error_frame")[0] = -1
    model.density._prune_unseen(7000, model.gaussians, optimizers)
    assert len(dynamic) == 1, "before the whole clip is trained on, it may still be seen"
    model.density._prune(
        model.gaussians, [torch.ones(5, dtype=torch.bool), torch.ones(1, dtype=torch.bool)], optimizers
    )
    assert len(model.gaussians) == 6, "never all"


def test_what_reaches_an_end_of_the_clip_fades_more_slowly_there() -> None:
    model = build(untimed=1, times=(0.5,) * 3, least_log_width=-0.5)
    g = model.gaussians["dynamic"]
    g["time_centers"].data[:] = torch.tensor([[1.3, 2.0], [2.0, 4.1], [2.0, 3.0]])
    g["time_log_widths"].data[:] = torch.tensor([[1.5, 0.2], [0.0, 0.3], [-2.0, 6.0]])
    model.density._widen(g)
    torch.testing.assert_close(g["time_log_widths"].data, torch.tensor([[3.0, 0.2], [0.0, 2.0], [-0.5, 6.0]]))
    torch.testing.assert_close(g["time_centers"].data, torch.tensor([[1.4, 2.0], [2.0, 4.0], [2.0, 3.0]]))


# -- training and reload ---------------------------------------------------------------------------------------------


def test_loss_falls_and_both_sets_learn(camera) -> None:
    model = build(untimed=30, times=(0.2,) * 10, random_background=False)
    optimizers = optimizers_of(model)
    for optimizer in optimizers.optimizers.values():
        optimizer.param_groups[0]["lr"] = 0.02
    start = {name: p.detach().clone() for name, p in model.gaussians.params.items()}
    target = torch.full((16, 24, 3), 0.3)
    losses = [train_step(model, optimizers, step, [camera(0.5)], target) for step in range(60)]
    assert losses[-1] < 0.7 * losses[0]
    for name, parameter in model.gaussians.params.items():
        assert parameter.isfinite().all()
        still = torch.equal(parameter, start[name])
        assert not still or name in ("dynamic_quats", "static_quats"), name  # round Gaussians do not turn


@pytest.mark.parametrize("times", [(), (0.2, 0.5, 0.5)])
def test_reload_restores_both_sets_the_window_and_what_is_planned(camera, times: tuple[float, ...]) -> None:
    model = randomise(build(times=times, window_interval=10, extract_start=0, extract_delay=4, densify_interval=100))
    optimizers, target = optimizers_of(model), torch.rand(16, 24, 3)
    for step in range(21):
        train_step(model, optimizers, step, [camera(0.1)], target)
    assert model.density.extraction_frames.tolist() == [10, 20]
    model.eval()
    other = build(untimed=1, window_interval=10, extract_start=0, extract_delay=4, densify_interval=100).eval()
    identities = {name: id(p) for name, p in other.gaussians.params.items()}
    other.load_state_dict(model.state_dict())
    assert {name: id(p) for name, p in other.gaussians.params.items()} == identities
    assert [len(part) for part in other.gaussians] == [14, len(times)]
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    for time in (0.1, 0.7):
        pictures = [m.get_outputs_for_camera(camera(time))["rgb"] for m in (other, model)]
        assert torch.equal(*pictures)


def test_the_method_trains_with_radam() -> None:
    from moegs_ns.method_configs import moegs_ex4dgs, moegs_stg

    groups = moegs_ex4dgs.config.optimizers
    assert all(isinstance(group["optimizer"], RAdamConfig) for group in groups.values())
    assert set(groups) == {*build(camera_gains=False).get_param_groups(), "camera_gains"}
    assert not any(isinstance(group["optimizer"], RAdamConfig) for group in moegs_stg.config.optimizers.values())
