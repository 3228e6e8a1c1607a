"""Pseudo-views: places between the training cameras, of which only a teacher knows what is seen. Not in the paper."""

import copy
import random

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from scipy.spatial.transform import Rotation, Slerp

# A view from between two cameras is one their pictures vouch for; between far ones there may be anything.
_NEIGHBOURS = 3


class PseudoViews:
    """Cameras between a training camera and one of those nearest to it.

    Args:
        cameras: all training images'.
        seed: of the choice; the same step always gets the same views.
    """

    def __init__(self, cameras: Cameras, seed: int) -> None:
        places = cameras.camera_to_worlds[:, :, 3].double()
        self._poses = cameras.camera_to_worlds[torch.from_numpy(_first_of_each(places.numpy()))]
        self._seed = seed
        if len(self._poses) < 2:
            raise ValueError("expected training cameras in at least two places for pseudo-views, found one")

    def between(self, camera: Cameras, step: int, number: int) -> Cameras:
        """A camera of ``camera``'s time and lens, on the way to one of its nearest neighbours.

        Args:
            camera: of size 1.
            step: of the training.
            number: of the view in the step.

        Returns:
            A camera of size 1 that is none of the training cameras: without ``camera_index``.
        """
        rng = random.Random(f"{self._seed} {step} {number}")
        pose = camera.camera_to_worlds[0].cpu()
        distances = (self._poses[:, :, 3] - pose[:, 3]).norm(dim=1)
        others = distances.argsort()[: _NEIGHBOURS + 1].tolist()
        others = [other for other in others if distances[other] > 0][:_NEIGHBOURS]
        target, share = self._poses[rng.choice(others)], rng.random()
        moved = copy.copy(camera)
        moved.camera_to_worlds = interpolated(pose, target, share).to(camera.camera_to_worlds)[None]
        known = {"camera_index", "frame_index"}
        moved.metadata = {key: value for key, value in (camera.metadata or {}).items() if key not in known}
        return moved


def interpolated(start: torch.Tensor, end: torch.Tensor, share: float) -> torch.Tensor:
    """The pose ``[3,4]`` a ``share`` in [0,1] of the way: positions on a line, rotations on the shortest arc."""
    turns = Rotation.from_matrix(np.stack([pose[:, :3].double().numpy() for pose in (start, end)]))
    rotation = torch.from_numpy(Slerp([0.0, 1.0], turns)(share).as_matrix())
    position = torch.lerp(start[:, 3].double(), end[:, 3].double(), share)
    return torch.cat([rotation, position[:, None]], dim=1)


def _first_of_each(places: np.ndarray) -> np.ndarray:
    _, first = np.unique(places, axis=0, return_index=True)
    return np.sort(first)
