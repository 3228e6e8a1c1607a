"""Guided sampling: which cameras, which pixels, which depths; and that a missing far object gets its Gaussians."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.experts.guided_sampling import GuidedSampling, farthest_seed, points_on_rays, worst_pixels
from moegs_ns.experts.registry import expert_family
from moegs_ns.experts.stg import STGModel
from moegs_ns.router.experts import ExpertSpec
from moegs_ns.runs.record import plain
from moegs_ns.splats.camera import viewmat_from_camera_to_world
from moegs_ns.splats.rays import ray_image
from tests.experts.training import make_optimizers, train_step

WIDTH, HEIGHT = 96, 64
#: Rows and columns of the missing object, a multiple of the patch size, inside the border.
OBJECT = (slice(16, 48), slice(32, 80))


@pytest.fixture(autouse=True)
def readable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_RASTER", "torch")


def view(index: int, time: float = 0.0) -> Cameras:
    """Camera ``index`` of three, at z = 4, all of which look along -z."""
    pose = torch.eye(4)[:3]
    pose[:, 3] = torch.tensor([0.2 * index, 0.0, 4.0])
    camera = Cameras(
        pose[None], fx=70.0, fy=75.0, cx=50.0, cy=30.0, width=WIDTH, height=HEIGHT, times=torch.tensor([[time]])
    )
    camera.metadata = {"camera_index": torch.tensor([[index]])}
    return camera


def projected(points: Tensor, camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates ``[N,2]`` and z-depths ``[N]`` from the OpenGL pose, in numpy."""
    pose = camera.camera_to_worlds[0].double().numpy()
    local = (points.detach().double().numpy() - pose[:, 3]) @ pose[:, :3]
    depth = -local[:, 2]
    pixels = np.stack([70 * local[:, 0] / depth + 50, -75 * local[:, 1] / depth + 30], axis=1)
    return pixels, depth


def scene(seed: int = 0) -> tuple[Tensor, Tensor]:
    """A truth of noise on grey where the object is, and the same without it."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.full((HEIGHT, WIDTH, 3), 0.4)
    without = truth.clone()
    shape = truth[OBJECT].shape
    truth[OBJECT] = torch.tensor([0.9, 0.1, 0.2]) + 0.1 * torch.rand(shape, generator=generator)
    return truth, without


def test_worst_pixels_are_whole_patches_of_large_errors() -> None:
    truth, without = scene()
    truth[2, 5] = 0.0  # a single wrong pixel
    truth[:, :4] = 1.0  # at the border
    found = worst_pixels(without, truth).numpy()
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[OBJECT] = True
    expected[::2, ::2] = False
    assert (found == expected).all()


def test_worst_pixels_follow_the_definition() -> None:
    rng = np.random.default_rng(0)
    truth, rendering = rng.random((2, 70, 100, 3))
    rough = rng.random((5, 7)).repeat(16, 0).repeat(16, 1)[:70, :100, None]
    rendering = truth + (0.02 + 0.9 * rough**2) * (rendering - 0.5)
    error = np.abs(rendering / (rendering.mean() + 0.01) - truth / (truth.mean() + 0.01)).sum(axis=2)
    large = error > np.quantile(error, 0.6)
    expected = np.zeros_like(large)
    for row in range(0, 64, 16):
        for column in range(0, 96, 16):
            patch = slice(row, row + 16), slice(column, column + 16)
            expected[patch] = large[patch].mean() > 0.85
    even = np.arange(70)[:, None] % 2 + np.arange(100)[None] % 2 == 0
    expected &= ~even
    inside = np.zeros_like(expected)
    inside[7:63, 10:90] = True
    found = worst_pixels(torch.from_numpy(rendering), torch.from_numpy(truth)).numpy()
    assert 100 < expected.sum() < 3000 and (found == (expected & inside)).all()


def test_images_smaller_than_a_patch_have_none() -> None:
    assert not worst_pixels(torch.rand(12, 40, 3), torch.rand(12, 40, 3)).any()


def test_points_lie_on_the_rays_at_their_depths() -> None:
    camera = view(2)
    viewmat = viewmat_from_camera_to_world(camera.camera_to_worlds[0])
    rays = ray_image(viewmat, camera.get_intrinsics_matrices()[0], WIDTH, HEIGHT)
    rows, columns = torch.tensor([3, 50]), torch.tensor([90, 7])
    pixels, depth = projected(points_on_rays(rays[3:, rows, columns].T, torch.tensor([2.0, 9.0]), viewmat), camera)
    np.testing.assert_allclose(depth, [2.0, 9.0], rtol=1e-5)
    np.testing.assert_allclose(pixels, [[90.5, 3.5], [7.5, 50.5]], atol=1e-3)


def test_farthest_seed_is_of_those_in_view() -> None:
    camera = view(0)
    viewmat, intrinsics = viewmat_from_camera_to_world(camera.camera_to_worlds[0]), camera.get_intrinsics_matrices()[0]
    seeds = torch.tensor([[0.0, 0, 2], [0, 0, -3], [0, 0, 30], [50, 0, -20]])  # near, far, behind, beside
    assert farthest_seed(seeds, viewmat, intrinsics, WIDTH, HEIGHT) == 7.0
    assert farthest_seed(seeds[2:], viewmat, intrinsics, WIDTH, HEIGHT) is None
    line = torch.zeros(1000, 3)
    line[:, 2] = 3.9 - 0.01 * torch.arange(1000)
    expected = np.quantile(4 - line[:, 2].numpy(), 0.99, method="inverted_cdf")
    assert farthest_seed(line, viewmat, intrinsics, WIDTH, HEIGHT) == pytest.approx(expected, abs=0.011)


def similar(truth: Tensor, noise: float) -> Tensor:
    return truth + noise * torch.randn(truth.shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("noises", "chosen"),
    [
        ((0.0, 0.3, 0.2), [False, True, True]),
        ((0.3, 0.2, 0.1), [True, True, False]),
        ((0.3, 0.0, 0.0), [False] * 3),  # fewer than two are bad: none, as the authors have it
    ],
)
def test_the_two_worst_cameras_are_chosen_once_all_were_seen(noises: tuple[float, ...], chosen: list[bool]) -> None:
    guide, seeds = GuidedSampling(3, 2, (1.0,), rest=100), torch.zeros(1, 3)
    truth = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
    order = [0, 1, 1, 2]
    for step, index in enumerate(order):
        # The second rendering of camera 1 is perfect; only the first counts.
        noise = 0.0 if step == 2 else noises[index]
        guide.see(view(index), similar(truth, noise), truth)
        assert not guide.waiting.any()
        guide.see(view(0), truth, truth)  # the last of the step: nothing to sample, it is good
        assert guide.sample(step + 1, seeds) is None
        if step == 0 and noises[0]:
            assert guide.first_ssim[0] < 0.9
    assert guide.waiting.tolist() == chosen


def test_events_need_the_last_camera_a_bad_picture_and_some_rest() -> None:
    truth, without = scene()
    bad = similar(without, 0.2)
    guide, seeds = GuidedSampling(3, 2, (1.0, 2.0), rest=100), torch.tensor([[0.0, 0, -3]])
    for index in range(3):
        guide.see(view(index), similar(truth, 0.0) if index == 2 else bad, truth)
    assert guide.sample(7, seeds) is None  # camera 2, the last, is good
    assert guide.waiting.tolist() == [True, True, False]
    guide.see(view(0), bad, truth)
    guide.see(view(2), bad, truth)
    assert guide.sample(8, seeds) is None
    guide.see(view(0), truth, truth)
    assert guide.sample(9, seeds) is None  # good by now, but it may come again
    guide.see(view(0), bad, truth)
    points, colors = guide.sample(10, seeds)
    assert len(points) == len(colors) > 0 and len(points) % 2 == 0
    for step in (11, 110):
        guide.see(view(1), bad, truth)
        assert guide.sample(step, seeds) is None
    guide.see(view(0), bad, truth)
    assert guide.sample(111, seeds) is None  # each camera once
    guide.see(view(1), bad, truth)
    assert guide.sample(111, seeds) is not None
    assert not guide.waiting.any()
    assert guide.sample(112, seeds) is None


Build = Callable[..., STGModel]


@pytest.fixture
def near_things(stg: Build) -> Build:
    """An STG model that knows only what is near: seeds at z-depths 3 to 5."""

    def build(**options: Any) -> STGModel:
        model = stg(seeds=20, guided_start=2, guided_depths=(1.0, 3.0), densify_start=100, **options)
        generator = torch.Generator().manual_seed(2)
        points = torch.rand(20, 3, generator=generator) * torch.tensor([1.0, 0.6, 2.0]) - torch.tensor([0.5, 0.3, 1.0])
        model.seed_points = (points, model.seed_points[1])
        model.gaussians["means"].data = points.repeat(2, 1)
        model.gaussians["scales"].data.fill_(-2.5)
        return model

    return build


def object_error(model: STGModel, truth: Tensor) -> float:
    picture = model.eval().get_outputs_for_camera(view(0, 0.5))["rgb"]
    model.train()
    return float((picture - truth)[OBJECT].abs().mean())


@pytest.mark.parametrize("head", ["sh", "lite", "full"])
def test_a_missing_far_object_gets_gaussians(near_things: Build, head: str) -> None:
    model = near_things(head=head, initial_log_time_scale=0.5)
    for parameter in model.head.parameters():
        parameter.data.zero_()  # an untrained decoder paints every empty pixel wrong
    optimizers = make_optimizers(model)
    truth, _ = scene()
    step, before = 0, len(model.gaussians)
    error = object_error(model, truth)
    torch.manual_seed(0)
    while len(model.gaussians) == before:
        moments = optimizers.optimizers["motion"].state_dict()["state"]
        kept = copy.deepcopy(moments)
        train_step(model, optimizers, step, [view((step + 1) % 3), view(step % 3)], truth)
        step += 1
        assert step < 8
    assert step >= 3  # from step 2 on every camera must be seen once
    camera, g = view((step - 1) % 3), model.gaussians
    new = {name: parameter.detach()[before:] for name, parameter in g.params.items()}
    pixels, depth = projected(new["means"], camera)
    rows, columns = OBJECT
    assert (pixels[:, 1] >= rows.start).all() and (pixels[:, 1] < rows.stop).all()
    assert (pixels[:, 0] >= columns.start).all() and (pixels[:, 0] < columns.stop).all()
    # Every place of the object, three of four pixels, at both depths.
    assert len({tuple(np.floor(p).astype(int)) for p in pixels}) == 32 * 48 * 3 // 4 == len(pixels) / 2
    _, seed_depths = projected(model.seed_points[0], camera)
    share = depth / seed_depths.max()
    near = share < 2
    assert near.sum() == len(share) / 2
    for shares, center in ((share[near], 1.0), (share[~near], 3.0)):
        assert (np.abs(shares / center - 1) < 0.0501).all() and np.std(shares / center) > 0.02
    target = truth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
    splats = model.splats_at(0.5)
    if head == "full":
        assert torch.equal(new["features"][:, :3], target) and not new["features"][:, 3:].any()
    else:
        color = model.channels(splats, torch.eye(4)).detach()[before:]
        torch.testing.assert_close(color, target, atol=1e-5, rtol=0)
    assert (new["time_center"] >= 0).all() and (new["time_center"] < 1).all() and new["time_center"].std() > 0.2
    torch.testing.assert_close(new["opacities"].sigmoid(), torch.full((len(pixels),), 0.1))
    assert (new["time_log_scale"] == 0.5).all() and not new["motion"].any()
    assert torch.equal(new["quats"], torch.tensor([1.0, 0, 0, 0]).expand(len(pixels), 4))
    distances = torch.cdist(g["means"][before : before + 5].detach().double(), g["means"].detach().double())
    expected = distances.sort(dim=1).values[:, 1:4].square().mean(dim=1).sqrt().log().float()
    torch.testing.assert_close(new["scales"][:5, 0], expected, atol=1e-3, rtol=1e-3)
    # Optimizers hold the new tensors; moments of the old rows live on, those of the new are fresh.
    for name, parameter in g.params.items():
        assert optimizers.optimizers[name].param_groups[0]["params"] == [parameter]
    state = optimizers.optimizers["motion"].state[g["motion"]]
    assert state["exp_avg"].shape == (len(g), 9) and not state["exp_avg"][before:].any()
    assert kept and state["exp_avg"][:before].any()
    assert len(g.gradient_sum) == len(g)
    # The full head's sigmoid shows little of a colour at first.
    assert object_error(model, truth) < (0.92 if head == "full" else 0.7) * error
    train_step(model, optimizers, step, [camera, camera], truth)


def test_no_more_are_added_than_there_is_room_for(near_things: Build) -> None:
    model = near_things(max_gaussians=100)
    optimizers = make_optimizers(model)
    truth, _ = scene()
    for step in range(8):
        train_step(model, optimizers, step, [view((step + 1) % 3), view(step % 3)], truth)
    assert len(model.gaussians) == 100


def test_resumed_at_any_step_it_samples_the_same(near_things: Build) -> None:
    truth, _ = scene()

    def train(model: STGModel, optimizers: Any, steps: range) -> None:
        for step in steps:
            train_step(model, optimizers, step, [view((step + 1) % 3), view(step % 3)], truth)

    whole = near_things(head="full", max_gaussians=200)
    optimizers = make_optimizers(whole)
    torch.manual_seed(3)
    train(whole, optimizers, range(2))
    saved = (
        copy.deepcopy(whole.state_dict()),
        {n: copy.deepcopy(o.state_dict()) for n, o in optimizers.optimizers.items()},
    )
    assert saved[0]["guide.first_ssim"].isfinite().sum() == 2  # in the middle of looking at the cameras
    random = torch.get_rng_state()
    train(whole, optimizers, range(2, 6))
    assert len(whole.gaussians) == 200
    resumed = near_things(head="full", max_gaussians=200)
    own = make_optimizers(resumed)
    resumed.load_state_dict(saved[0])
    for name, optimizer in own.optimizers.items():
        optimizer.load_state_dict(saved[1][name])
    torch.set_rng_state(random)
    train(resumed, own, range(2, 6))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_an_expert_that_used_it_is_rebuilt_without_its_data(near_things: Build) -> None:
    model = near_things().eval()
    spec = ExpertSpec("stg", "stg", plain(model.config), model.describe()["scene_facts"])
    rebuilt = spec.build()
    rebuilt.load_state_dict(model.state_dict())
    pictures = [one.eval().get_outputs_for_camera(view(1, 0.5))["rgb"] for one in (model, rebuilt)]
    assert rebuilt.config.guided_depths == (1.0, 3.0) and torch.equal(*pictures)


def test_off_by_default_and_impossible_without_named_cameras(stg: Build) -> None:
    model = stg()
    assert model.guide is None and not any(name.startswith("guide") for name in model.state_dict())
    with pytest.raises(ValueError, match="guided sampling: expected a data parser that names its cameras"):
        expert_family("stg").config(guided_start=3).setup(
            scene_box=model.scene_box, num_train_data=1, seed_points=model.seed_points, metadata={"num_frames": 5}
        )
