"""How Ex4DGS's window grows, what becomes dynamic, and what is cloned, split and removed."""

from types import SimpleNamespace

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes

from moegs_ns.experts.ex4dgs_density import extracted_tensors
from moegs_ns.splats.projection import rotation_matrices
from tests.experts.ex4dgs_models import build, optimizers_of, randomise
from tests.experts.training import train_step


@pytest.fixture(autouse=True)
def readable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_RASTER", "torch")


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
    g, clock = model.gaussians["dynamic"], model.keyframe_clock
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
    rows = extracted_tensors(static, chosen, model.keyframe_clock, end=20)
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
    rows = extracted_tensors(static, torch.ones(3, dtype=torch.bool), model.keyframe_clock, end=20)
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
    assert model.keyframe_clock.position(1) <= dynamic["time_centers"][2:].min().item()
    assert dynamic["time_centers"][2:].max().item() <= model.keyframe_clock.position(29)


def test_split_dynamic_gaussians_scatter_by_twice_their_size() -> None:
    model = build(untimed=2, times=(0.5,) * 500)
    dynamic, sizes = model.gaussians["dynamic"], torch.tensor([0.05, 0.2, 1.0])
    dynamic["means"].data.zero_()
    dynamic["scales"].data.copy_(sizes.log().expand(500, 3))
    optimizers = model.gaussians.optimizers_of("dynamic", optimizers_of(model).optimizers)
    model.density._split_dynamic(dynamic, torch.ones(500, dtype=torch.bool), optimizers)
    assert len(dynamic) == 1000
    torch.testing.assert_close(dynamic["means"].detach()[:, 0].std(dim=0), 2 * sizes, rtol=0.1, atol=0)


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
