"""The router learns where which expert is right."""

from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from moegs_ns.experts.base import ExpertModel
from moegs_ns.experts.views import image_psnr
from moegs_ns.router.mixture import MixtureModel
from moegs_ns.splats.sh import sh_from_color
from moegs_ns.training.optimizers import RAdamConfig
from tests.router.building import make_expert, make_mixture, save_run

WIDTH, HEIGHT = 32, 24


def front_camera(time: float) -> Cameras:
    pose = torch.eye(4)[:3]
    pose[2, 3] = 4.0
    return Cameras(
        pose[None], fx=24.0, fy=24.0, cx=16.0, cy=12.0, width=WIDTH, height=HEIGHT, times=torch.tensor([[time]])
    )


def wall(wrong: str | None, seed: int) -> ExpertModel:
    """A motionless wall of patches whose left or right half has wrong colours."""
    y, x = torch.meshgrid(torch.linspace(-2, 2, 12), torch.linspace(-2.6, 2.6, 16), indexing="ij")
    count = x.numel()
    expert = make_expert("stg", seed, count=count, seed_copies=1)
    generator = torch.Generator().manual_seed(0)
    colors = 0.2 + 0.6 * torch.rand(count, 3, generator=generator)
    x, y = x.flatten(), y.flatten()
    if wrong is not None:
        mistaken = x < 0 if wrong == "left" else x > 0
        error = 0.3 * torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
        colors = torch.where(mistaken[:, None], (colors + error).clamp(0, 1), colors)
    with torch.no_grad():
        values = {
            "means": torch.stack([x, y, torch.zeros_like(x)], dim=1),
            "scales": torch.full((count, 3), -1.7),
            "opacities": torch.full((count,), 4.0),
            "sh_base": sh_from_color(colors),
        }
        for name, parameter in expert.gaussians.params.items():
            if name in values:
                parameter.copy_(values[name])
            elif name not in ("quats", "time_center"):
                parameter.zero_()
        expert.gaussians["time_log_scale"].fill_(3.0)
    return expert


def train(model: MixtureModel, truth: Tensor, steps: int) -> None:
    rates = {"weights": 0.5, "time_weights": 0.05, "network": 0.05}
    optimizers = [RAdamConfig(lr=rates[name]).setup(group) for name, group in model.get_param_groups().items()]
    model.train()
    for step in range(steps):
        outputs = model(front_camera(step % 4 / 3))
        for optimizer in optimizers:
            optimizer.zero_grad()
        model.get_loss_dict(outputs, {"image": truth})["photometric"].backward()
        for optimizer in optimizers:
            optimizer.step()


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_prefers_the_right_expert_in_each_half_and_beats_both(tmp_path: Path, temperature: float) -> None:
    truth = wall(None, seed=0).eval().get_outputs_for_camera(front_camera(0.5))["rgb"]
    runs = [save_run(tmp_path / wrong, wall(wrong, seed), "stg") for seed, wrong in ((1, "right"), (2, "left"))]
    model = make_mixture(runs, train_temperature=temperature, eval_temperature=temperature)
    start = model.eval().get_outputs_for_camera(front_camera(0.5))
    torch.testing.assert_close(start["gate_stg"], torch.full((HEIGHT, WIDTH, 1), 0.5))

    train(model, truth, steps=60)

    outputs = model.eval().get_outputs_for_camera(front_camera(0.5))
    good_left = outputs["gate_stg"][..., 0]
    # Patches reach over the middle; leave out the columns where halves meet.
    assert (good_left[:, :13] > 0.5).float().mean() > 0.95 and good_left[:, :13].mean() > 0.7
    assert (good_left[:, 19:] < 0.5).float().mean() > 0.95 and good_left[:, 19:].mean() < 0.3
    scores = {name: float(image_psnr(outputs[name], truth)) for name in ("rgb", "expert_stg", "expert_stg_2")}
    assert scores["rgb"] > max(scores["expert_stg"], scores["expert_stg_2"]) + 3, scores
    assert scores["rgb"] > float(image_psnr(start["rgb"], truth)) + 1
