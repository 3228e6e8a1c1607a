"""Small Ex4DGS models without a data manager, and what their tests read off them."""

from typing import Any

import numpy as np
import torch
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.optimizers import Optimizers

from moegs_ns.experts.ex4dgs import Ex4DGSModel, Ex4DGSModelConfig
from moegs_ns.training.optimizers import RAdamConfig
from tests.experts.training import make_optimizers

NUM_FRAMES = 31
NAN = torch.nan


def build(
    untimed: int = 14, times: tuple[float, ...] = (), durations: tuple[float, ...] = (), **overrides: Any
) -> Ex4DGSModel:
    """Static Gaussians at ``untimed`` random points, dynamic ones at as many as there are ``times``; their
    ``durations`` are unknown by default."""
    count = untimed + len(times)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    metadata: dict[str, Any] = {"num_frames": NUM_FRAMES, "camera_extent": 2.0}
    if times:
        metadata["points3D_time"] = torch.tensor([NAN] * untimed + list(times))[:, None]
    if durations:
        metadata["points3D_duration"] = torch.tensor([NAN] * untimed + list(durations))[:, None]
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
    return make_optimizers(model, RAdamConfig(lr=1e-3))


def values(model: Ex4DGSModel, part: str) -> dict[str, np.ndarray]:
    return {name: p.detach().double().numpy() for name, p in model.gaussians[part].params.items()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
