"""Ex4DGS: its state at a time, its two sets, losses, error back-tracking, training and reload."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation, Slerp

from moegs_ns.experts.ex4dgs_errors import SeenView, accumulate_errors
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.training.optimizers import RAdamConfig
from tests.experts.ex4dgs_models import NAN, build, optimizers_of, randomise, sigmoid, values
from tests.experts.training import train_step


@pytest.fixture(autouse=True)
def readable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_RASTER", "torch")


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
    assert torch.equal(dynamic["means"], points[5:, None].expand(-1, model.keyframe_clock.count, -1))
    full = 0.1
    for time, expected in ((0.0, [0, 1, 1, 1]), (0.2, [1, 0, 1, 1]), (0.4, [1, 1, 0, 0])):
        faded = model.splats_at(time).opacities[5:] < 0.99 * full
        assert faded.tolist() == [bool(e) for e in expected], time
    halfway = model.splats_at(0.1).opacities[5:].detach()
    assert (halfway[:2] > 0.99 * full).all(), "one takes over from the other"
    assert float(model.splats_at(1.0).opacities[5:].detach().max()) < 0.15 * full  # three gaps after the last of them


def test_seeds_stay_as_long_as_something_moves_at_their_place() -> None:
    model = build(untimed=2, times=(0.4, 0.5, 0.6, 0.6), durations=(0.1, NAN, 0.5, 1.0))
    # One keyframe is ten frames of thirty; seeds are 0.3 keyframes apart.
    expected = np.maximum(0.3, 0.7 * 3 * np.array([0.1, 0.0, 0.5, 1.0]))
    widths = model.gaussians["dynamic"]["time_log_widths"].detach().exp()
    np.testing.assert_allclose(widths, np.stack([expected, expected], axis=1), rtol=1e-5)
    shown = model.splats_at(0.9).opacities[2:].detach() / 0.1
    assert (shown[:2] < 0.1).all() and (shown[2:] > 0.4).all()


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
    assert outputs["rgb"].shape == (16, 24, 3) and "probe" not in outputs
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
