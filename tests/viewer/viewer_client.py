"""A viewer in the place of a browser: speaks viser's messages over its websocket.

viser 0.2.7 sends lists of messages packed by msgpack; each has a ``type``. Panel elements arrive as ``GuiAdd...``,
later changes of them as ``GuiUpdateMessage``, renders as ``BackgroundImageMessage``.
"""

import contextlib
import html
import io
import math
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

#: Pixels along the longer side of a refined picture, nerfstudio's default.
_FULL_SIZE = 512


class ViewerClient:
    """Connects to a running viewer; use as a context manager.

    Args:
        port: of the viewer on this machine.
        patience: seconds to wait for anything before giving up.
    """

    def __init__(self, port: int, patience: float = 60.0) -> None:
        self.port = port
        self._patience = patience
        self._elements: dict[str, dict[str, Any]] = {}
        self._nodes: dict[str, dict[str, Any]] = {}
        self._pictures: list[tuple[float, bytes]] = []
        self._forgotten = 0
        self.notes: list[dict[str, Any]] = []
        """Notes in the corner of the window, each with ``title`` and ``body``."""
        self.moved: dict[str, dict[str, Any]] = {}
        """The latest ``SetCamera...`` message of each type: where the server wants this viewer to stand."""

    def __enter__(self) -> "ViewerClient":
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._socket = connect(f"ws://localhost:{self.port}", max_size=None, open_timeout=5)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._reader.join(5)

    def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            for raw in self._socket:
                decoded = msgspec.msgpack.decode(raw)
                for message in decoded if isinstance(decoded, list) else [decoded]:
                    self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind.startswith("GuiAdd"):
            self._elements[message["id"]] = message
        elif kind == "GuiUpdateMessage" and message["id"] in self._elements:
            self._elements[message["id"]].update(message["updates"])
        elif kind == "BackgroundImageMessage":
            self._pictures.append((time.monotonic(), message["rgb_bytes"]))
        elif kind == "NotificationMessage":
            self.notes.append(message)
        elif kind.startswith("SetCamera"):
            self.moved[kind] = message
        elif kind in ("CameraFrustumMessage", "SetPositionMessage", "SetOrientationMessage", "CatmullRomSplineMessage"):
            self._nodes.setdefault(message["name"], {}).update(message)
        elif kind == "RemoveSceneNodeMessage":
            for name in [one for one in self._nodes if (one + "/").startswith(message["name"] + "/")]:
                del self._nodes[name]

    def _send(self, **message: Any) -> None:
        self._socket.send(msgspec.msgpack.encode(message))

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true value of ``condition``."""
        deadline = time.monotonic() + self._patience
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"expected {what} within {self._patience} s")
            time.sleep(0.02)
        return value

    def element(self, label: str) -> dict[str, Any]:
        """The panel element of that label (the first one)."""
        return self.wait_for(
            lambda: next((one for one in self._elements.values() if one.get("label") == label), None),
            f"a panel element '{label}'",
        )

    def markdown(self) -> str:
        """All text of the panels, names from data as they are shown."""
        return html.unescape("\n".join(one["markdown"] for one in [*self._elements.values()] if "markdown" in one))

    def labels(self) -> set[str]:
        """Of all panel elements and folders."""
        return {one["label"] for one in [*self._elements.values()] if "label" in one}

    def send_rectangle(self, first: Sequence[float], second: Sequence[float]) -> None:
        """Drag a rectangle over the picture, between corners in shares of its width and height."""
        corners = (tuple(first), tuple(second))
        self._send(
            type="ScenePointerMessage",
            event_type="rect-select",
            ray_origin=None,
            ray_direction=None,
            screen_pos=corners,
        )

    def value(self, label: str) -> Any:
        """What a panel element shows."""
        return self.element(label)["value"]

    def set(self, label: str, value: Any) -> None:
        """Move a slider, choose from a dropdown, press a button (True)."""
        self._send(type="GuiUpdateMessage", id=self.element(label)["id"], updates={"value": value})

    def lines(self) -> list[np.ndarray]:
        """``[m,3]`` points of each spline in the scene, in the viewer's units."""
        return [np.array(node["positions"]) for node in [*self._nodes.values()] if "positions" in node]

    def camera_positions(self) -> np.ndarray:
        """``[n,3]`` where the frusta of training cameras stand, in the viewer's units."""
        frusta = [node for name, node in self._nodes.items() if name.startswith("/cameras/") and "position" in node]
        return np.array([node["position"] for node in frusta])

    def stand_at_camera(self, index: int) -> None:
        """Look through the training camera whose frustum has that number in the scene, with its own field of view."""
        name = f"/cameras/camera_{index:05d}"
        node = self.wait_for(
            lambda: self._nodes.get(name) if {"fov", "position", "wxyz"} <= set(self._nodes.get(name, ())) else None,
            f"the frustum {name}",
        )
        # nerfstudio hands viser the horizontal field of view of its frusta; a viewer's camera has the vertical one.
        field_of_view = 2 * math.atan(math.tan(node["fov"] / 2) / node["aspect"])
        self.stand(node["position"], node["wxyz"], field_of_view, node["aspect"])

    def stand(self, position: Sequence[float], wxyz: Sequence[float], field_of_view: float, aspect: float) -> None:
        """Look from somewhere: place in the viewer's units, OpenCV rotation, vertical field of view in radians."""
        self._send(
            type="ViewerCameraMessage",
            wxyz=tuple(wxyz),
            position=tuple(position),
            fov=field_of_view,
            aspect=aspect,
            look_at=(0.0, 0.0, 0.0),
            up_direction=(0.0, 0.0, 1.0),
        )

    def pictures_after(self, action: Callable[[], None], seconds: float) -> list[tuple[float, np.ndarray]]:
        """Do something and wait; the pictures ``[H,W,3]`` that came, with the seconds after which they did."""
        before, start = len(self._pictures), time.monotonic()
        action()
        time.sleep(max(0.0, start + seconds - time.monotonic()))
        return [(when - start, _decoded(picture)) for when, picture in self._pictures[before:]]

    def settled_picture(self, action: Callable[[], None], quiet: float = 1.5) -> np.ndarray:
        """Do something and return the picture ``[H,W,3]`` in [0,1] shown when no newer one comes for a while.

        The viewer answers with coarse pictures first and refines them; on a busy machine that takes a while.
        """
        before = len(self._pictures)
        action()
        self.wait_for(lambda: len(self._pictures) > before, "a new picture")
        self.wait_for(
            lambda: time.monotonic() - self._pictures[-1][0] > quiet and max(self._last().shape) == _FULL_SIZE,
            "the picture to settle at its full size",
        )
        return self._last()

    def next_picture(self, action: Callable[[], None]) -> None:
        """Do something and wait for a picture that comes after it; the pictures before are forgotten."""
        self._forgotten += len(self._pictures)
        self._pictures = []
        action()
        self.wait_for(lambda: self._pictures, "a new picture")

    @property
    def picture_count(self) -> int:
        """How many pictures came."""
        return self._forgotten + len(self._pictures)

    def _last(self) -> np.ndarray:
        return _decoded(self._pictures[-1][1])


def _decoded(picture: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64) / 255
