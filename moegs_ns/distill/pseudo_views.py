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
    """At every instant the same number of places, each between a training camera and one of those nearest to it.

    Args:
        cameras: all training images', with times.
        per_instant: places per instant.
        seed: of the choice.

    Attributes:
        cameras: instant by instant; none is a training camera (they carry no ``camera_index``).

    Raises:
        ValueError: no places, or training cameras in one place only.
    """

    def __init__(self, cameras: Cameras, per_instant: int, seed: int) -> None:
        if per_instant < 1:
            raise ValueError(f"expected at least one pseudo-view per instant, found {per_instant}")
        assert cameras.times is not None
        poses = cameras.camera_to_worlds
        different = poses[torch.from_numpy(_first_of_each(poses[:, :, 3].double().numpy()))]
        if len(different) < 2:
            raise ValueError("expected training cameras in at least two places for pseudo-views, found one")
        self._per_instant, self._seed = per_instant, seed
        self._instants, ranks = torch.unique(cameras.times[:, 0], return_inverse=True)
        rng = random.Random(seed)
        bases, found = [], []
        for instant in range(len(self._instants)):
            shown = (ranks == instant).nonzero()[:, 0].tolist()
            for _ in range(per_instant):
                bases.append(rng.choice(shown))
                found.append(_place_beside(poses[bases[-1]], different, rng))
        self.cameras = copy.copy(cameras[torch.tensor(bases)])
        self.cameras.camera_to_worlds = torch.stack(found).to(poses)
        known = {"camera_index", "frame_index"}
        self.cameras.metadata = {key: value for key, value in (self.cameras.metadata or {}).items() if key not in known}

    def choose(self, time: float, count: int, step: int) -> list[int]:
        """Positions in `cameras` of ``count`` views of one instant, different ones as far as there are; a resumed
        training sees the same in the same step.

        Args:
            time: of a training image.
            count: of the views.
            step: of the training.
        """
        instant = int((self._instants - time).abs().argmin())
        order = list(range(self._per_instant))
        random.Random(f"{self._seed} {step}").shuffle(order)
        return [instant * self._per_instant + order[number % len(order)] for number in range(count)]


def interpolated(start: torch.Tensor, end: torch.Tensor, share: float) -> torch.Tensor:
    """The pose ``[3,4]`` a ``share`` in [0,1] of the way: positions on a line, rotations on the shortest arc."""
    turns = Rotation.from_matrix(np.stack([pose[:, :3].double().numpy() for pose in (start, end)]))
    rotation = torch.from_numpy(Slerp([0.0, 1.0], turns)(share).as_matrix())
    position = torch.lerp(start[:, 3].double(), end[:, 3].double(), share)
    return torch.cat([rotation, position[:, None]], dim=1)


def _place_beside(pose: torch.Tensor, others: torch.Tensor, rng: random.Random) -> torch.Tensor:
    distances = (others[:, :, 3] - pose[:, 3]).norm(dim=1)
    nearest = [other for other in distances.argsort().tolist() if distances[other] > 0][:_NEIGHBOURS]
    return interpolated(pose, others[rng.choice(nearest)], rng.random())


def _first_of_each(places: np.ndarray) -> np.ndarray:
    _, first = np.unique(places, axis=0, return_index=True)
    return np.sort(first)
