"""The part of docs/results.md on exports: what benchmarks/export_losses.py measured."""

import json
from pathlib import Path
from typing import Any

from machine import machine_sentence

_IDENTICAL = 100.0  # decibels, as the metrics report them


def export_section(file: Path) -> list[str]:
    """Lines of the section; none where nothing was measured."""
    if not file.is_file():
        return []
    found: dict[str, Any] = json.loads(file.read_text("utf8"))
    first = next(iter(found["runs"].values()))
    images = len(next(iter(first["exports"].values()))["images"])
    width, height = first["resolution"]
    lines = [
        "## What exports lose",
        "",
        f"`moegs export` of whole clips ({first['frames']} frames of `{first['scene']}` at {width}x{height}), read "
        f"back and drawn as a standard viewer does, over black, at {images} images of the test camera. *To the model*: "
        "dB to the model's own pictures; *file* and *drawing* are the parts of it that the format, and the viewer's "
        "way to draw, lose alone (- where nothing is lost). *True images*: the model's PSNR, and that of the export.",
        "",
        "| model | Gaussians | format | MB | to the model | file | drawing | true images |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, run in found["runs"].items():
        for name, export in run["exports"].items():
            lines.append(_row(label, run["gaussians"], name, export))
    notes = [
        "Ex4DGS, and with it the fused set, is drawn with a mip filter, which viewers do not have: *not fitted* is "
        "what that costs, the other rows are fitted from the training cameras (`--fit-viewers`).",
        "Ex4DGS draws over white here; the comparison over black counts that against it.",
        f"Again: `{found['measurement']['command']}`",
        machine_sentence(found["measurement"]),
    ]
    return [*lines, "", *(f"- {note}" for note in notes), ""]


def _row(label: str, gaussians: int, name: str, export: dict[str, Any]) -> str:
    mean = export["mean"]
    cells = [
        label,
        f"{gaussians:,}",
        name,
        f"{export['bytes'] / 1e6:.1f}",
        *(_said(mean[measure]) for measure in ("psnr", "file_psnr", "drawing_psnr")),
        f"{mean['truth_psnr']:.2f}, {mean['exported_truth_psnr']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _said(decibels: float) -> str:
    return "-" if decibels >= _IDENTICAL else f"{decibels:.1f}"
