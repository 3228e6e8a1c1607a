"""One of many cameras, in little time."""

import copy
from dataclasses import fields
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.tensor_dataclass import TensorDataclass
from torch import Tensor


def one_camera(cameras: Cameras, index: int) -> Cameras:
    """``cameras[index : index + 1]``, whose checks and broadcasts take many times as long as what they do to parts that
    have passed them already."""
    part = slice(index, index + 1)

    def taken(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: taken(one) for key, one in value.items()}
        return value[part] if isinstance(value, Tensor | TensorDataclass) else value

    if cameras.ndim != 1 or not 0 <= index < len(cameras):
        return cameras[part]
    camera = copy.copy(cameras)
    for one in fields(cameras):
        object.__setattr__(camera, one.name, taken(getattr(cameras, one.name)))
    object.__setattr__(camera, "_shape", torch.Size([1]))
    return camera
