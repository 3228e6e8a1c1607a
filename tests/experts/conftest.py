"""Small experts built without a datamanager."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox

from moegs_ns.experts.stg import STGModel, STGModelConfig

NUM_FRAMES = 5


@pytest.fixture
def camera() -> Callable[..., Cameras]:
    """A camera of 24x16 pixels at z = 4 that looks along -z; ``camera(time)``."""

    def build(time: float | None = 0.0) -> Cameras:
        pose = torch.eye(4)[:3]
        pose[2, 3] = 4.0
        return Cameras(
            camera_to_worlds=pose[None],
            fx=20.0,
            fy=20.0,
            cx=12.0,
            cy=8.0,
            width=24,
            height=16,
            times=None if time is None else torch.tensor([[time]]),
        )

    return build


@pytest.fixture
def stg() -> Callable[..., STGModel]:
    """An STG model on a random cloud; keywords override its config, ``times`` and ``durations`` are the seeds'."""

    def build(
        seeds: int = 12, times: torch.Tensor | None = None, durations: torch.Tensor | None = None, **overrides: Any
    ) -> STGModel:
        generator = torch.Generator().manual_seed(0)
        xyz = torch.randn(seeds, 3, generator=generator)
        rgb = torch.randint(0, 256, (seeds, 3), generator=generator, dtype=torch.uint8)
        metadata: dict[str, Any] = {"num_frames": NUM_FRAMES, "camera_extent": 2.0, "camera_names": ["a", "b", "c"]}
        if times is not None:
            metadata["points3D_time"] = times
        if durations is not None:
            metadata["points3D_duration"] = durations
        config = STGModelConfig(**{"seed_copies": 2, **overrides})
        return config.setup(
            scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
            num_train_data=10,
            seed_points=(xyz, rgb),
            metadata=metadata,
        )

    return build
