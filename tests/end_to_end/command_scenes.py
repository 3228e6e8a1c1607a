"""The scenes and files that documented commands name and do not make, tiny, each in the layout its command reads."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.end_to_end.camera_paths import write_camera_path
from tests.scene.layouts.clip import Clip, Shot, mixed_clip, moving_capture
from tests.scene.layouts.writers import write_blender, write_hypernerf, write_technicolor, write_transforms

_SHRINK = 4
_FRAMES = 8
_CAMERAS = 6


def _rig(scene: Path) -> Clip:
    return mixed_clip(scene, [0, 2, 4, 6], _FRAMES, _SHRINK)


def _capture(scene: Path) -> Clip:
    """As a moving camera took it."""
    return moving_capture(mixed_clip(scene, range(12), 24, _SHRINK))


def _one_in_four_is_held_out(shot: Shot) -> bool:
    return shot.frame % 4 != 2


def _videos(scene: Path, folder: Path) -> None:
    """Of half of the cameras, neighbours of each other."""
    folder.mkdir()
    for video in sorted(scene.glob("cam*.mp4"))[:_CAMERAS]:
        shutil.copyfile(video, folder / video.name)


def _known_cameras(scene: Path, folder: Path) -> None:
    """Videos, and in the folder that commands run in the cameras that took them."""
    _videos(scene, folder)
    np.save(folder.parent / "poses_bounds.npy", np.load(scene / "poses_bounds.npy")[:_CAMERAS])


def _technicolor(scene: Path, folder: Path) -> None:
    """Cameras up to number 10, the test camera, and the 50 frames of published comparisons, from the clip's 24."""
    clip = mixed_clip(scene, range(11), 24, 2 * _SHRINK)
    again = [replace(shot, frame=shot.frame + 24 * round_) for round_ in range(3) for shot in clip.shots]
    clip = replace(clip, shots=[shot for shot in again if shot.frame < 50], num_frames=50)
    write_technicolor(folder, clip, first_frame=151)


def _hypernerf(scene: Path, folder: Path) -> None:
    write_hypernerf(folder, _capture(scene), _one_in_four_is_held_out, levels=(1, 2, 4))


def _transforms_and_hypernerf(scene: Path, folder: Path) -> None:
    """One page calls captures in two layouts by one name."""
    write_transforms(folder, _capture(scene))
    _hypernerf(scene, folder)


def _blender(scene: Path, folder: Path) -> None:
    clip = _capture(scene)
    splits = {
        "train": replace(clip, shots=[shot for shot in clip.shots if _one_in_four_is_held_out(shot)]),
        "val": replace(clip, shots=clip.shots[2::8]),
        "test": replace(clip, shots=clip.shots[6::8]),
    }

    def opaque(shot: Shot) -> np.ndarray:
        return np.dstack([shot.image, np.full(shot.image.shape[:2], 255, np.uint8)])

    write_blender(folder, splits, opaque)


#: By the name that commands use, a function that writes it, given the sample scene's folder.
SCENES: dict[str, Callable[[Path, Path], None]] = {
    "my_videos": _videos,
    "VIDEOS_OR_FOLDER": _videos,
    "FOLDER": _known_cameras,
    "Birthday": _technicolor,
    "vrig-chicken": _hypernerf,
    "my_capture": _transforms_and_hypernerf,
    "lego": _blender,
    "CAPTURE": _hypernerf,
}


def write_scenes(folder: Path) -> None:
    """Every scene, below the folder in which commands run, a copy of the checkout; and the path of a camera."""
    scene = folder / "examples" / "mixed"
    for name, write in SCENES.items():
        write(scene, folder / name)
    _camera_path(scene, folder / "path.json")


def _camera_path(scene: Path, path: Path) -> None:
    """As the viewer's *Render* tab writes it."""
    from nerfstudio.cameras.cameras import Cameras, CameraType

    shot = mixed_clip(scene, [0], 1, _SHRINK).of("cam00", 0)
    width, height = shot.size
    pose = torch.from_numpy(shot.pose).float()[None]
    camera = Cameras(pose, shot.fx, shot.fy, shot.cx, shot.cy, width, height, camera_type=CameraType.PERSPECTIVE)
    write_camera_path(path, camera, [0.0, 0.5, 1.0])
