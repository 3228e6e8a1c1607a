"""Open nerfstudio's viewer where there is something to see.

A new viewer stands at a fixed place of the world, which suits scenes that were centred and scaled to the unit box.
This project leaves worlds as they are, so that place may lie beneath the floor.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

from moegs_ns.scene.start_view import start_place

_FRUSTUM_DEPTHS = 3.0  # times the configured scale: more than the depth of any frustum of ordinary proportions


class StartView(ViewerControl):
    """Puts every new client at the most central camera, upright, turning around what that camera looks at.

    nerfstudio sets up every such object it finds among a pipeline's public attributes.

    Args:
        cameras: N cameras of the scene, N > 0.
        points: ``[M,3]`` points of the scene, to know how far away it is; None or empty if there are none.
        default_distance: of the scene where no point lies before the camera, in world units.
    """

    def __init__(self, cameras: Cameras, points: Tensor | None = None, default_distance: float = 1.0) -> None:
        place = start_place(cameras, points, default_distance)
        self.position, self.look_at, self.up = place.position.numpy(), place.look_at.numpy(), place.up.numpy()
        self.field_of_view = place.field_of_view
        self._frustum = 0.0

    def _setup(self, viewer: Any) -> None:
        super()._setup(viewer)
        self._frustum = viewer.config.camera_frustum_scale
        viewer.viser_server.on_client_connect(self.place)

    def place(self, client: Any) -> None:
        """Move a client to the start, a step ahead of the camera: its frustum, with a photograph, stays behind."""
        target = np.asarray(self.look_at) * VISER_NERFSTUDIO_SCALE_RATIO
        start = np.asarray(self.position) * VISER_NERFSTUDIO_SCALE_RATIO
        distance = np.linalg.norm(target - start)
        start = start + min(_FRUSTUM_DEPTHS * self._frustum, distance / 2) * (target - start) / distance
        with client.atomic():
            client.camera.up_direction = self.up
            client.camera.position = start
            client.camera.look_at = target
            client.camera.fov = self.field_of_view


def scene_distance(metadata: Mapping[str, Any]) -> float:
    """About how far away a scene is, in world units: between its bounds."""
    return math.sqrt(float(metadata.get("near", 1.0)) * float(metadata.get("far", 1.0)))
