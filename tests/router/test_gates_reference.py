"""The mixture's gates and loss from their parts: experts composited alone, nerfstudio's rays, the network in numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.losses import ssim
from moegs_ns.router import mixture
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.splats.camera import viewmat_from_camera_to_world
from moegs_ns.splats.rasterize import rasterize
from tests.router.building import HEIGHT, WIDTH, make_camera, make_mixture, randomise_router

pytestmark = pytest.mark.usefixtures("native")

WEIGHT_BACKGROUND = 0.5


def moved_camera(time: float) -> Cameras:
    """From the other side, turned the other way, with other focal lengths."""
    camera = make_camera(time)
    angle = torch.tensor(-0.5)
    turn = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]])
    camera.camera_to_worlds = torch.cat([turn, torch.tensor([[-2.0], [0.3], [3.5]])], dim=1)[None]
    camera.fx, camera.fy = 0.8 * camera.fx, 0.9 * camera.fy
    return camera


def reference_gates(model: MixtureModel, camera: Cameras, time: float) -> np.ndarray:
    """``[K,H,W]``: Eqs. 5 to 8 written out; no function of the router is used."""
    viewmat = viewmat_from_camera_to_world(camera.camera_to_worlds[0])
    rays = camera.generate_rays(camera_indices=0)
    sight = torch.cat([rays.origins, rays.directions], dim=-1).numpy()
    layers = [weight.detach().numpy()[:, :, 0, 0] for weight in model.router.network.parameters()]
    logits = []
    for expert, weights in zip(model.experts, model.router.weights, strict=True):
        maps = rasterize(
            expert.splats_at(time),
            torch.cat([weights.base, time * weights.time], dim=1).detach(),
            viewmat,
            camera.get_intrinsics_matrices()[0],
            WIDTH,
            HEIGHT,
            settings=expert.projection_settings,
            background=torch.full((3,), WEIGHT_BACKGROUND),
        ).images[0]
        hidden = np.concatenate([maps.numpy()[..., 1:], sight], axis=-1)
        for layer in layers[:-1]:
            hidden = np.maximum(hidden @ layer.T, 0)
        logits.append(maps.numpy()[..., 0] + (hidden @ layers[-1].T)[..., 0])
    exponentials = np.exp(np.stack(logits))
    return exponentials / exponentials.sum(axis=0)


def test_gates_equal_the_equations_at_every_time_and_camera(runs: list[Path]) -> None:
    model = make_mixture(runs, weight_background=WEIGHT_BACKGROUND).eval()
    randomise_router(model)
    with torch.no_grad():
        for parameter in model.router.network.parameters():
            # No unit is asleep, and the rays weigh enough to be missed.
            parameter.copy_(0.4 * parameter.abs() + 0.3 * parameter)
    found = []
    for time in (0.2, 1.0):
        for camera in (make_camera(time), moved_camera(time)):
            outputs = model.get_outputs_for_camera(camera)
            gates = np.stack([outputs[f"gate_{name}"][..., 0].numpy() for name in model.expert_names])
            np.testing.assert_allclose(gates, reference_gates(model, camera, time), atol=1e-4)
            found.append(gates)
    # Neither time nor camera is without effect: the comparison would notice another one.
    assert np.abs(found[0] - found[2]).max() > 0.05 and np.abs(found[0] - found[1]).max() > 0.05


def test_the_network_sees_the_rays_of_the_camera_that_is_rendered(runs: list[Path]) -> None:
    model = make_mixture(runs).eval()
    for camera in (make_camera(0.2), moved_camera(0.2)):
        seen = model.look(camera)[0].rays
        rays = camera.generate_rays(camera_indices=0)
        expected = torch.cat([rays.origins, rays.directions], dim=-1).permute(2, 0, 1)
        torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("weight", [None, 0.7])
def test_the_loss_is_l1_and_ssim_in_the_configured_shares(runs: list[Path], weight: float | None) -> None:
    model = make_mixture(runs) if weight is None else make_mixture(runs, ssim_weight=weight)
    generator = torch.Generator().manual_seed(0)
    rgb, truth = torch.rand(2, HEIGHT, WIDTH, 3, generator=generator)
    share = 0.2 if weight is None else weight  # MoE-GS trains with the loss of 3D Gaussian Splatting
    absolute, structure = (rgb - truth).abs().mean(), 1 - ssim(rgb, truth)
    losses = model.get_loss_dict({"rgb": rgb}, {"image": truth})
    assert set(losses) == {"photometric"}
    assert abs(float(absolute - structure)) > 0.1
    torch.testing.assert_close(losses["photometric"], (1 - share) * absolute + share * structure)


def test_the_initial_weight_of_the_config_is_that_of_every_gaussian(runs: list[Path]) -> None:
    model = make_mixture(runs, initial_weight=0.9)
    assert [len(weights) for weights in model.router.weights] == [len(expert.gaussians) for expert in model.experts]
    for weights in model.router.weights:
        assert torch.equal(weights.base, torch.full_like(weights.base, 0.9))
        assert not weights.time.any()


def test_no_graph_is_built_through_the_experts(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It would cost memory and a backward pass through their colours, for gradients nobody wants."""
    model = make_mixture(runs).train()
    modes, blended = [], []

    def watch(expert: Any, name: str) -> None:
        method = getattr(expert, name)

        def watched(*arguments: Any) -> Any:
            modes.append(torch.is_grad_enabled())
            return method(*arguments)

        monkeypatch.setattr(expert, name, watched)

    def blend(gates: Tensor, images: Tensor) -> Tensor:
        blended.append((gates.requires_grad, images.requires_grad))
        return original(gates, images)

    original = mixture.blend
    monkeypatch.setattr(mixture, "blend", blend)
    for expert in model.experts:
        watch(expert, "splats_at")
        watch(expert, "colors")
    outputs = model.get_outputs(make_camera(0.3))
    assert modes == [False] * 4
    assert blended == [(True, False)]
    assert outputs["rgb"].requires_grad
