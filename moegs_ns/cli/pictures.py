"""The pictures of a run: for every test camera a video beside the truth, and for a mixture its gates."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from moegs_ns.exporting.gate_picture import GatedFrame, evenly_spaced, gate_picture
from moegs_ns.exporting.panels import as_uint8, row_of_panels
from moegs_ns.exporting.picture_files import save_small_picture
from moegs_ns.exporting.video import write_video
from moegs_ns.reporting.evaluation_files import read_result
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.record import read_run_record
from moegs_ns.training.load_run import LoadedRun, View, load_run

_FRAMES_OF_GATES = 4
_SHORTEST_VIDEO = 4.0  # seconds; shorter clips are repeated


def write_pictures(run: Path, folder: Path, console: Console) -> list[Path]:
    """Write ``comparison-<camera>.mp4`` and ``gates-<camera>.png`` of every test camera.

    Args:
        run: run folder.
        folder: where to write; files newer than the run's checkpoint are kept.
        console: shows the progress.

    Returns:
        The files.
    """
    names = read_run_record(run).get("model", {}).get("experts", [])
    cameras = read_run_record(run)["scene"].get("cameras", {}).get("test", [])
    wanted = [folder / f"comparison-{camera}.mp4" for camera in cameras]
    wanted += [folder / f"gates-{camera}.png" for camera in cameras if names]
    newest = find_checkpoint(run).stat().st_mtime
    if wanted and all(file.is_file() and file.stat().st_mtime > newest for file in wanted):
        return wanted
    loaded = load_run(run)
    written = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        views = progress.track(loaded.views(), total=len(loaded.dataset), description="Rendering the test cameras")
        for camera, own in groupby(views, key=lambda view: view.camera_name):
            written += _pictures_of_camera(loaded, camera, own, folder, names)
    return sorted(written)


def _pictures_of_camera(
    run: LoadedRun, camera: str, views: Iterator[View], folder: Path, names: Sequence[str]
) -> list[Path]:
    frames_in_all = sum(name == camera for name, _ in run.images)
    chosen = evenly_spaced(frames_in_all, _FRAMES_OF_GATES)
    gated: list[GatedFrame] = []
    labels = _labels(run.folder, names)

    def frames() -> Iterator[np.ndarray]:
        for position, view in enumerate(views):
            outputs = _render(run, view)
            pictures = {"truth": as_uint8(view.truth.cpu().numpy())}
            for output, label in labels.items():
                pictures[label] = as_uint8(outputs[output])
            if names and position in chosen:
                gates = {name: outputs[f"gate_{name}"][..., 0] for name in names}
                gated.append(GatedFrame(f"frame {view.frame}", outputs["rgb"], gates))
            yield row_of_panels(pictures)

    repeats = math.ceil(_SHORTEST_VIDEO * run.fps / frames_in_all)
    written = [write_video(folder / f"comparison-{camera}.mp4", _repeated(frames(), repeats), run.fps)]
    if gated:
        written.append(save_small_picture(folder / f"gates-{camera}.png", gate_picture(gated)))
    return written


@torch.no_grad()
def _render(run: LoadedRun, view: View) -> dict[str, np.ndarray]:
    outputs = run.model.get_outputs_for_camera(view.camera)
    return {name: image.cpu().numpy() for name, image in outputs.items()}


def _repeated(frames: Iterator[np.ndarray], times: int) -> Iterator[np.ndarray]:
    if times <= 1:
        yield from frames  # long clips are never held in memory
        return
    kept = []
    for frame in frames:
        kept.append(frame)
        yield frame
    for _ in range(times - 1):
        yield from kept


def _labels(run: Path, names: Sequence[str]) -> dict[str, str]:
    """Output name to the text above its picture: with the mean score where the run was evaluated."""
    try:
        scores = read_result(run).scores
    except (FileNotFoundError, ValueError):
        scores = {}

    def label(text: str, score: str) -> str:
        return f"{text} {scores[score]:.2f} dB" if score in scores else text

    own = label("mixture" if names else "rendering", "psnr")
    return {**{f"expert_{name}": label(name, f"expert_{name}/psnr") for name in names}, "rgb": own}
