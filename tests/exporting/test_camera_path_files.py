"""Camera paths of the viewer, whole and broken."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from moegs_ns.exporting.camera_path_files import read_camera_path

POSE = [1.0, 0, 0, 0.5, 0, 1, 0, -2, 0, 0, 1, 3, 0, 0, 0, 1]


def content(**changes: Any) -> dict[str, Any]:
    entries = [{"camera_to_world": POSE, "fov": 60 + number, "render_time": number / 4} for number in range(3)]
    path = {"camera_type": "perspective", "render_height": 48, "render_width": 64, "fps": 12, "camera_path": entries}
    return {key: value for key, value in {**path, "seconds": 0.25, **changes}.items() if value is not None}


def written(tmp_path: Path, values: Any) -> Path:
    (tmp_path / "path.json").write_text(values if isinstance(values, str) else json.dumps(values))
    return tmp_path / "path.json"


def test_a_path_keeps_times_fields_of_view_size_and_rate(tmp_path: Path) -> None:
    path = read_camera_path(written(tmp_path, content()))
    cameras = path.cameras
    assert path.fps == 12 and cameras.times is not None
    assert cameras.times[:, 0].tolist() == [0, 0.25, 0.5]
    assert (cameras.width[:, 0].tolist(), cameras.height[:, 0].tolist()) == ([64] * 3, [48] * 3)
    fields = torch.rad2deg(2 * torch.atan(24 / cameras.fy[:, 0]))
    assert fields.tolist() == pytest.approx([60, 61, 62], abs=1e-3)
    assert cameras.camera_to_worlds[0].flatten().tolist() == POSE[:12]


def test_the_rate_follows_from_the_length_where_it_is_not_stated(tmp_path: Path) -> None:
    assert read_camera_path(written(tmp_path, content(fps=None, seconds=0.5))).fps == pytest.approx(6)


def test_a_path_of_which_an_entry_has_no_time_has_none(tmp_path: Path) -> None:
    entries = content()["camera_path"]
    del entries[1]["render_time"]
    assert read_camera_path(written(tmp_path, content(camera_path=entries))).cameras.times is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("{", "in JSON"),
        ([1], "expected render_height, render_width, camera_path"),
        (content(camera_path=None), "expected camera_path in"),
        (content(camera_path=[]), "expected frames"),
        (content(camera_type="equirectangular"), "perspective cameras .*found 'equirectangular'"),
        (content(fps=None, seconds=None), "'fps' or 'seconds' above 0"),
        (content(camera_path=[{"camera_to_world": POSE}]), "expected fov in entry 0"),
        (content(camera_path=[{"camera_to_world": POSE[:12], "fov": 60}]), "16 numbers .* found 12"),
    ],
)
def test_broken_paths_are_refused_by_what_they_lack(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_camera_path(written(tmp_path, values))


def test_a_missing_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Generate Command"):
        read_camera_path(tmp_path / "none.json")
