"""What ``moegs export`` says of its losses."""

from collections.abc import Mapping, Sequence
from typing import Any

from moegs_ns.exporting.frame_gaussians import INVISIBLE
from moegs_ns.reporting.export_losses import PictureLoss, mean_losses

_IDENTICAL = 100.0  # decibels, as the metrics report them


def loss_lines(losses: Sequence[PictureLoss], baked: bool, background: str | None, video: bool) -> list[str]:
    """Sentences for the terminal.

    Args:
        losses: of the images compared; may be none.
        baked: the colours are baked.
        background: the model's, where its record names one.
        video: what was exported is a video, not Gaussians.
    """
    if not losses:
        return ["Nothing was compared."]
    mean = mean_losses(losses)
    cameras = ", ".join(dict.fromkeys(one.camera for one in losses))
    frames = ", ".join(str(one.frame) for one in losses)
    read = "Read back" if video else "Read back and drawn as a standard viewer does"
    lines = [
        f"{read}, at frames {frames} of {cameras}:",
        f"  {_said(mean['psnr'])} to the model's own pictures" + ("" if video else _shares(mean, baked)),
        f"  {_said(mean['exported_truth_psnr'])} to the true images, where the model's own pictures have "
        f"{_said(mean['truth_psnr'])}",
    ]
    if background == "white" and not video:
        lines.append("The model draws over white and no file holds a background; the comparison is over black.")
    return lines


def _shares(mean: Mapping[str, float], baked: bool) -> str:
    drawing = "baked colours and other drawing" if baked else "other drawing"
    return f"; by the file alone {_said(mean['file_psnr'])}, by {drawing} alone {_said(mean['drawing_psnr'])}"


def _said(decibels: float) -> str:
    return "no loss" if decibels >= _IDENTICAL else f"{decibels:.2f} dB"


def selection_lines(options: Any) -> list[str]:
    """What options take away knowingly, in sentences."""
    if options.min_opacity > INVISIBLE:
        return [f"Gaussians of an opacity from 1/255 to {options.min_opacity:g}, left out, were visible."]
    return []
