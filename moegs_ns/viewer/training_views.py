"""The photographs a model was trained on: which one is nearest to where someone stands, and when."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

_SAME_TIME = 1e-6
_KEPT = 8  # photographs


class TrainingViews:
    """The images of a data set with times, each with its camera.

    Args:
        dataset: nerfstudio's ``InputDataset`` of the training split, with at least one image.
        metadata: of it; ``camera_names`` and ``first_frame`` are read.
    """

    def __init__(self, dataset: Any, metadata: Mapping[str, Any]) -> None:
        self._dataset = dataset
        self._cameras: Cameras = dataset.cameras.to("cpu")
        self._names = metadata.get("camera_names")
        self._first_frame = int(metadata.get("first_frame", 0))
        poses = self._cameras.camera_to_worlds
        self._centres, self._directions = poses[:, :, 3], -poses[:, :, 2]
        spread = float((self._centres - self._centres.mean(dim=0)).norm(dim=1).mean())
        self._spread = spread if spread > 0 else 1.0
        self._kept: OrderedDict[int, Tensor] = OrderedDict()

    def nearest(self, camera: Cameras) -> int:
        """The image of the instant nearest to a camera's (of size 1) whose view is most like it: place as measured by
        the cameras' spread, and direction, count alike."""
        pose = camera.camera_to_worlds[0].cpu()
        away = (self._centres - pose[:, 3]).norm(dim=1) / self._spread
        turned = 1 - self._directions @ -pose[:, 2]
        unlike = away + turned
        if camera.times is not None and self._cameras.times is not None:
            gaps = (self._cameras.times[:, 0] - float(camera.times.reshape(-1)[0].cpu())).abs()
            unlike = torch.where(gaps <= gaps.min() + _SAME_TIME, unlike, torch.inf)
        return int(unlike.argmin())

    def camera(self, image: int, pixels: float) -> Cameras:
        """The image's camera, with a picture of about so many pixels, at most its own."""
        camera = self._cameras[image : image + 1]
        own = float(camera.width * camera.height)
        if pixels < own:
            camera.rescale_output_resolution((pixels / own) ** 0.5)
        return camera

    def photograph(self, image: int, height: int, width: int) -> Tensor:
        """``[height,width,3]`` float in [0,1], each pixel the mean of what it covers."""
        if image not in self._kept:
            self._kept[image] = self._dataset.get_image_float32(image)[..., :3]
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        whole = self._kept[image].permute(2, 0, 1)[None]
        return F.interpolate(whole, size=(height, width), mode="area")[0].permute(1, 2, 0)

    def label(self, image: int) -> str:
        """Such as ``cam03, frame 12``."""
        facts = self._cameras.metadata or {}
        parts = []
        if "camera_index" in facts:
            camera = int(facts["camera_index"][image])
            parts.append(str(camera) if self._names is None else str(self._names[camera]))
        if "frame_index" in facts:
            parts.append(f"frame {int(facts['frame_index'][image]) + self._first_frame}")
        return ", ".join(parts) or f"image {image}"
