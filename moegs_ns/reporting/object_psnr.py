"""PSNR per object of a scene that ships object masks (``mask/<camera>/<frame>.png``)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from moegs_ns.reporting.metrics import decibel
from moegs_ns.reporting.tables import Table, mean_and_deviation
from moegs_ns.scene.media_files import open_image

OBJECTS_NAME = "object_psnr_test.json"
"""Scores per object of a run's newest checkpoint on the test cameras, in the run folder."""

PROTOCOL = (
    "PSNR per object: mean squared error over all pixels of the object in all test images, data range 1; masks are "
    "scaled to the images by taking the nearest pixel. In brackets the share of all pixels."
)


@dataclass(frozen=True)
class ObjectMasks:
    """Object numbers per pixel, on disk.

    Attributes:
        folder: ``mask/``.
        names: object number to name.
    """

    folder: Path
    names: Mapping[int, str]

    def cameras(self) -> list[str]:
        """Names of the cameras with masks, ascending."""
        return sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir())

    def frames(self, camera: str) -> set[int]:
        """Frames of a camera with masks, counted from the start of the clip."""
        return set(self._files(camera))

    def read(self, camera: str, frame: int, width: int | None = None, height: int | None = None) -> np.ndarray:
        """``[height,width]`` object numbers, nearest neighbour; ``frame`` counts from the start of the clip.

        Without a size as large as they are.

        Raises:
            FileNotFoundError: no mask of that image.
        """
        masks = self._files(camera)
        if frame not in masks:
            raise FileNotFoundError(
                f"expected a mask of frame {frame} of {camera} at {self.folder / camera}/{frame:04d}.png, found none"
            )
        with open_image(masks[frame]) as image:
            size = (width or image.width, height or image.height)
            return np.asarray(image.resize(size, Image.Resampling.NEAREST))

    def _files(self, camera: str) -> dict[int, Path]:
        return {int(file.stem): file for file in (self.folder / camera).glob("*.png") if file.stem.isdigit()}


def find_masks(data: Path) -> ObjectMasks | None:
    """The masks of a data folder, None where it has none; ``ground_truth.json`` may name the objects."""
    folder = data / "mask"
    if not folder.is_dir():
        return None
    description = data / "ground_truth.json"
    named = json.loads(description.read_text("utf8")).get("object_index", {}) if description.is_file() else {}
    return ObjectMasks(folder, {int(number): str(name) for name, number in named.items()})


@dataclass
class ObjectErrors:
    """Squared errors by picture and object, summed over images."""

    names: Mapping[int, str]
    _sums: dict[str, dict[int, float]] = field(default_factory=dict)
    _pixels: dict[int, int] = field(default_factory=dict)

    def add(self, pictures: Mapping[str, np.ndarray], truth: np.ndarray, mask: np.ndarray) -> None:
        """Count one image.

        Args:
            pictures: row name to ``[H,W,3]`` float; clamped to [0,1] as in the metrics protocol.
            truth: ``[H,W,3]`` float in [0,1].
            mask: ``[H,W]`` object numbers.
        """
        counts = np.bincount(mask.ravel())
        for number in np.flatnonzero(counts):
            self._pixels[int(number)] = self._pixels.get(int(number), 0) + int(counts[number])
        for row, picture in pictures.items():
            errors = np.square(np.clip(picture, 0.0, 1.0).astype(np.float64) - truth).mean(axis=-1)
            sums = np.bincount(mask.ravel(), weights=errors.ravel())
            own = self._sums.setdefault(row, {})
            for number in np.flatnonzero(counts):
                own[int(number)] = own.get(int(number), 0.0) + float(sums[number])

    def summary(self) -> dict[str, Any]:
        """Plain data: ``objects`` name to share of pixels, ``psnr`` row to name to dB."""
        total = sum(self._pixels.values())
        name = {number: self.names.get(number, f"object {number}") for number in sorted(self._pixels)}
        return {
            "objects": {name[number]: self._pixels[number] / total for number in name},
            "psnr": {
                row: {name[number]: decibel(sums[number] / self._pixels[number]) for number in name}
                for row, sums in self._sums.items()
            },
        }


def object_table(title: str, summaries: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> Table:
    """Summaries of one scene (several seeds become means) as a table; ``labels`` maps row names to what is printed."""
    objects = summaries[0]["objects"]
    rows = [row for row in labels if all(row in summary["psnr"] for summary in summaries)]
    cells = [
        [mean_and_deviation([summary["psnr"][row][name] for summary in summaries], ".2f") for name in objects]
        for row in rows
    ]
    return Table(
        title=title,
        header=["PSNR", *(f"{name} ({100 * share:.1f} %)" for name, share in objects.items())],
        rows=[[labels[row], *values] for row, values in zip(rows, cells, strict=True)],
        notes=[PROTOCOL],
        emphasised=(len(rows) - 1,) if len(rows) > 1 else (),
    )
