"""nerfstudio dataset whose images are frames of videos, read through the frame store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset

from moegs_ns.scene.frame_cache import CameraFrames
from moegs_ns.scene.frame_store import FrameStore


class FrameDataset(InputDataset):
    """Images of a data parser that gives ``metadata["frame_sources"]`` and ``camera_index``/``frame_index`` per image.

    Nothing is decoded before the first image of a camera is asked for; `frames` offers to do it beforehand.

    Args:
        dataparser_outputs: of one split; may hold no image.
        scale_factor: must be 1, sizes are the data parser's business.
    """

    def __init__(self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0) -> None:
        if scale_factor != 1.0:
            raise ValueError(
                f"expected camera_res_scale_factor = 1, found {scale_factor}; use the data parser's --downscale"
            )
        super().__init__(dataparser_outputs, scale_factor)
        self._camera_index = self.cameras.metadata["camera_index"][:, 0].tolist()
        self._frame_index = self.cameras.metadata["frame_index"][:, 0].tolist()
        self.frames = FrameStore(self._frames_of_cameras())

    def _frames_of_cameras(self) -> list[CameraFrames]:
        first_image = {camera: image for image, camera in reversed(list(enumerate(self._camera_index)))}
        widths, heights = self.cameras.width[:, 0].tolist(), self.cameras.height[:, 0].tolist()
        return [
            CameraFrames(
                source=Path(source),
                first_frame=self.metadata["first_frame"],
                num_frames=self.metadata["num_frames"],
                width=widths[first_image[camera]],
                height=heights[first_image[camera]],
            )
            for camera, source in enumerate(self.metadata["frame_sources"])
        ]

    def get_numpy_image(self, image_idx: int) -> np.ndarray:
        """Image as uint8 ``[H,W,3]`` RGB, a writable copy of the cached frame (torch refuses read-only memory)."""
        return self.frames.frame(self._camera_index[image_idx], self._frame_index[image_idx]).copy()
