"""The steps of ``moegs export``: load, write frame by frame, read back, compare, record."""

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from nerfstudio.cameras.cameras import Cameras
from rich.console import Console
from rich.progress import track
from torch import Tensor

from moegs_ns.cli.export_report import loss_lines, selection_lines
from moegs_ns.exporting.export_folder import ExportFolder, frame_file, parse_frames
from moegs_ns.exporting.fourdgs_file import FourDGSReader, fourdgs_bytes, require_fourdgs
from moegs_ns.exporting.frame_formats import FRAME_FORMATS
from moegs_ns.exporting.frame_gaussians import (
    FrameGaussians,
    GaussianSource,
    Selection,
    frame_gaussians,
    time_of_frame,
)
from moegs_ns.exporting.gate_picture import evenly_spaced
from moegs_ns.exporting.motion_lines import straight_stretches
from moegs_ns.exporting.orientation import rotation_to_y_down
from moegs_ns.exporting.panels import as_uint8
from moegs_ns.exporting.sh_bake import BakedExpert
from moegs_ns.exporting.video import read_video, write_video
from moegs_ns.exporting.viewpoints import Viewpoint, spread_viewpoints
from moegs_ns.reporting.export_losses import PictureLoss, mean_losses, picture_loss, viewer_picture
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.record import describe_versions, plain, read_run_record
from moegs_ns.splats.splats import Splats, sh_of
from moegs_ns.training.load_run import LoadedRun, load_model, load_run

if TYPE_CHECKING:
    from moegs_ns.cli.export import Export

_MOST_VIEWPOINTS = 24
_BAKED_DEGREE = 2
_FOURDGS_NAME = "scene.4dgs"


@dataclass(frozen=True)
class Exporter:
    """A loaded run and what is asked of it.

    Attributes:
        asked: the command's options.
        record: the run's.
        model: in evaluation mode.
        run: with the images to compare with; None without data.
        viewpoints: of the training cameras, on the model's device; none without data.
        frames: numbers in the clip, ascending.
        selection: what of their Gaussians.
    """

    asked: "Export"
    record: Mapping[str, Any]
    model: Any
    run: LoadedRun | None
    viewpoints: Sequence[Viewpoint]
    frames: Sequence[int]
    selection: Selection

    @property
    def source(self) -> GaussianSource:
        """Whom to ask for Gaussians."""
        if not self.baked:
            return self.model
        degree = _BAKED_DEGREE if self.asked.sh_degree is None else self.asked.sh_degree
        return BakedExpert(self.model, self.viewpoints, degree)

    @property
    def baked(self) -> bool:
        """Whether colours are made of features; asked for where there are none, a bake has nothing to do."""
        return self.asked.bake_sh and self.record["expert"]["config"].get("head", "sh") != "sh"

    @property
    def fps(self) -> float:
        """Frames per second of what is exported."""
        step = self.frames[1] - self.frames[0] if len(self.frames) > 1 else 1
        return float(self.record["scene"]["fps"]) / step

    @property
    def positions(self) -> Tensor | None:
        """``[V,3]`` of the viewpoints, in the exported world on the CPU; None without any."""
        if not self.viewpoints:
            return None
        positions = torch.stack([view.position for view in self.viewpoints]).cpu()
        return positions if self.selection.rotation is None else positions @ self.selection.rotation.T

    def gaussians(self, frames: Sequence[int]) -> Iterator[FrameGaussians]:
        """Of some frames of the clip."""
        return frame_gaussians(self.source, frames, int(self.record["scene"]["num_frames"]), self.selection)

    def checked_images(self) -> list[int]:
        """Numbers of the images to compare, evenly over those of the exported frames."""
        if self.run is None or not self.asked.check_images:
            return []
        fitting = [index for index, frame in enumerate(image_frames(self.run)) if frame in set(self.frames)]
        return [fitting[position] for position in evenly_spaced(len(fitting), self.asked.check_images)]


def image_frames(run: LoadedRun) -> list[int]:
    """Frame in the clip, from 0, of every image of the run's split."""
    first = int(run.dataset.metadata["first_frame"])
    return [frame - first for _, frame in run.images]


def export_run(asked: "Export", console: Console) -> Path:
    """Do what ``moegs export`` is asked; returns the folder."""
    record = read_run_record(asked.run_folder)
    refuse_mixture(record, asked)
    if asked.format == "4dgs":
        require_fourdgs()
    frames = parse_frames(asked.frames, int(record["scene"]["num_frames"]))
    exporter = load(asked, record, frames)
    if asked.format != "video" and not exporter.baked:
        exporter.model.exportable_parts(0.0)  # refuses what it cannot give before there is a folder
    folder = ExportFolder(asked.output or asked.run_folder / "export" / asked.format, job_of(asked, frames))
    folder.open(asked.overwrite)
    names = {"video": write_videos, "4dgs": write_clip}.get(asked.format, write_frames)(exporter, folder, console)
    losses = {"video": video_losses, "4dgs": clip_losses}.get(asked.format, frame_losses)(exporter, folder)
    finish(exporter, folder, names, losses)
    size = sum((folder.path / name).stat().st_size for name in names)
    background = record["expert"]["config"].get("background")
    told = [*selection_lines(asked), *loss_lines(losses, exporter.baked, background, asked.format == "video")]
    for line in told:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(
        f"{len(names)} file{'s' * (len(names) != 1)}, {size / 1e6:.1f} MB: {folder.path}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    return folder.path


def refuse_mixture(record: Mapping[str, Any], asked: "Export") -> None:
    """Raises ValueError where Gaussians of a mixture are asked for."""
    if record["expert"]["name"] != "router" or asked.format == "video":
        return
    run, student = shlex.quote(str(asked.run_folder)), record["model"]["experts"][0]
    raise ValueError(
        "a mixture's picture lives in image space, where its router blends the experts' images pixel by pixel, so no "
        f"file of Gaussians holds it: export a student (`ns-train moegs-distill --teacher {run} --student {student} "
        f"--data {shlex.quote(str(record['scene']['data']))} ...`) or the fused set (`moegs fuse {run}`) instead, or a "
        "video of it (--format video)"
    )


def job_of(asked: "Export", frames: Sequence[int]) -> dict[str, Any]:
    """What decides the content of the files."""
    checkpoint = find_checkpoint(asked.run_folder)
    options = ("min_opacity", "sh_degree", "axes", "fit_viewers", "bake_sh", "without_data")
    return {
        "format": asked.format,
        "run": str(asked.run_folder.resolve()),
        "checkpoint": checkpoint.name,
        "checkpoint_bytes": checkpoint.stat().st_size,
        "checkpoint_modified": checkpoint.stat().st_mtime_ns,
        "frames": [*frames],
        **{name: plain(getattr(asked, name)) for name in options},
    }


def load(asked: "Export", record: Mapping[str, Any], frames: Sequence[int]) -> Exporter:
    """Load the model, and of the data what is needed.

    Raises:
        FileNotFoundError: the data are gone.
        ValueError: options that need data, without them.
    """
    if asked.without_data:
        needing = {"--format video": asked.format == "video", "--bake-sh": asked.bake_sh}
        needing["--axes y-down"] = asked.axes == "y-down"
        wanted = [name for name, given in needing.items() if given]
        if wanted:
            raise ValueError(f"{wanted[0]} needs the scene's cameras; leave out --without-data")
        selection = Selection(asked.min_opacity, asked.sh_degree)
        return Exporter(asked, record, load_model(asked.run_folder, asked.device), None, (), frames, selection)
    split = "test" if record["scene"]["cameras"].get("test") else "train"
    try:
        run = load_run(asked.run_folder, split, asked.device)
        cameras: Cameras = run.other_split("train").cameras
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} (--without-data exports without them)") from error
    viewpoints = spread_viewpoints(cameras, _MOST_VIEWPOINTS, run.model.device)
    selection = Selection(
        asked.min_opacity,
        asked.sh_degree,
        rotation_to_y_down(cameras.camera_to_worlds) if asked.axes == "y-down" else None,
        viewpoints if asked.fit_viewers else (),
    )
    return Exporter(asked, record, run.model, run, viewpoints, frames, selection)


# -- writing ---------------------------------------------------------------------------------------------------------


def write_frames(exporter: Exporter, folder: ExportFolder, console: Console) -> list[str]:
    """One file per frame; those that are there stay. Returns their names."""
    chosen = FRAME_FORMATS[exporter.asked.format]
    names = {frame: frame_file(frame, chosen.suffix) for frame in exporter.frames}
    folder.announce([*names.values()])
    missing = [frame for frame in exporter.frames if not (folder.path / names[frame]).is_file()]
    told = track(
        exporter.gaussians(missing),
        "Writing frames",
        total=len(missing),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    for position, frame in enumerate(told):
        if not position:
            size = len(frame) * chosen.bytes_per_gaussian(sh_of(frame.splats).shape[1])
            folder.require_space(size * len(missing))
            console.print(
                f"{len(missing)} frames to write, about {size / 1e6:.1f} MB each.", soft_wrap=True, highlight=False
            )
        folder.write_file(names[frame.frame], partial(_write_frame, chosen.write, frame.splats, exporter.positions))
    return [*names.values()]


def _write_frame(write: Any, splats: Splats, positions: Tensor | None, path: Path) -> None:
    write(path, splats, positions)


def write_clip(exporter: Exporter, folder: ExportFolder, console: Console) -> list[str]:
    """The clip as one ``.4dgs`` file, unless it is there."""
    folder.announce([_FOURDGS_NAME])
    if not (folder.path / _FOURDGS_NAME).is_file():
        frames = track(
            exporter.gaussians(exporter.frames),
            "Following Gaussians",
            total=len(exporter.frames),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        stretches = straight_stretches(frames)
        console.print(f"{len(stretches):,} straight stretches of Gaussians to write.", soft_wrap=True, highlight=False)
        content = fourdgs_bytes(stretches, len(exporter.frames), exporter.fps)
        folder.require_space(len(content))
        folder.write_file(_FOURDGS_NAME, lambda path: _write_bytes(path, content))
    return [_FOURDGS_NAME]


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def write_videos(exporter: Exporter, folder: ExportFolder, console: Console) -> list[str]:
    """A video of every camera of the split, unless it is there."""
    run = _run_of(exporter)
    images: dict[str, list[int]] = {}
    for index, ((camera, _), frame) in enumerate(zip(run.images, image_frames(run), strict=True)):
        if frame in set(exporter.frames):
            images.setdefault(camera, []).append(index)
    names = {camera: f"{camera}.mp4" for camera in images}
    folder.announce([*names.values()])
    for camera, indices in images.items():
        if (folder.path / names[camera]).is_file():
            continue
        told = track(indices, camera, console=console, transient=True, disable=not console.is_terminal)
        pictures = (as_uint8(_own_picture(exporter, index).cpu().numpy()) for index in told)
        write_video(folder.path / names[camera], pictures, exporter.fps)
    return [*names.values()]


# -- reading back ----------------------------------------------------------------------------------------------------


def frame_losses(exporter: Exporter, folder: ExportFolder) -> list[PictureLoss]:
    """Of files of frames."""
    chosen = FRAME_FORMATS[exporter.asked.format]
    return [
        _gaussian_loss(exporter, index, chosen.read(folder.path / frame_file(frame, chosen.suffix)))
        for index, frame in _checked(exporter)
    ]


def clip_losses(exporter: Exporter, folder: ExportFolder) -> list[PictureLoss]:
    """Of a ``.4dgs`` file."""
    checked = _checked(exporter)
    reader = FourDGSReader(folder.path / _FOURDGS_NAME) if checked else None
    position = {frame: number for number, frame in enumerate(exporter.frames)}
    return [
        _gaussian_loss(exporter, index, reader.at(position[frame] / exporter.fps))
        for index, frame in checked
        if reader is not None
    ]


def video_losses(exporter: Exporter, folder: ExportFolder) -> list[PictureLoss]:
    """Of videos."""
    run, losses = _run_of(exporter), []
    position = {frame: number for number, frame in enumerate(exporter.frames)}
    for index, frame in _checked(exporter):
        camera = run.images[index][0]
        (view,) = run.views([index])
        own = _own_picture(exporter, index)
        decoded = next(
            picture
            for number, picture in enumerate(read_video(folder.path / f"{camera}.mp4"))
            if number == position[frame]
        )
        shown = torch.from_numpy(decoded).to(own)[: own.shape[0], : own.shape[1]] / 255.0
        losses.append(picture_loss((camera, frame), own, own, shown, view.truth))
    return losses


def _checked(exporter: Exporter) -> list[tuple[int, int]]:
    """Number of each image to compare, and its frame."""
    indices = exporter.checked_images()
    frames = image_frames(_run_of(exporter)) if indices else []
    return [(index, frames[index]) for index in indices]


def _gaussian_loss(exporter: Exporter, index: int, read_back: Splats) -> PictureLoss:
    run, rotation = _run_of(exporter), exporter.selection.rotation
    (view,) = run.views([index])
    frame = image_frames(run)[index]
    (given,) = exporter.gaussians([frame])
    device, own = exporter.model.device, _own_picture(exporter, index)
    drawn, shown = (viewer_picture(splats.to(device), view.camera, rotation) for splats in (given.splats, read_back))
    return picture_loss((view.camera_name, frame), own, drawn, shown, view.truth)


@torch.no_grad()
def _own_picture(exporter: Exporter, index: int) -> Tensor:
    """``[H,W,3]`` what the model shows an image's camera at the time of its frame."""
    run = _run_of(exporter)
    camera = run.dataset.cameras[index : index + 1].to(exporter.model.device)
    time = time_of_frame(image_frames(run)[index], int(exporter.record["scene"]["num_frames"]))
    camera.times = torch.full((1, 1), time, device=exporter.model.device)
    return exporter.model.get_outputs_for_camera(camera)["rgb"].clamp(0.0, 1.0)


def _run_of(exporter: Exporter) -> LoadedRun:
    if exporter.run is None:
        raise ValueError("expected the scene's data, found none; leave out --without-data")
    return exporter.run


# -- recording -------------------------------------------------------------------------------------------------------


def finish(exporter: Exporter, folder: ExportFolder, names: Sequence[str], losses: Sequence[PictureLoss]) -> None:
    """Write the final ``export.json``."""
    rotation = exporter.selection.rotation
    folder.write(
        {
            "complete": True,
            "files": [*names],
            "bytes": sum((folder.path / name).stat().st_size for name in names),
            "method": exporter.record["method"],
            "fps": exporter.fps,
            "clip": {
                name: exporter.record["scene"].get(name) for name in ("scene", "num_frames", "first_frame", "fps")
            },
            "coordinates": {
                "axes": exporter.asked.axes,
                "rotation_from_data_set": None if rotation is None else rotation.tolist(),
                "units": "those of the data set",
                "handedness": "right; cameras as in COLMAP: x right, y down, z forward",
            },
            "baked": exporter.baked,
            "background": exporter.record["expert"]["config"].get("background"),
            "losses": {
                "mean": dict(mean_losses(losses)) if losses else None,
                "images": [dataclasses.asdict(one) for one in losses],
            },
            "versions": describe_versions(),
        }
    )
