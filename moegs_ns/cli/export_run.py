"""The steps of ``moegs export``: load, write frame by frame, read back, compare, record."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.progress import track
from torch import Tensor

from moegs_ns.cli.export_check import clip_losses, frame_losses, page_losses, video_losses
from moegs_ns.cli.export_page import write_page
from moegs_ns.cli.export_report import loss_lines, selection_lines
from moegs_ns.cli.exporter import Exporter, load, refuse_idle_bake, refuse_mixture
from moegs_ns.exporting.export_folder import ExportFolder, frame_file, parse_frames
from moegs_ns.exporting.fourdgs_file import FOURDGS_NAME, fourdgs_bytes, require_fourdgs
from moegs_ns.exporting.frame_formats import FRAME_FORMATS
from moegs_ns.exporting.motion_lines import straight_stretches
from moegs_ns.exporting.panels import as_uint8
from moegs_ns.exporting.video import write_video
from moegs_ns.files import write_bytes
from moegs_ns.reporting.export_losses import PictureLoss, mean_losses
from moegs_ns.runs.checkpoint_files import find_checkpoint
from moegs_ns.runs.record import describe_versions, plain, read_run_record
from moegs_ns.splats.splats import Splats, sh_of

if TYPE_CHECKING:
    from moegs_ns.cli.export import Export


def export_run(asked: "Export", console: Console) -> Path:
    """Do what ``moegs export`` is asked; returns the folder."""
    record = read_run_record(asked.run_folder)
    refuse_mixture(record, asked)
    refuse_idle_bake(record, asked)
    if asked.format == "4dgs":
        require_fourdgs()
    frames = parse_frames(asked.frames, int(record["scene"]["num_frames"]))
    exporter = load(asked, record, frames)
    if asked.format != "video" and not exporter.baked:
        exporter.model.exportable_parts(0.0)  # refuses what it cannot give before there is a folder
    folder = ExportFolder(asked.output or asked.run_folder / "export" / asked.format, job_of(asked, frames))
    way = WAYS[asked.format]
    with folder.opened(asked.overwrite):
        names = way.write(exporter, folder, console)
        losses = way.check(exporter, folder)
        finish(exporter, folder, names, losses)
    size = sum((folder.path / name).stat().st_size for name in names)
    # A page holds the background; files of Gaussians do not.
    background = None if asked.format == "html" else record["expert"]["config"].get("background")
    told = [*selection_lines(asked), *loss_lines(losses, exporter.baked, background, asked.format == "video")]
    for line in told:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(
        f"{len(names)} file{'s' * (len(names) != 1)}, {size / 1e6:.2f} MB: {folder.path}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    return folder.path


def job_of(asked: "Export", frames: Sequence[int]) -> dict[str, Any]:
    """What decides the content of the files."""
    checkpoint = find_checkpoint(asked.run_folder)
    options = ["min_opacity", "sh_degree", "axes", "fit_viewers", "bake_sh", "without_data"]
    options += ["max_mb"] if asked.format == "html" else []
    return {
        "format": asked.format,
        "run": str(asked.run_folder.resolve()),
        "checkpoint": checkpoint.name,
        "checkpoint_bytes": checkpoint.stat().st_size,
        "checkpoint_modified": checkpoint.stat().st_mtime_ns,
        "frames": [*frames],
        **{name: plain(getattr(asked, name)) for name in options},
    }


def write_frames(exporter: Exporter, folder: ExportFolder, console: Console) -> list[str]:
    """One file per frame; those that are there stay. Returns their names."""
    chosen = FRAME_FORMATS[exporter.asked.format]
    names = {frame: frame_file(frame, chosen.suffix) for frame in exporter.frames}
    folder.announce([*names.values()])
    missing = [frame for frame in exporter.frames if not folder.has(names[frame])]
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
    folder.announce([FOURDGS_NAME])
    if not folder.has(FOURDGS_NAME):
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
        folder.write_file(FOURDGS_NAME, lambda path: write_bytes(path, content))
    return [FOURDGS_NAME]


def write_videos(exporter: Exporter, folder: ExportFolder, console: Console) -> list[str]:
    """A video of every camera of the split, unless it is there."""
    images = exporter.images_of_cameras()
    names = {camera: f"{camera}.mp4" for camera in images}
    folder.announce([*names.values()])
    for camera, indices in images.items():
        if folder.has(names[camera]):
            continue
        told = track(indices, camera, console=console, transient=True, disable=not console.is_terminal)
        pictures = (as_uint8(exporter.own_picture(index).cpu().numpy()) for index in told)
        fps = exporter.fps * len(indices) / len(exporter.frames)  # a camera that lacks frames shows the rest longer
        folder.write_file(names[camera], partial(write_video, frames=pictures, fps=fps))
    return [*names.values()]


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


class Way(NamedTuple):
    """How a format is exported."""

    write: Callable[[Exporter, ExportFolder, Console], list[str]]
    """Writes what is missing in the folder; returns the names of all its files."""
    check: Callable[[Exporter, ExportFolder], list[PictureLoss]]
    """Reads the files back and compares."""


#: By ``--format``.
WAYS = {
    "ply": Way(write_frames, frame_losses),
    "splat": Way(write_frames, frame_losses),
    "4dgs": Way(write_clip, clip_losses),
    "html": Way(write_page, page_losses),
    "video": Way(write_videos, video_losses),
}
