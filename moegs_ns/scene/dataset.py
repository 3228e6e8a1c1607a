"""nerfstudio dataset whose images are frames of videos or image sequences, read through the frame store."""

from __future__ import annotations

from collections import Counter

import numpy as np
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset

from moegs_ns.scene.frame_store import RESIDENT_BYTES, FrameStore


class FrameDataset(InputDataset):
    """Images of a data parser that gives ``metadata["frame_sources"]``, a `CameraFrames` per camera.

    The n-th image of a camera (``camera_index`` of the cameras' metadata) is the n-th frame of its `CameraFrames`.
    Nothing is decoded before the first image of a camera is asked for; `frames` offers to do it beforehand.

    Args:
        dataparser_outputs: of one split; may hold no image.
        scale_factor: must be 1, sizes are the data parser's business.
        resident_bytes: of decoded frames in memory, see `FrameStore`.

    Raises:
        ValueError: another scale factor, or cameras with more or fewer images than frames.
    """

    def __init__(
        self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0, resident_bytes: int = RESIDENT_BYTES
    ) -> None:
        if scale_factor != 1.0:
            raise ValueError(
                f"expected camera_res_scale_factor = 1, found {scale_factor}; use the data parser's --downscale"
            )
        super().__init__(dataparser_outputs, scale_factor)
        self.frames = FrameStore(self.metadata["frame_sources"], max_resident_bytes=resident_bytes)
        self._places: list[tuple[int, int]] = []  # of each image: its camera, and its number among the camera's frames
        counts: Counter[int] = Counter()
        for camera in self.cameras.metadata["camera_index"][:, 0].tolist():
            self._places.append((camera, counts[camera]))
            counts[camera] += 1
        if [counts[camera] for camera in range(len(self.frames))] != [one.num_frames for one in self.frames.cameras]:
            raise ValueError(
                f"expected a data parser with as many images of each camera as frames "
                f"({[one.num_frames for one in self.frames.cameras]}), found {dict(counts)}"
            )

    def get_numpy_image(self, image_idx: int) -> np.ndarray:
        """Image as uint8 ``[H,W,3]`` RGB, a writable copy of the cached frame (torch refuses read-only memory)."""
        return self.frames.frame(*self._places[image_idx]).copy()
