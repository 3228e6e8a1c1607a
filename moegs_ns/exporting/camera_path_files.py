"""Camera paths as nerfstudio's viewer writes them, read as ``ns-render camera-path`` reads them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfstudio.cameras.camera_paths import get_path_from_json
from nerfstudio.cameras.cameras import Cameras

_KEYS = ("render_height", "render_width", "camera_path")
_KEYS_OF_ENTRIES = ("camera_to_world", "fov")
_AGAIN = "; save it again in the viewer's Render tab"


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
        raise ValueError(f"expected a camera path in JSON at {file}, found something else ({error}){_AGAIN}") from None
    _check(content, file)
    cameras = get_path_from_json(content)
    # The viewer writes entries per second of its own rate; files by hand often have one of the two only.
    fps = content.get("fps") or len(content["camera_path"]) / content["seconds"]
    return CameraPath(cameras, float(fps))


def _check(content: Any, file: Path) -> None:
    missing = [key for key in _KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"expected {', '.join(missing)} in the camera path {file}, found none{_AGAIN}")
    entries = content["camera_path"]
    if not isinstance(entries, list) or not entries:
        found = "none" if entries in ([], None) else repr(entries)
        raise ValueError(f"expected frames in the camera path {file}, found {found}; add key frames in the viewer")
    kind = content.get("camera_type", "perspective")
    if kind != "perspective":
        raise ValueError(
            f"expected a path of perspective cameras at {file}, found '{kind}': Gaussians are drawn for "
            f"pinholes only{_AGAIN}"
        )
    sizes = [content[key] for key in ("render_width", "render_height")]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(
            f"expected render_width and render_height of 1 or more in the camera path {file}, found {sizes}"
        )
    rates = [content.get(key) for key in ("fps", "seconds")]
    if not any(_above_zero(rate) for rate in rates) or not all(rate is None or _is_number(rate) for rate in rates):
        found = "neither" if rates == [None, None] else f"{rates[0]!r} and {rates[1]!r}"
        raise ValueError(f"expected 'fps' or 'seconds' above 0 in the camera path {file}, found {found}")
    for number, entry in enumerate(entries):
        _check_entry(entry, f"entry {number} of the camera path {file}")


def _check_entry(entry: Any, place: str) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"expected {', '.join(_KEYS_OF_ENTRIES)} in {place}, found {entry!r}{_AGAIN}")
    lacking = [key for key in _KEYS_OF_ENTRIES if key not in entry]
    if lacking:
        raise ValueError(f"expected {', '.join(lacking)} in {place}, found none{_AGAIN}")
    pose, time = entry["camera_to_world"], entry.get("render_time")
    if not isinstance(pose, list) or len(pose) != 16 or not all(map(_is_number, pose)):
        found = f"{len(pose)} values" if isinstance(pose, list) else repr(pose)
        raise ValueError(f"expected 16 numbers for camera_to_world in {place}, found {found}{_AGAIN}")
    if not _is_number(entry["fov"]) or not 0 < entry["fov"] < 180:
        raise ValueError(
            f"expected a field of view in degrees, above 0 and below 180, in {place}, found {entry['fov']}"
        )
    if time is not None and not _is_number(time):
        raise ValueError(f"expected a number for render_time in {place}, found {time!r}{_AGAIN}")


def _above_zero(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
