"""A nerfstudio viewer of an in-memory model in this process, with the project's page."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.models.base_model import Model
from nerfstudio.viewer.viewer import Viewer

from moegs_ns.viewer.page import ViewerPage
from moegs_ns.viewer.render_thread import stop_rendering
from moegs_ns.viewer.start_view import StartView
from tests.viewer.viewer_client import ViewerClient

FRAMES = 5
#: Where `look` stands: before the origin, upright, looking along -z.
PLACE, TURN, FIELD_OF_VIEW, ASPECT = (0.0, 0.0, 40.0), (0.0, 1.0, 0.0, 0.0), 0.9, 4 / 3


def row_of_images(width: int = 640, height: int = 480) -> Cameras:
    """Two cameras at z = 4 that look along -z, x = -1 and x = 1, each with every frame."""
    poses = torch.eye(4)[None, :3].repeat(2 * FRAMES, 1, 1)
    poses[:, 2, 3] = 4.0
    poses[:, 0, 3] = torch.tensor([-1.0] * FRAMES + [1.0] * FRAMES)
    frames = torch.arange(FRAMES).repeat(2)[:, None]
    return Cameras(
        camera_to_worlds=poses,
        fx=float(width),
        fy=float(width),
        cx=width / 2,
        cy=height / 2,
        width=width,
        height=height,
        times=frames / (FRAMES - 1),
        metadata={"camera_index": torch.arange(2).repeat_interleave(FRAMES)[:, None], "frame_index": frames},
    )


class Photographs:
    """A data set whose images are grey, the brighter the later."""

    def __init__(self) -> None:
        self.cameras = row_of_images()
        self.metadata = {"num_frames": FRAMES, "fps": 20.0, "camera_names": ["left", "right"]}

    def get_image_float32(self, image: int) -> torch.Tensor:
        """``[480,640,3]``."""
        return torch.full((480, 640, 3), (image % FRAMES) / FRAMES)


def free_port() -> int:
    """A port nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@contextmanager
def live_page(model: Model, folder: Path) -> Iterator[tuple[ViewerPage, int]]:
    """The page of a running viewer, and the port it listens at."""
    dataset = Photographs()
    page = ViewerPage(dataset, dataset.metadata)
    pipeline: Any = SimpleNamespace(
        model=model,
        datamanager=SimpleNamespace(includes_time=True),
        viewer_page=page,
        start_view=StartView(dataset.cameras, None, 4.0),
    )
    port = free_port()
    viewer = Viewer(
        ViewerConfig(websocket_port=port, websocket_host="localhost"),
        log_filename=folder / "viewer.log",
        datapath=folder,
        pipeline=pipeline,
        train_lock=Lock(),
    )
    try:
        yield page, port
    finally:
        stop_rendering()
        viewer.viser_server.stop()


def look(client: ViewerClient, aside: float = 0.0) -> None:
    """Stand before the scene."""
    client.stand((PLACE[0] + aside, *PLACE[1:]), TURN, FIELD_OF_VIEW, ASPECT)
