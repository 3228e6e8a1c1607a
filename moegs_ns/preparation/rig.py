"""Cameras of a rig that stands still, known or estimated, before their pictures are straightened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from moegs_ns.files import write_json
from moegs_ns.scene.lens import Lens


@dataclass(frozen=True)
class Rig:
    """N cameras, in the order of the videos."""

    camera_to_worlds: np.ndarray
    """float64 ``[N,3,4]``, OpenGL axes (x right, y up, z backward), as in nerfstudio."""
    lenses: list[Lens]
    """In pixels of the camera's (upright) video."""
    near_far: np.ndarray | None = None
    """float64 ``[N,2]``, world units, where what gave the cameras says so."""
    points: np.ndarray | None = None
    """float64 ``[M,3]``: points of the scene that came with the cameras, world units."""

    def __len__(self) -> int:
        return len(self.lenses)

    @property
    def centres(self) -> np.ndarray:
        """``[N,3]``"""
        return self.camera_to_worlds[:, :, 3]

    def select(self, indices: Sequence[int]) -> Rig:
        """Some of the cameras, in this order."""
        near_far = None if self.near_far is None else self.near_far[list(indices)]
        return replace(
            self,
            camera_to_worlds=self.camera_to_worlds[list(indices)],
            lenses=[self.lenses[index] for index in indices],
            near_far=near_far,
        )


def write_rig(path: Path, rig: Rig) -> None:
    """Keep a rig as JSON; appears only when complete."""
    content = {
        "camera_to_worlds": rig.camera_to_worlds.tolist(),
        "lenses": [asdict(lens) for lens in rig.lenses],
        "near_far": None if rig.near_far is None else rig.near_far.tolist(),
        "points": None if rig.points is None else rig.points.round(6).tolist(),
    }
    write_json(path, content)


def read_rig(path: Path) -> Rig:
    """Inverse of `write_rig`."""
    content = json.loads(path.read_text("utf8"))
    lenses = [
        Lens(**{**lens, "radial": tuple(lens["radial"]), "tangential": tuple(lens["tangential"])})
        for lens in content["lenses"]
    ]
    near_far, points = (
        None if content[name] is None else np.array(content[name], dtype=np.float64) for name in ("near_far", "points")
    )
    return Rig(np.array(content["camera_to_worlds"], dtype=np.float64), lenses, near_far, points)
