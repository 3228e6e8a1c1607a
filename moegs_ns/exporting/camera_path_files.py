"""Camera paths as nerfstudio's viewer writes them, read as ``ns-render camera-path`` reads them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfstudio.cameras.camera_paths import get_path_from_json
from nerfstudio.cameras.cameras import Cameras

_KEYS = ("render_height", "render_width", "camera_path")
_KEYS_OF_ENTRIES = ("camera_to_world", "fov")


@dataclass(frozen=True)
class CameraPath:
    """A camera path.

    Attributes:
        cameras: N pinholes, with the times of the file, or without where not every entry has one.
        fps: frames per second.
    """

    cameras: Cameras
    fps: float


def read_camera_path(file: Path) -> CameraPath:
    """Read a path of pinhole cameras.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no camera path, or one of cameras that are no pinholes.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"expected a camera path at {file}, found none; the viewer's Render tab writes one (Generate Command)"
        )
    try:
        content = json.loads(file.read_text("utf8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"expected a camera path in JSON at {file}, found {error}") from None
    _check(content, file)
    cameras = get_path_from_json(content)
    # The viewer writes entries per second of its own rate; files by hand often have one of the two only.
    fps = content.get("fps") or len(content["camera_path"]) / content["seconds"]
    return CameraPath(cameras, float(fps))


def _check(content: Any, file: Path) -> None:
    missing = [key for key in _KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"expected {', '.join(missing)} in the camera path {file}, found none")
    if not content["camera_path"]:
        raise ValueError(f"expected frames in the camera path {file}, found none; add key frames in the viewer")
    kind = content.get("camera_type", "perspective")
    if kind != "perspective":
        raise ValueError(
            f"expected a path of perspective cameras at {file}, found '{kind}': Gaussians are drawn for pinholes only"
        )
    if not (_above_zero(content.get("fps")) or _above_zero(content.get("seconds"))):
        raise ValueError(f"expected 'fps' or 'seconds' above 0 in the camera path {file}, found neither")
    for number, entry in enumerate(content["camera_path"]):
        lacking = [key for key in _KEYS_OF_ENTRIES if key not in entry]
        if lacking:
            raise ValueError(f"expected {', '.join(lacking)} in entry {number} of the camera path {file}, found none")
        if len(entry["camera_to_world"]) != 16:
            raise ValueError(
                f"expected 16 numbers for camera_to_world in entry {number} of {file}, found "
                f"{len(entry['camera_to_world'])}"
            )


def _above_zero(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
