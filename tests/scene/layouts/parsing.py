"""Parsing as nerfstudio does, and what tests ask of the outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from moegs_ns.scene.dataparsers.layouts import LAYOUTS


def parse(layout: str, data: Path, split: str = "train", **options: Any) -> DataparserOutputs:
    """What a layout's data parser makes of a folder."""
    return LAYOUTS[layout].config(data=data, **options).setup().get_dataparser_outputs(split)


def labels(outputs: DataparserOutputs) -> list[tuple[str, int]]:
    """Camera and frame (in the recording) of every image."""
    metadata = outputs.cameras.metadata
    cameras, frames = (metadata[key][:, 0].tolist() for key in ("camera_index", "frame_index"))
    names, first = outputs.metadata["camera_names"], outputs.metadata["first_frame"]
    return [(names[camera], frame + first) for camera, frame in zip(cameras, frames, strict=True)]


def rays(cameras: Cameras, image: int, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """nerfstudio's rays of an image through pixels ``[M,2]`` (column, row): origins and unit directions ``[M,3]``."""
    coordinates = torch.from_numpy(pixels[:, ::-1].copy()).float()
    bundle = cameras.generate_rays(camera_indices=torch.full((len(pixels), 1), image), coords=coordinates)
    return bundle.origins.numpy(), bundle.directions.numpy()


def project(cameras: Cameras, image: int, points: np.ndarray) -> np.ndarray:
    """Pixels ``[M,2]`` of world points ``[M,3]``, written out from nerfstudio's documented axes (x right, y up, z
    backward, pixel centres at +0.5)."""
    pose = cameras.camera_to_worlds[image].double().numpy()
    fx, fy, cx, cy = (getattr(cameras, key)[image].item() for key in ("fx", "fy", "cx", "cy"))
    local = (points - pose[:, 3]) @ pose[:, :3]
    return np.stack([cx - fx * local[:, 0] / local[:, 2], cy + fy * local[:, 1] / local[:, 2]], axis=1)
