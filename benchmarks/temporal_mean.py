"""About what a model without motion can score: a held-out camera's own average over time against each of its frames.

    python benchmarks/temporal_mean.py examples/mixed ../shared/data/basketball --downscale 1 2

Prints a table and writes benchmarks/results/temporal_mean.json. PSNR per frame with data range 1 over the whole image,
then the mean over the test cameras' frames; the average image is not rounded.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from moegs_ns.scene.dataparsers.n3v import N3VDataParserConfig
from moegs_ns.scene.dataset import FrameDataset
from moegs_ns.scene.frame_store import FrameStore

SAMPLE = Path(__file__).resolve().parents[1] / "examples" / "mixed"
RESULTS = Path(__file__).resolve().parent / "results" / "temporal_mean.json"


@dataclass
class Arguments:
    """Score the temporal mean of the test cameras of N3V-layout scenes."""

    scenes: Annotated[tuple[Path, ...], tyro.conf.Positional] = (SAMPLE,)
    """Scene folders. Default: the bundled one."""
    downscale: tuple[int, ...] = (1, 2)
    """Image sizes to score, as the data parser's --downscale."""
    test_cams: tuple[str, ...] | None = None
    """Held-out cameras. Default: the first camera of each scene."""
    output: Path = RESULTS
    """JSON file to write; scenes in it that are not scored now stay."""


def temporal_mean_psnr(frames: FrameStore, camera_index: int) -> list[float]:
    """PSNR in dB of the camera's average image against each of its frames."""
    shape = frames.cameras[camera_index].shape
    total = np.zeros(shape[1:], dtype=np.float64)
    for index in range(shape[0]):
        total += frames.frame(camera_index, index)
    mean = total / shape[0] / 255
    errors = [np.square(frames.frame(camera_index, index) / 255 - mean).mean() for index in range(shape[0])]
    return [float(-10 * np.log10(error)) for error in errors]


def score(scene: Path, downscale: int, test_cams: tuple[str, ...] | None) -> dict[str, Any]:
    """One row of the table, with the protocol it was measured by."""
    config = N3VDataParserConfig(data=scene, downscale=downscale, test_cams=test_cams)
    outputs = config.setup().get_dataparser_outputs("test")
    dataset = FrameDataset(outputs)
    psnr = np.concatenate([temporal_mean_psnr(dataset.frames, camera) for camera in range(len(dataset.frames))])
    first = dataset.frames.cameras[0]
    return {
        "scene": outputs.metadata["scene"],
        "cameras": outputs.metadata["camera_names"],
        "num_frames": outputs.metadata["num_frames"],
        "width": first.width,
        "height": first.height,
        "downscale": downscale,
        "psnr_mean": round(float(psnr.mean()), 3),
        "psnr_min": round(float(psnr.min()), 3),
        "psnr_max": round(float(psnr.max()), 3),
    }


def main(arguments: Arguments) -> None:
    rows = [score(scene, factor, arguments.test_cams) for scene in arguments.scenes for factor in arguments.downscale]
    table = Table(title="Temporal mean of the test cameras")
    for heading in ("scene", "cameras", "frames", "size", "PSNR dB", "min", "max"):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            row["scene"],
            " ".join(row["cameras"]),
            str(row["num_frames"]),
            f"{row['width']}x{row['height']}",
            f"{row['psnr_mean']:.2f}",
            f"{row['psnr_min']:.2f}",
            f"{row['psnr_max']:.2f}",
        )
    Console().print(table)
    known = json.loads(arguments.output.read_text()) if arguments.output.is_file() else []
    new = {_identity(row) for row in rows}
    kept = [row for row in known if _identity(row) not in new]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(sorted(kept + rows, key=_identity), indent=1) + "\n")


def _identity(row: dict[str, Any]) -> tuple[str, tuple[str, ...], int]:
    return row["scene"], tuple(row["cameras"]), row["downscale"]


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
