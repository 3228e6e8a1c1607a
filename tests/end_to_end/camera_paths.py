"""Camera paths as the viewer's "Generate Command" button writes them."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerfstudio.cameras.cameras import Cameras


def held_out_camera(run: Path) -> Cameras:
    """The first test camera of a run on the sample scene, as its data parser gives it."""
    from nerfstudio.utils.eval_utils import eval_setup

    _, pipeline, _, _ = eval_setup(run / "config.yml", test_mode="test")
    return pipeline.datamanager.eval_dataset.cameras[0:1]


def write_camera_path(path: Path, camera: Cameras, times: Sequence[float | None], fps: float = 12.0) -> Path:
    """A path that stands still at ``camera``, one entry per time; None leaves the entry without a time."""
    width, height = int(camera.width.item()), int(camera.height.item())
    pose = [float(value) for value in camera.camera_to_worlds[0].flatten()] + [0.0, 0.0, 0.0, 1.0]
    entries: list[dict[str, Any]] = []
    for time in times:
        entry = {
            "camera_to_world": pose,
            "fov": math.degrees(2 * math.atan(height / 2 / float(camera.fy.item()))),
            "aspect": width / height,
        }
        entries.append(entry if time is None else {**entry, "render_time": time})
    content = {
        "camera_type": "perspective",
        "render_height": height,
        "render_width": width,
        "fps": fps,
        "seconds": len(entries) / fps,
        "camera_path": entries,
    }
    path.write_text(json.dumps(content), "utf8")
    return path
