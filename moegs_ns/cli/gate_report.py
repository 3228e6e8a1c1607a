"""Renders one camera of a mixture and writes what ``moegs report gates`` shows of it."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from moegs_ns.cli.gate_charts import gate_charts
from moegs_ns.exporting.charts import svg
from moegs_ns.exporting.gate_page import GatePage, Instant, gate_page
from moegs_ns.exporting.gate_panels import MeanQuantities, error_scale_top, panels, reduced
from moegs_ns.exporting.gate_picture import evenly_spaced
from moegs_ns.exporting.picture_files import save_photograph, save_picture
from moegs_ns.files import write_json, write_text
from moegs_ns.reporting.ensembles import squared_errors
from moegs_ns.reporting.gate_statistics import (
    DEFINITIONS,
    MIXTURE_PICTURE,
    GateMeter,
    GateNumbers,
    GateStatistics,
    normalised_entropy,
)  # fmt: skip
from moegs_ns.reporting.gate_tables import gate_tables, sentences
from moegs_ns.training.load_run import LoadedRun

PAGE_NAME = "index.html"
STATISTICS_NAME = "gate_statistics.json"
PICTURES_FOLDER = "pictures"
#: Maps of few colours, which lossy files would blur.
_FLAT = ("winner", "best")


@dataclass(frozen=True)
class GateReport:
    """What is to be written.

    Attributes:
        run: a mixture.
        camera: name of one of its cameras; None for the first.
        instants: frames shown in pictures.
        max_frames: frames measured at most.
        width: of the pictures at most.
        suffix: of the pictures, ``.webp`` or ``.png``.
    """

    run: LoadedRun
    camera: str | None = None
    instants: int = 8
    max_frames: int = 75
    width: int = 640
    suffix: str = ".webp"

    def write(self, folder: Path, console: Console) -> GateStatistics:
        """Render, measure, write page, pictures and numbers into ``folder``.

        Raises:
            ValueError: no mixture, or no such camera.
        """
        camera, indices, stride = self._chosen()
        shown = evenly_spaced(len(indices), self.instants)
        meter: GateMeter | None = None
        mean, kept = MeanQuantities(), []
        views = track(
            self.run.views(indices), f"Rendering {camera}", total=len(indices), console=console, transient=True,
            disable=not console.is_terminal,
        )  # fmt: skip
        for position, view in enumerate(views):
            with torch.no_grad():
                outputs = self.run.model.get_outputs_for_camera(view.camera)
            names = _expert_names(outputs, self.run.folder)
            meter = meter or GateMeter(names)
            gates = torch.stack([outputs[f"gate_{name}"][..., 0] for name in names])
            images = torch.stack([outputs[f"expert_{name}"] for name in names]).clamp(0.0, 1.0)
            mixture = outputs["rgb"].clamp(0.0, 1.0)
            best = meter.update(view.frame, gates, images, mixture, view.truth)
            quantities = reduced(_quantities(names, gates, images, mixture, view.truth, best), self.width)
            mean.add(quantities)
            if position in shown:
                kept.append((view.frame, quantities))
        assert meter is not None
        statistics = meter.compute()
        _remove_former_pictures(folder)
        frames = dict(zip(statistics.frames, statistics.per_frame, strict=True))
        top = error_scale_top(quantities for _, quantities in kept)
        whole = f"mean of {len(indices)} frames"
        instants = [self._instant(folder, whole, "mean", None, mean.mean(), statistics.overall, meter.experts, top)]
        for frame, quantities in kept:
            label, name = f"frame {frame}", f"frame{frame:04d}"
            instants.append(self._instant(folder, label, name, frame, quantities, frames[frame], meter.experts, top))
        scene = self.run.record["scene"]["scene"]
        measured = "every frame" if stride == 1 else f"one frame in {stride}"
        size = self.run.dataset.cameras[indices[0]]
        facts = (
            f"Run {self.run.folder.name}, step {self.run.step}; camera {camera}, {int(size.width)}x{int(size.height)}, "
            f"frames {statistics.frames[0]} to {statistics.frames[-1]}, {measured}, {self.run.fps:g} frames per second."
        )
        page = GatePage(
            title=f"{scene}: which expert is used where",
            facts=facts,
            summary=sentences(statistics),
            experts=statistics.experts,
            error_top=top,
            instants=instants,
            charts=[svg(chart) for chart in gate_charts(statistics, stride)],
            tables=gate_tables(statistics),
            definitions=DEFINITIONS,
        )
        plain = {
            "scene": scene,
            "run": self.run.folder.name,
            "step": self.run.step,
            "camera": camera,
            "frames_apart": stride,
            "error_scale_top": top,
            "pictures": sorted(file for instant in instants for file in instant.files.values()),
            **statistics.plain(),
        }
        write_json(folder / STATISTICS_NAME, plain)
        write_text(folder / PAGE_NAME, gate_page(page))
        return statistics

    def _chosen(self) -> tuple[str, list[int], int]:
        """The camera, its images to measure, and how many frames lie between them."""
        images = self.run.images
        cameras = list(dict.fromkeys(camera for camera, _ in images))
        camera = self.camera or cameras[0]
        if camera not in cameras:
            raise ValueError(
                f"expected a camera of the split ({', '.join(cameras)}), found {camera!r}; name one of these"
            )
        indices = [index for index, (name, _) in enumerate(images) if name == camera]
        stride = math.ceil(len(indices) / self.max_frames)
        return camera, indices[::stride], stride

    def _instant(
        self,
        folder: Path,
        label: str,
        name: str,
        position: float | None,
        quantities: dict[str, np.ndarray],
        numbers: GateNumbers,
        experts: Sequence[str],
        top: float,
    ) -> Instant:
        """Write an instant's pictures."""
        files = {}
        for panel, picture in panels(quantities, top).items():
            file = f"{PICTURES_FOLDER}/{name}-{panel}{'.png' if panel in _FLAT else self.suffix}"
            (save_picture if panel in _FLAT else save_photograph)(folder / file, picture)
            files[panel] = file
        return Instant(label, position, files, _captions(numbers, experts))


def _remove_former_pictures(folder: Path) -> None:
    """Those of a report that was written here before, of other frames perhaps."""
    former = folder / STATISTICS_NAME
    if former.is_file():
        for file in json.loads(former.read_text("utf8")).get("pictures", ()):
            (folder / PICTURES_FOLDER / Path(file).name).unlink(missing_ok=True)


def _expert_names(outputs: dict[str, Tensor], run: Path) -> list[str]:
    """In gate order."""
    names = [name.removeprefix("gate_") for name in outputs if name.startswith("gate_")]
    if not names:
        raise ValueError(f"expected the run of a mixture, found one without gates: {run}")
    return names


def _quantities(
    names: Sequence[str], gates: Tensor, images: Tensor, mixture: Tensor, truth: Tensor, best: Tensor
) -> dict[str, np.ndarray]:
    """What `panels` draws."""
    errors = squared_errors(images, truth)
    found = {"truth": truth, "rgb": mixture, "entropy": normalised_entropy(gates)}
    found["error_rgb"] = squared_errors(mixture[None], truth)[0]
    for number, name in enumerate(names):
        found |= {f"expert_{name}": images[number], f"gate_{name}": gates[number]}
        found |= {f"best_{name}": (best == number).float(), f"error_{name}": errors[number]}
    return {name: values.cpu().numpy() for name, values in found.items()}


def _captions(numbers: GateNumbers, experts: Sequence[str]) -> dict[str, str]:
    """Panel name to what its numbers are in this instant."""
    captions = {
        "rgb": f"{numbers.psnr[MIXTURE_PICTURE]:.2f} dB",
        "entropy": f"mean {numbers.entropy:.2f}",
        "best": f"it wins in {100 * numbers.agreement_smoothed:.0f} % of the pixels",
    }
    for number, name in enumerate(experts):
        captions[f"expert_{name}"] = f"{numbers.psnr[name]:.2f} dB"
        won = f"wins {100 * numbers.share_won[number]:.0f} %"
        captions[f"gate_{name}"] = f"mean {numbers.mean_gate[number]:.2f}, {won}"
    return captions
