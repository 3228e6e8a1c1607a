"""Exports read back and compared with the model's own pictures."""

from itertools import islice

import torch
from torch import Tensor

from moegs_ns.cli.export_page import PAGE_NAME, page_background
from moegs_ns.cli.exporter import Exporter
from moegs_ns.exporting.export_folder import ExportFolder, frame_file
from moegs_ns.exporting.fourdgs_file import FOURDGS_NAME, FourDGSReader
from moegs_ns.exporting.frame_formats import FRAME_FORMATS
from moegs_ns.exporting.splat_page import read_splat_page
from moegs_ns.exporting.video import read_video
from moegs_ns.reporting.export_losses import PictureLoss, picture_loss, viewer_picture
from moegs_ns.splats.splats import Splats


def frame_losses(exporter: Exporter, folder: ExportFolder) -> list[PictureLoss]:
    """Of files of frames."""
    chosen = FRAME_FORMATS[exporter.asked.format]
    return [
        _gaussian_loss(exporter, index, frame, chosen.read(folder.path / frame_file(frame, chosen.suffix)))
        for index, frame in exporter.checked_images()
    ]


def clip_losses(exporter: Exporter, folder: ExportFolder) -> list[PictureLoss]:
    """Of a ``.4dgs`` file."""
    checked = exporter.checked_images()
    if not checked:
        return []
    reader = FourDGSReader(folder.path / FOURDGS_NAME)
    position = {frame: number for number, frame in enumerate(exporter.frames)}
    return [
        _gaussian_loss(exporter, index, frame, reader.at(position[frame] / exporter.fps)) for index, frame in checked
    ]


def page_losses(exporter: Exporter, folder: ExportFolder) -> list[PictureLoss]:
    """Of a page."""
    checked = exporter.checked_images()
    if not checked:
        return []
    page, background = read_splat_page(folder.path / PAGE_NAME), torch.tensor(page_background(exporter))
    return [_gaussian_loss(exporter, index, frame, page.at(frame), background) for index, frame in checked]


def video_losses(exporter: Exporter, folder: ExportFolder) -> list[PictureLoss]:
    """Of videos."""
    run, losses = exporter.images, []
    images = exporter.images_of_cameras()
    for index, frame in exporter.checked_images():
        camera = run.images[index][0]
        (view,) = run.views([index])
        own = exporter.own_picture(index)
        decoded = next(islice(read_video(folder.path / f"{camera}.mp4"), images[camera].index(index), None))
        shown = torch.from_numpy(decoded).to(own)[: own.shape[0], : own.shape[1]] / 255.0
        losses.append(picture_loss((camera, frame), own, own, shown, view.truth))
    return losses


def _gaussian_loss(
    exporter: Exporter, index: int, frame: int, read_back: Splats, background: Tensor | None = None
) -> PictureLoss:
    run, rotation = exporter.images, exporter.selection.rotation
    (view,) = run.views([index])
    (given,) = exporter.gaussians([frame])
    device, own = exporter.model.device, exporter.own_picture(index)
    drawn, shown = (
        viewer_picture(splats.to(device), view.camera, rotation, background) for splats in (given.splats, read_back)
    )
    return picture_loss((view.camera_name, frame), own, drawn, shown, view.truth)
