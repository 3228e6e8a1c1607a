"""An expert of several clips: each part trains as a model of its own, together they are one expert."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor

from moegs_ns.experts.clips import ClippedModel, Clips
from moegs_ns.experts.stg import STGModel, STGModelConfig
from tests.experts.training import make_optimizers, train_step

#: Frames 0-4, 5-9 and 10-12.
FRAMES, CLIP, LENGTHS = 13, 5, (5, 5, 3)


@pytest.fixture(autouse=True)
def readable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_RASTER", "torch")


def seeds(count: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    xyz = torch.randn(count, 3, generator=generator)
    return xyz, torch.randint(0, 256, (count, 3), generator=generator, dtype=torch.uint8)


def build(
    num_frames: int = FRAMES,
    clip_frames: int | None = CLIP,
    times: Tensor | None = None,
    durations: Tensor | None = None,
    **options: Any,
) -> Any:
    metadata: dict[str, Any] = {"num_frames": num_frames, "camera_extent": 2.0, "camera_names": ["a", "b"]}
    if times is not None:
        metadata["points3D_time"] = times
    if durations is not None:
        metadata["points3D_duration"] = durations
    torch.manual_seed(0)
    config = STGModelConfig(**{"seed_copies": 2, "clip_frames": clip_frames, "sh_degree_interval": 2, **options})
    return config.setup(
        scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
        num_train_data=10,
        seed_points=seeds(),
        metadata=metadata,
    )


def time_of(frame: int, num_frames: int = FRAMES) -> float:
    return frame / (num_frames - 1)


def targets() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(16, 24, 3, generator=generator) for _ in range(FRAMES)]


def test_every_frame_has_its_clip_and_its_own_time() -> None:
    clips = Clips(FRAMES, CLIP)
    assert len(clips) == 3 and [clips.frames_of(clip) for clip in range(3)] == [*LENGTHS]
    times = torch.arange(FRAMES).float() / (FRAMES - 1)
    found, own = clips.locate(times)
    assert found.tolist() == [frame // 5 for frame in range(FRAMES)]
    expected = [(frame % 5) / (LENGTHS[frame // 5] - 1) for frame in range(FRAMES)]
    torch.testing.assert_close(own, torch.tensor(expected))
    between, own = clips.locate(torch.tensor([4.4, 4.6, 2.5, 99.0]) / (FRAMES - 1))
    assert between.tolist() == [0, 1, 0, 2]
    torch.testing.assert_close(own, torch.tensor([1.0, 0.0, 2.5 / 4, 1.0]))
    single = Clips(3, 1).locate(torch.tensor([0.0, 0.5, 1.0]))
    assert single[0].tolist() == [0, 1, 2] and single[1].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="clip-frames of at least 1, found 0"):
        Clips(3, 0)


def test_clips_as_long_as_the_video_make_an_ordinary_model() -> None:
    assert isinstance(build(clip_frames=13), STGModel) and isinstance(build(clip_frames=None), STGModel)
    assert isinstance(build(clip_frames=12), ClippedModel)


def test_seeds_belong_to_their_clip_and_those_without_a_time_to_all() -> None:
    times = torch.full((12, 1), torch.nan)
    times[:3, 0] = torch.tensor([0, 4, 7]) / 12  # clips 0, 0, 1
    model = build(times=times, moving_log_time_scale=-3.0)
    xyz = seeds()[0]
    for clip, (own, at) in enumerate((([0, 1], [0.0, 1.0]), ([2], [0.5]), ([], []))):
        g = model.parts[clip].gaussians
        untimed = xyz[3:].repeat(2, 1)
        assert torch.equal(g["means"], torch.cat([untimed, xyz[own]]))
        clock = (LENGTHS[clip] - 1) / LENGTHS[clip]
        torch.testing.assert_close(g["time_center"][18:], clock * torch.tensor(at))
        assert (g["time_log_scale"][18:] == -3.0).all()
    assert model.num_gaussians == 3 * 18 + 3


def test_durations_are_shares_of_the_clip_in_each_part() -> None:
    times, durations = torch.full((12, 1), torch.nan), torch.full((12, 1), torch.nan)
    times[:2, 0], durations[:2, 0] = torch.tensor([0, 12]) / 12, torch.tensor([0.2, 0.9])
    model = build(times=times, durations=durations, moving_log_time_scale=-9.0, moving_width=1.0)
    for clip, expected in ((0, 0.2 * FRAMES / LENGTHS[0]), (2, 1.0)):
        found = model.parts[clip].gaussians["time_log_scale"][-1].detach().exp()
        torch.testing.assert_close(found, torch.tensor(expected))


def test_limits_hold_for_all_parts_together() -> None:
    assert build(max_gaussians=40).num_gaussians == 3 * 12
    assert build(max_seeds=9, seed_copies=1).num_gaussians == 9


def clip_step(models: list[tuple[Any, Any]], camera: Callable, step: int, frame: int) -> None:
    for model, optimizers in models:
        time = time_of(frame)
        if isinstance(model, STGModel):
            time = time_of(frame % CLIP, LENGTHS[frame // CLIP])
        train_step(model, optimizers, step, [camera(time), camera(time)], targets()[frame])


@pytest.mark.parametrize("head", ["sh", "full"])
def test_parts_train_as_separate_models_do(camera, head: str) -> None:
    """Interleaved in one run, bit for bit, optimizer moments and schedules included."""
    options = {"head": head, "densify_start": 0, "densify_interval": 2, "densify_stop": 4, "opacity_reset_interval": 3}
    whole = build(**options, prune_opacity=0.099, densify_rounds=0)
    optimizers = make_optimizers(whole)
    alone = []
    for clip, length in enumerate(LENGTHS):
        model = build(length, None, **options, prune_opacity=0.099, densify_rounds=0)
        model.load_state_dict(whole.parts[clip].state_dict())
        alone.append((model, make_optimizers(model)))
    steps = [0, 0, 0]
    for step, frame in enumerate((0, 7, 3, 12, 8, 1, 5, 4, 10, 2)):
        clip = frame // CLIP
        clip_step([(whole, optimizers)], camera, step, frame)
        clip_step([alone[clip]], camera, steps[clip], frame)
        steps[clip] += 1
    assert steps == [5, 3, 2]
    assert [int(part.training_step) for part in whole.parts] == steps and int(whole.training_step) == 10
    for clip, (model, own) in enumerate(alone):
        for name, value in model.state_dict().items():
            assert torch.equal(value, whole.parts[clip].state_dict()[name]), (clip, name)
        for name, optimizer in own.optimizers.items():
            states = (one.state_dict()["state"] for one in (optimizer, optimizers.optimizers[f"{name}_clip{clip}"]))
            for one, other in zip(*(state.values() for state in states), strict=True):
                assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    for frame in range(FRAMES):
        model, _ = alone[frame // CLIP]
        outputs = whole.eval().get_outputs_for_camera(camera(time_of(frame)))
        expected = model.eval().get_outputs_for_camera(camera(time_of(frame % CLIP, LENGTHS[frame // CLIP])))
        assert torch.equal(outputs["rgb"], expected["rgb"]) and torch.equal(outputs["depth"], expected["depth"])


def test_density_is_controlled_in_the_parts_a_step_reached(camera) -> None:
    model = build(densify_start=0, densify_interval=2, densify_gradient=0.0, max_gaussians=3 * 30)
    optimizers = make_optimizers(model)
    sizes = []
    for step, frame in enumerate((0, 6, 1, 7)):
        clip_step([(model, optimizers)], camera, step, frame)
        sizes.append([len(part.gaussians) for part in model.parts])
    assert sizes == [[24, 24, 24], [24, 24, 24], [30, 24, 24], [30, 30, 24]]
    for clip, part in enumerate(model.parts):
        for name, parameter in part.gaussians.params.items():
            group = f"{name}_clip{clip}"
            assert optimizers.optimizers[group].param_groups[0]["params"] == [parameter]
            assert optimizers.parameters[group] == [parameter]


def test_resumed_in_the_middle_it_goes_on_as_before(camera) -> None:
    options = {"densify_start": 0, "densify_interval": 2, "densify_gradient": 0.0, "max_gaussians": 3 * 40}
    whole = build(**options)
    optimizers = make_optimizers(whole)
    frames = (0, 6, 1, 7, 12, 2, 8, 11, 3, 9)
    for step in range(5):
        clip_step([(whole, optimizers)], camera, step, frames[step])
    saved = copy.deepcopy((whole.state_dict(), {n: o.state_dict() for n, o in optimizers.optimizers.items()}))
    random = torch.get_rng_state()
    resumed = build(**options)
    own = make_optimizers(resumed)
    resumed.load_state_dict(saved[0])
    for name, optimizer in own.optimizers.items():
        optimizer.load_state_dict(saved[1][name])
    for model, its_own in ((whole, optimizers), (resumed, own)):
        torch.set_rng_state(random)
        for step in range(5, 10):
            clip_step([(model, its_own)], camera, step, frames[step])
    assert whole.num_gaussians > 3 * 30
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_rows_and_description_are_of_all_parts() -> None:
    model = build()
    model.parts[1].gaussians.remove(torch.arange(24) < 5, make_optimizers(model.parts[1]).optimizers)
    assert model.num_gaussians == 67
    for frame, rows in ((0, slice(0, 24)), (4, slice(0, 24)), (5, slice(24, 43)), (12, slice(43, 67))):
        part, found = model.part_at(time_of(frame))
        assert part is model.parts[frame // CLIP] and found == rows
        assert len(model.splats_at(time_of(frame))) == rows.stop - rows.start
    facts = model.describe()
    assert facts["num_gaussians"] == 67 and facts["num_gaussians_per_clip"] == [24, 19, 24]
    assert facts["scene_facts"]["num_frames"] == FRAMES
    assert model.camera_extent == 2.0


def test_trajectories_are_of_all_parts_each_visible_in_its_clip() -> None:
    model = build()
    for part in model.parts:
        part.gaussians["motion"].data.normal_()
    times = [time_of(frame) for frame in range(FRAMES)]
    positions, opacities = model.trajectories(times)
    assert positions.shape == (FRAMES, 72, 3) and opacities.shape == (FRAMES, 72)
    for frame, time in enumerate(times):
        _, rows = model.part_at(time)
        splats = model.splats_at(time)
        assert torch.equal(positions[frame, rows], splats.means) and torch.equal(
            opacities[frame, rows], splats.opacities
        )
        assert opacities[frame].count_nonzero() == 24
    first = positions[:, :24]
    assert torch.equal(first[5:], first[4].expand(8, 24, 3)) and not torch.equal(first[3], first[4])
    last = positions[:, 48:]
    assert torch.equal(last[:10], last[10].expand(10, 24, 3))
    index = torch.tensor([70, 3])
    some = model.trajectories(times, index)
    assert torch.equal(some[0], positions[:, index]) and torch.equal(some[1], opacities[:, index])


def test_total_steps_are_shared_out_and_missing_seeds_noticed() -> None:
    model = build()
    groups = model.get_param_groups()
    assert {model.configured_group(name) for name in groups} == {*model.parts[0].get_param_groups()}
    trainer: Any = type("Trainer", (), {"config": type("Config", (), {"max_num_iterations": 1300})})
    optimizers: Any = Optimizers({}, {})
    attributes = TrainingCallbackAttributes(optimizers=optimizers, grad_scaler=None, pipeline=None, trainer=trainer)
    model.get_training_callbacks(attributes)
    assert [part.total_steps for part in model.parts] == [500, 500, 300]
    with pytest.raises(ValueError, match="world z of at least"):
        build(min_z=50.0).get_training_callbacks(attributes)
