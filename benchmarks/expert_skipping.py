"""Would it pay to skip experts whose gates vanish, found by a look at a quarter of the resolution?

    python benchmarks/run_suite.py basketball_quick
    python benchmarks/expert_skipping.py basketball_quick

For the last mixture of a suite, one seed: how long a pass over the router weights alone takes at a quarter of width and
height, against the frame itself; in how many frames, and in how many tiles of 16x16 pixels, an expert's gate stays
below a limit there; and what the picture loses when these gates are set to 0. Skipped tiles bound what could be saved:
no rasterizer saves more. Measured on images of the test camera, chooses nothing. Writes
benchmarks/results/expert_skipping.json; benchmarks/write_results.py shows it.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import tyro
from machine import describe_measurement
from rich.console import Console
from suites import RESULTS, ROOT, run_key, write_json
from torch import Tensor

from moegs_ns.benching.suite_files import read_suite
from moegs_ns.reporting.metrics import MetricsProtocol
from moegs_ns.router.gate import gate
from moegs_ns.router.instant import Instant
from moegs_ns.router.interface import RouterView
from moegs_ns.router.mixture import MixtureModel, blend
from moegs_ns.splats.rays import ray_image
from moegs_ns.training.load_run import load_run

OUTPUT = RESULTS / "expert_skipping.json"
LIMITS = (0.01, 0.03, 0.1)
_REDUCTION = 4
_TILE = 16
_REPETITIONS = 5


@dataclass
class Arguments:
    """Measure what skipping experts could save."""

    suite: Annotated[str, tyro.conf.Positional]
    """Name of a file in configs/suites, or a TOML file."""
    images: int = 15
    """Images measured, evenly spaced."""
    output_dir: Path = ROOT / "outputs" / "suites"
    """Where the suite's runs lie."""
    output: Path = OUTPUT
    """JSON file to write."""


def small_gates(model: MixtureModel, instant: Instant) -> Tensor:
    """``[K,h,w]`` gates of an image of a quarter of width and height, from the weights alone."""
    width, height = -(-instant.width // _REDUCTION), -(-instant.height // _REDUCTION)
    shrink = torch.tensor([width / instant.width, height / instant.height, 1.0])
    small = dataclasses.replace(instant, intrinsics=shrink[:, None] * instant.intrinsics, width=width, height=height)
    weights = model.router.channels(instant.time, instant.rows)
    assert weights is not None
    images = small.rasterize(channels=weights).images
    rays = ray_image(small.viewmat, small.intrinsics, width, height)
    nothing = images.new_zeros(*images.shape[:3], 3)
    view = RouterView(instant.time, rays, images, nothing, images.new_zeros(images.shape[:3]), None)
    return gate(model.router.logits(view), model.config.eval_temperature)


def largest_per_tile(small: Tensor) -> Tensor:
    """``[K,rows,columns]`` largest gate in every tile."""
    side = _TILE // _REDUCTION
    return F.max_pool2d(small[:, None], side, ceil_mode=True)[:, 0]


def without(gates: Tensor, tiles: Tensor, limit: float) -> Tensor:
    """Gates without those of tiles that stay below the limit."""
    kept = (tiles >= limit).repeat_interleave(_TILE, 1).repeat_interleave(_TILE, 2)
    kept = kept[:, : gates.shape[1], : gates.shape[2]]
    rest = gates * kept
    return rest / rest.sum(dim=0).clamp_min(1e-6)


def _milliseconds(work: Callable[[], Any]) -> float:
    spent = []
    for _ in range(_REPETITIONS):
        begin = time.perf_counter()
        work()
        spent.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(spent)


@torch.no_grad()
def measure(run: Path, images: int) -> dict[str, Any]:
    """What is written, as plain data."""
    loaded = load_run(run)
    model, metrics = loaded.model, MetricsProtocol(lpips=())
    assert isinstance(model, MixtureModel)
    if model.router.needs_depth or model.config.distrust or not model.router.gaussian_weights:
        raise ValueError(f"expected a mixture whose gates come from splatted weights alone, found another at {run}")
    count = len(loaded.images)
    chosen = [round(i * (count - 1) / max(1, images - 1)) for i in range(min(images, count))]
    rows: list[dict[str, float]] = []
    for view in loaded.views(chosen):
        camera = view.camera.to(model.device)
        instant = model.instant(camera)
        looked, _ = model.look(camera)
        gates = gate(model.logits(looked), model.config.eval_temperature)
        pictures = looked.pictures.clamp(0, 1)
        tiles = largest_per_tile(small_gates(model, instant))
        psnr = metrics.measure(blend(gates, pictures), view.truth)["psnr"]
        row = {
            "frame_ms": _milliseconds(lambda camera=camera: model.get_outputs(camera)),
            "look_ms": _milliseconds(lambda instant=instant: small_gates(model, instant)),
        }
        for limit in LIMITS:
            lost = psnr - metrics.measure(blend(without(gates, tiles, limit), pictures), view.truth)["psnr"]
            row |= {
                f"frames {limit}": float((tiles.amax(dim=(1, 2)) < limit).float().mean()),
                f"tiles {limit}": float((tiles < limit).float().mean()),
                f"lost {limit}": lost,
            }
        rows.append(row)
    means = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
    return {"run": run_key(run), "images": len(rows), "resolution": [instant.width, instant.height], **means}


def main(arguments: Arguments) -> None:
    suite = read_suite(arguments.suite)
    stages = [stage for plan in suite.plans(arguments.output_dir.absolute())[:1] for stage in plan]
    usual = f"{suite.preset or 'paper'}-seed"  # further routers have a further preset in their name
    runs = [stage.run for stage in stages if stage.method == "moegs-router" and stage.run.name.startswith(usual)]
    torch.set_num_threads(1)
    about = {"measurement": describe_measurement(suite.seeds[0]), "limits": list(LIMITS)}
    result = {**about, **measure(runs[-1], arguments.images)}
    write_json(arguments.output, result)
    Console().print(f"wrote {arguments.output}; now: python benchmarks/write_results.py", highlight=False)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
