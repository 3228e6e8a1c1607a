"""Films of a run: rendered, and written as a video or as frames that a later call goes on with."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.models.base_model import Model
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from moegs_ns.cli.console import make_console
from moegs_ns.cli.films import FilmCommand
from moegs_ns.cli.studio import Studio
from moegs_ns.distill.teacher_cache import file_digest
from moegs_ns.exporting.film import Film
from moegs_ns.exporting.film_panels import TRUTH, FilmPanels, side_by_side
from moegs_ns.exporting.frame_folder import FrameFolder, digest
from moegs_ns.exporting.video import check_video_name, write_video
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.record import describe_versions, plain, read_run_record
from moegs_ns.scene.dataset import FrameDataset
from moegs_ns.training.load_run import load_model

_VERSIONS = ("moegs_ns", "torch", "gsplat")  # of what decides a pixel


class Shooting:
    """Renders the frames of a film.

    Args:
        model: in evaluation mode.
        film: what to render.
        panels: what of it to show.
        photographs: the images the film's numbers of photographs count in.
    """

    def __init__(self, model: Model, film: Film, panels: FilmPanels, photographs: FrameDataset | None) -> None:
        self._model, self._film, self._panels, self._photographs = model, film, panels, photographs

    @torch.no_grad()
    def frame(self, number: int) -> np.ndarray:
        """uint8 ``[H,W,3]``."""
        outputs = self._model.get_outputs_for_camera(self._film.frame(number).to(self._model.device))
        pictures = {name: image.cpu().numpy() for name, image in outputs.items()}
        return self._panels.draw(pictures, self._truth(number) if TRUTH in self._panels.names else None)

    def _truth(self, number: int) -> np.ndarray | None:
        if self._photographs is None or not self._film.photographs:
            return None
        photograph = self._photographs.get_numpy_image(self._film.photographs[number])
        if photograph.shape[1::-1] == self._film.size:
            return photograph
        return np.asarray(Image.fromarray(photograph).resize(self._film.size, Image.Resampling.BOX))


def make_film(command: FilmCommand) -> None:
    """Render what a command asks for, write it, and print the paths.

    Raises:
        FileNotFoundError, ValueError: see `FilmCommand.run`.
    """
    console, run = make_console(), command.run_folder
    if command.output is not None:
        check_video_name(command.output)
    record = read_run_record(run)
    studio = Studio(record, command.fps, console)
    whole = command.film(studio)
    film = whole.scaled(command.downscale)
    panels = _panels(command, record, truth=bool(film.photographs))
    model = load_model(run, command.device)
    shooting = Shooting(model, film, panels, studio.photographs)
    if command.frames is None:
        video = command.output or run / "renders" / f"{command.title}.mp4"
        frames = _watched((shooting.frame(number) for number in range(len(film))), len(film), console)
        written = [write_video(video, frames, film.fps, command.quality)]
    else:
        job = _job(run, record, model, whole, panels)
        if command.downscale != 1:
            job["downscale"] = command.downscale
        folder = FrameFolder(command.frames, job, len(film), command.overwrite)
        missing = folder.missing()
        if len(missing) < len(film):
            console.print(f"{len(film) - len(missing)} of {len(film)} frames are there already.", highlight=False)
        for number, frame in _numbered(missing, _watched(map(shooting.frame, missing), len(missing), console)):
            folder.write(number, frame)
        written = [command.frames]
        if command.output is not None:
            frames = (folder.read(number) for number in range(len(film)))
            written.append(write_video(command.output, frames, film.fps, command.quality))
    for file in written:
        console.print(str(file), soft_wrap=True, highlight=False)


def _numbered(numbers: Sequence[int], frames: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    return zip(numbers, frames, strict=True)


def _panels(command: FilmCommand, record: dict[str, Any], truth: bool) -> FilmPanels:
    experts = tuple(record.get("model", {}).get("experts", ()))
    if command.show and command.side_by_side:
        raise ValueError("expected --show or --side-by-side, found both")
    show = side_by_side(experts, truth) if command.side_by_side else command.show or ("rgb",)
    if TRUTH in show and not truth:
        raise ValueError(
            "expected no truth to show where no camera stood: photographs go with `moegs render fixed` of a camera "
            "that stood still"
        )
    scene = record["scene"]
    depths = (float(scene["near"]), float(scene["far"]))
    return FilmPanels(show, experts, depths, command.columns, command.labels)


def _job(run: Path, record: dict[str, Any], model: Model, film: Film, panels: FilmPanels) -> dict[str, Any]:
    """What decides the pixels of a film's frames, before it is scaled: those of another job are not taken for them."""
    versions = describe_versions()
    facts = model.describe() if hasattr(model, "describe") else {}
    job = {
        "checkpoint": file_digest(find_checkpoint(run))[:20],
        "model options": digest(repr(plain(record["expert"])).encode()),
        "cameras and times": film.identity(),
        "pictures": plain(panels.show),
        "arrangement": {"columns": panels.columns, "labels": panels.labels},
        "versions": {name: versions.get(name) for name in _VERSIONS},
        "rasterizer": [facts.get("raster_backend"), model.device.type],
    }
    if TRUTH in panels.names:
        job["photographs"] = [record["scene"].get("files_digest"), list(film.photographs)]
    if "depth" in panels.names:
        job["depths"] = list(panels.depths)
    return job


def _watched(frames: Iterator[np.ndarray], count: int, console: Console) -> Iterator[np.ndarray]:
    """The frames, counted by a bar on a terminal."""
    columns = (
        TextColumn("Rendering"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(frames, total=count)
