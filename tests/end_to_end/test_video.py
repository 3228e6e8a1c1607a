"""ns-render writes videos where the system has no ffmpeg."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from moegs_ns import compat
from tests.end_to_end.camera_paths import held_out_camera, write_camera_path
from tests.end_to_end.conftest import FRAMES
from tests.end_to_end.pictures import psnr, read_pictures
from tests.training.inprocess import render_camera_path, render_dataset


def without_ffmpeg(path: str) -> str:
    """A search path's folders in which there is no ffmpeg."""
    return os.pathsep.join(folder for folder in path.split(os.pathsep) if shutil.which("ffmpeg", path=folder) is None)


def read_video(path: Path) -> tuple[np.ndarray, float]:
    """``[n,H,W,3]`` in [0,1] and frames per second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.stack(frames).astype(np.float64) / 255, float(stream.average_rate or 0)


def test_camera_path_as_video(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The video holds every frame of the path, in order, at the path's rate."""
    monkeypatch.setenv("PATH", without_ffmpeg(os.environ["PATH"]))
    assert shutil.which("ffmpeg") is None
    compat.apply()  # what every ns-* command does at its start

    times = [frame / (FRAMES - 1) for frame in range(FRAMES)]
    path = write_camera_path(tmp_path / "path.json", held_out_camera(trained_run), times, fps=12.0)
    (file,) = render_camera_path(trained_run, path, tmp_path / "turn.mp4", output_format="video")
    shown, rate = read_video(file)
    assert rate == pytest.approx(12.0)
    render_dataset(trained_run, tmp_path / "dataset", image_format="png")
    expected = read_pictures(sorted((tmp_path / "dataset" / "test" / "rgb").glob("*.png")))
    assert shown.shape == expected.shape
    scores = np.array([[psnr(one, other) for other in expected] for one in shown])
    # H.264 at this size smears frames into one another that differ little; a video one frame late would shift all.
    shift = np.abs(scores.argmax(axis=1) - np.arange(FRAMES))
    assert shift.mean() < 0.75 and shift.max() <= 3, shift
    assert scores.diagonal().min() > 25


@pytest.mark.slow
def test_the_commands_in_processes_of_their_own(trained_run: Path, tmp_path: Path) -> None:
    """ns-eval and ns-render as installed, in a folder of their own, on a search path without ffmpeg."""
    environment = {**os.environ, "PATH": without_ffmpeg(os.environ["PATH"])}
    camera_path = write_camera_path(tmp_path / "path.json", held_out_camera(trained_run), [0.0, 0.5, 1.0])

    def run(command: str, *arguments: object) -> None:
        program = Path(sys.executable).with_name(command)
        done = subprocess.run(
            [str(part) for part in (program, *arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    config = trained_run / "config.yml"
    run("ns-eval", "--load-config", config, "--output-path", "eval.json")
    run("ns-render", "dataset", "--load-config", config, "--output-path", "pictures")
    run("ns-render", "camera-path", "--load-config", config, "--camera-path-filename", camera_path,
        "--output-path", "path.mp4")  # fmt: skip
    assert (tmp_path / "eval.json").is_file()
    assert len(list((tmp_path / "pictures" / "test" / "rgb").glob("*.jpg"))) == FRAMES
    assert len(read_video(tmp_path / "path.mp4")[0]) == 3
