"""STG's heads: what they hold, what they composite, and what their decoder makes of it."""

import copy

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from moegs_ns.experts.heads import FeatureDecoder, make_head
from moegs_ns.experts.recipes import load_recipe
from moegs_ns.experts.stg import STGModel
from moegs_ns.splats.camera import viewmat_from_camera_to_world
from moegs_ns.splats.rasterize import rasterize
from tests.experts.training import make_optimizers, train_step


@pytest.fixture(autouse=True)
def readable_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGS_RASTER", "torch")


def scatter(model: STGModel, seed: int = 1) -> STGModel:
    """The model with every parameter changed at random."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def decoded_by_hand(model: STGModel, features: np.ndarray, camera: Cameras) -> np.ndarray:
    """The paper's network over ``features [H,W,9]``, with nerfstudio's rays, in double precision."""
    bundle = camera.generate_rays(camera_indices=0)
    rays = np.concatenate([bundle.origins.numpy(), bundle.directions.numpy()], axis=-1).astype(np.float64)
    w1, w2 = (p.detach().double().numpy() for p in model.head.parameters())
    seen = np.concatenate([features[..., 3:9], rays], axis=-1)
    rgb = features[..., :3] + np.maximum(seen @ w1.T, 0) @ w2.T
    return 1 / (1 + np.exp(-rgb)) if model.config.decoder_output == "sigmoid" else rgb.clip(0, 1)


@pytest.mark.parametrize(
    ("head", "tensors", "floats"),
    [
        ("lite", {"features": (3,)}, 29),
        ("full", {"features": (6,), "time_features": (3,)}, 35),
        ("sh", {"sh_base": (3,), "sh_rest": (15, 3)}, 26 + 48),
    ],
)
def test_only_what_a_head_needs_exists_and_has_a_learning_rate(stg, head: str, tensors: dict, floats: int) -> None:
    model = stg(head=head)
    common = {"means", "motion", "time_center", "time_log_scale", "quats", "rotation_rate", "scales", "opacities"}
    g = model.gaussians
    assert {*g.params} == common | {*tensors}
    assert {name: tuple(g[name].shape[1:]) for name in tensors} == tensors
    assert model.describe()["floats_per_gaussian"] == floats  # the paper's 35 and 29
    assert sum(p.numel() for p in model.head.parameters()) == (90 if head == "full" else 0)
    groups = model.get_param_groups()
    assert ("decoder" in groups) is (head == "full")
    assert {*groups} <= {*load_recipe("stg").optimizers}
    learning = {id(parameter) for group in groups.values() for parameter in group}
    assert learning == {id(parameter) for parameter in model.parameters() if parameter.numel()}


def test_full_features_start_from_the_colour_twice_and_lite_from_the_colour(stg) -> None:
    colors = stg().seed_points[1].float().repeat(2, 1) / 255
    full, lite = stg(head="full").gaussians, stg(head="lite").gaussians
    assert torch.equal(full["features"], torch.cat([colors, colors], dim=1))
    assert not full["time_features"].any()
    assert torch.equal(lite["features"], colors)


def test_composited_features_follow_the_paper(stg) -> None:
    model = scatter(stg(head="full"))
    g = {name: p.detach().double().numpy() for name, p in model.gaussians.params.items()}
    d = 0.75 * 4 / 5 - g["time_center"]  # five frames: the paper's clock is frame / 5, ours frame / 4
    expected = np.concatenate([g["features"], d[:, None] * g["time_features"]], axis=1)
    splats = model.splats_at(0.75)
    assert splats.sh is None
    np.testing.assert_allclose(model.channels(splats, torch.eye(4)).detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    splats.features.sum().backward()
    assert model.gaussians["time_center"].grad is None  # learns from opacity only
    assert model.gaussians["time_features"].grad.abs().max() > 0


@pytest.mark.parametrize("output", ["sigmoid", "clamp"])
def test_picture_is_the_papers_network_over_composited_features(stg, camera, output: str) -> None:
    model = scatter(stg(head="full", decoder_output=output)).eval()
    view = camera(0.5)
    splats = model.splats_at(0.5).detach()
    viewmat = viewmat_from_camera_to_world(view.camera_to_worlds[0])
    composited = rasterize(
        splats, splats.features, viewmat, view.get_intrinsics_matrices()[0], 24, 16, settings=model.projection_settings
    )
    expected = decoded_by_hand(model, composited.images[0].double().numpy(), view)
    picture = model.get_outputs_for_camera(view)["rgb"].numpy()
    np.testing.assert_allclose(picture, expected, atol=2e-6)
    assert picture.std() > 0.02
    if output == "clamp":
        assert (picture == 0).any() or (picture == 1).any()
    trained = model.train().get_outputs(view)["rgb"]
    np.testing.assert_allclose(trained.detach().numpy(), expected, atol=2e-6)


def test_full_head_owns_its_empty_pixels_and_lite_shows_the_background(stg, camera) -> None:
    view = camera(0.5)
    for head in ("full", "lite"):
        black, white = (scatter(stg(head=head, background=color)).eval() for color in ("black", "white"))
        white.load_state_dict(black.state_dict())
        for model in (black, white):
            model.gaussians["scales"].data.fill_(-4.0)
        one, other = (model.get_outputs_for_camera(view) for model in (black, white))
        empty = one["accumulation"][..., 0] == 0
        assert empty.any()
        if head == "full":
            assert torch.equal(one["rgb"], other["rgb"])
            expected = decoded_by_hand(black, np.zeros((16, 24, 9)), view)
            np.testing.assert_allclose(one["rgb"][empty].numpy(), expected[empty.numpy()], atol=2e-6)
        else:
            assert not one["rgb"][empty].any() and (other["rgb"][empty] == 1).all()


def test_lite_looks_the_same_from_everywhere_and_is_not_clamped_in_training(stg, camera) -> None:
    model = stg(head="lite")
    model.gaussians["features"].data.fill_(1.5)
    model.gaussians["opacities"].data.fill_(8.0)
    splats = model.splats_at(0.0)
    elsewhere = torch.eye(4)
    elsewhere[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(model.channels(splats, torch.eye(4)), model.channels(splats, elsewhere))
    assert float(model.train().get_outputs(camera(0.0))["rgb"].detach().max()) > 1.2
    assert float(model.eval().get_outputs_for_camera(camera(0.0))["rgb"].max()) == 1.0


@pytest.mark.parametrize("output", ["sigmoid", "clamp"])
def test_decoders_gradients_by_finite_differences(output: str) -> None:
    torch.manual_seed(0)
    decoder = FeatureDecoder(output).double()
    features = (0.3 * torch.rand(3, 4, 9, dtype=torch.float64) + 0.2).requires_grad_()
    rays = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
    w1, w2 = decoder.hidden.weight, decoder.color.weight

    def run(features, rays, w1, w2):
        return torch.func.functional_call(decoder, {"hidden.weight": w1, "color.weight": w2}, (features, rays))

    assert torch.autograd.gradcheck(run, (features, rays, w1, w2))


@pytest.mark.parametrize("head", ["lite", "full"])
def test_every_tensor_learns_and_the_loss_falls(stg, camera, head: str) -> None:
    model = stg(seeds=40, head=head)
    optimizers = make_optimizers(model)
    for optimizer in optimizers.optimizers.values():
        optimizer.param_groups[0]["lr"] = 0.02
    before = copy.deepcopy(model.state_dict())
    target = torch.full((16, 24, 3), 0.7)
    losses = [train_step(model, optimizers, step, [camera(step % 3 / 2)], target) for step in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    for name, parameter in model.named_parameters():
        assert not parameter.numel() or not torch.equal(parameter, before[name]), name


def test_clones_and_children_inherit_every_tensor(stg) -> None:
    model = scatter(stg(head="full", densify_gradient=0.0, densify_size=0.5))
    optimizers = make_optimizers(model)
    g = model.gaussians
    g["scales"].data[:12], g["scales"].data[12:] = -2.0, 1.5
    before = {name: parameter.detach().clone() for name, parameter in g.params.items()}
    g.gradient_sum += 1
    g.gradient_count += 1
    model._densify(optimizers)
    assert len(g) == 48 and {parameter.shape[0] for parameter in g.params.values()} == {48}
    for name in ("features", "time_features", "motion", "rotation_rate"):
        small, large = before[name][:12], before[name][12:]
        assert torch.equal(g[name], torch.cat([small, small, large, large])), name
        assert optimizers.optimizers[name].param_groups[0]["params"] == [g[name]]


@pytest.mark.parametrize("head", ["lite", "full"])
def test_training_resumed_from_a_state_equals_the_uninterrupted_one(stg, camera, head: str) -> None:
    options = {"head": head, "densify_start": 1, "densify_interval": 3, "densify_gradient": 0.0, "max_gaussians": 60}
    target = torch.rand(16, 24, 3, generator=torch.Generator().manual_seed(1))
    cameras = [camera(0.25), camera(0.25)]
    whole = stg(**options)
    optimizers = make_optimizers(whole)
    torch.manual_seed(3)
    for step in range(8):
        if step == 4:
            saved = copy.deepcopy((whole.state_dict(), {n: o.state_dict() for n, o in optimizers.optimizers.items()}))
            random = torch.get_rng_state()
        train_step(whole, optimizers, step, cameras, target)
    assert len(whole.gaussians) == 60 > len(saved[0]["gaussians.params.means"])
    torch.manual_seed(4)
    resumed = stg(**options)
    own = make_optimizers(resumed)
    resumed.load_state_dict(saved[0])
    for name, optimizer in own.optimizers.items():
        optimizer.load_state_dict(saved[1][name])
    torch.set_rng_state(random)
    for step in range(4, 8):
        train_step(resumed, own, step, cameras, target)
    one, other = whole.state_dict(), resumed.state_dict()
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_a_state_of_another_head_is_refused(stg) -> None:
    with pytest.raises(ValueError, match=r"no tensor 'gaussians\.params\.(time_)?features'"):
        stg(head="full").load_state_dict(stg().state_dict())
    with pytest.raises(ValueError, match="row shape"):
        stg(head="lite").load_state_dict(stg(head="full").state_dict())


def test_unknown_head_is_refused() -> None:
    with pytest.raises(ValueError, match="'sh', 'lite' or 'full', found 'mlp'"):
        make_head("mlp", 3, "sigmoid")  # type: ignore[arg-type]
