"""What a router's training could save by remembering the projections of frozen experts per camera and time.

    python benchmarks/projection_share.py

Measures a training step of the volume-aware router over frozen experts, whose Gaussians of the instant are at hand
already (`moegs_ns.router.splat_cache`), and apart from it the two stages that a memory of (camera, time) pairs would
spare: projection, and binning, that is listing Gaussians by tile in order of depth. Binning is a part of compositing:
its time is the difference between compositing all Gaussians behind a curtain that ends every pixel within a tile's
first entries, and compositing the curtain alone. Interleaved rounds; writes benchmarks/results/projection_share.json,
of which python benchmarks/write_performance.py makes a section of docs/performance.md.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from expert_ways import GEOMETRY, Case, end_to_end, expert_scene
from machine import describe_measurement
from rich.console import Console
from torch import Tensor

from moegs_ns.losses import photometric_loss
from moegs_ns.router.gate import gate
from moegs_ns.router.interface import RouterView
from moegs_ns.router.volume_aware import VolumeAwareRouter
from moegs_ns.splats import native_backend
from moegs_ns.splats.camera import camera_position
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.rasterize import rasterize
from moegs_ns.splats.rays import ray_image
from moegs_ns.splats.sh import view_colors
from moegs_ns.splats.splats import Splats, concatenate
from moegs_ns.training.adam import RAdam
from moegs_ns.training.allocator import keep_freed_memory

RESULTS = Path(__file__).resolve().parent / "results"
SH_DEGREE = 1  # of the quick preset's experts
RATES = {"weights": 0.5, "time_weights": 0.05, "network": 0.05}
# Entries of a tile that the kernels take at a time: as many Gaussians in front of all others let nothing else be seen.
_FIRST_ENTRIES = 64
#: Folders of kept suites, and the preset of the routers in them.
SUITES = {"basketball_quick": "quick", "mixed_demo": "demo"}


@dataclass
class Arguments:
    """Measure the share of projection and binning in a router's training step."""

    rounds: int = 30
    """Interleaved repeats."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of torch threads to measure with."""
    gaussians: int = 60_000
    """Of all experts together."""
    experts: int = 4
    """K."""
    width: int = 320
    """Pixels."""
    height: int = 180
    """Pixels."""
    seed: int = 0
    """Of the scene."""
    results: Path = RESULTS
    """Folder of the kept suites, whose routers say how often a camera is seen at the same time again."""
    output: Path = RESULTS / "projection_share.json"
    """JSON file to write."""


def training_step(case: Case, seed: int) -> Callable[[], None]:
    """One step of the router as `MixtureModel` takes it, with spherical harmonics of degree 1, the photometric loss and
    RAdam; what the trainer does around it is left out."""
    at, generator = expert_scene(case, seed), torch.Generator().manual_seed(seed)
    parts = [
        Splats(
            *(getattr(one.splats, name) for name in GEOMETRY),
            sh=0.2 * torch.randn(len(one.splats), (SH_DEGREE + 1) ** 2, 3, generator=generator),
        )
        for one in at.experts
    ]
    router = VolumeAwareRouter([len(part) for part in parts], 0.0, "origin+direction", kernel_size=1)
    groups = router.param_groups()
    optimizer = RAdam([{"params": parameters, "lr": RATES[name]} for name, parameters in groups.items()])
    truth = torch.rand(case.height, case.width, 3, generator=generator)
    background = torch.zeros(case.experts, 6)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            splats, expert_ids = concatenate(parts)
            position = camera_position(at.viewmat)
            colours = torch.cat([view_colors(SH_DEGREE, part.means, position, part.sh) for part in parts])
        weights = router.channels(0.3)
        assert weights is not None
        result = rasterize(
            splats,
            torch.cat([colours, weights], dim=1),
            *at.view,
            expert_ids=expert_ids,
            num_experts=case.experts,
            background=background,
        )
        pictures = result.images[..., :3].detach()
        rays = ray_image(*at.view)
        view = RouterView(0.3, rays, result.images[..., 3:], pictures, result.alphas.detach(), None)
        rgb = (gate(router.logits(view))[..., None] * pictures).sum(dim=0)
        photometric_loss(rgb, truth, 0.2).backward()
        optimizer.step()

    return step


def projected_parts(case: Case, seed: int) -> dict[str, Callable[[], object]]:
    """Projection of all experts' Gaussians; compositing them behind a curtain; and the curtain alone."""
    at = expert_scene(case, seed)
    splats, expert_ids, *_ = end_to_end(at)

    def project() -> Any:
        return native_backend.project(splats.means, splats.quats, splats.scales, *at.view, ProjectionSettings())

    screen = project()
    opacities = splats.opacities * screen.compensations
    curtain = curtain_of(case)
    behind = [screen.means2d, screen.conics, opacities, screen.depths, screen.radii, expert_ids]
    both = [torch.cat(pair) for pair in zip(curtain, behind, strict=True)]

    def composite(scene: list[Tensor]) -> Callable[[], object]:
        means2d, conics, opacities, depths, radii, ids = scene
        values = torch.ones(len(ids), 1)
        size = case.experts, case.width, case.height
        return lambda: native_backend.composite(means2d, conics, opacities, values, depths, radii, ids, *size)

    return {"projection": project, "behind a curtain": composite(both), "curtain": composite(curtain)}


def curtain_of(case: Case) -> list[Tensor]:
    """Opaque Gaussians as wide as the image, in front of everything, for every expert; centres, conics, opacities,
    depths, radii and experts."""
    count = _FIRST_ENTRIES * case.experts
    return [
        torch.tensor([[case.width / 2, case.height / 2]]).expand(count, 2).contiguous(),
        torch.tensor([[1e-9, 0.0, 1e-9]]).expand(count, 3).contiguous(),
        torch.ones(count),
        torch.full((count,), -1.0),
        torch.full((count,), 2 * max(case.width, case.height), dtype=torch.int32),
        torch.arange(case.experts, dtype=torch.int32).repeat_interleave(_FIRST_ENTRIES),
    ]


def measure(case: Case, seed: int, rounds: int) -> dict[str, float]:
    """Medians in milliseconds, of binning over the rounds' differences; after three rounds that do not count."""
    step, parts = training_step(case, seed), projected_parts(case, seed)
    times: dict[str, list[float]] = {name: [] for name in ("step", *parts)}
    for repeat in range(-3, rounds):
        for name, run in {"step": step, **parts}.items():
            with torch.set_grad_enabled(name == "step"):
                start = time.perf_counter()
                run()
            if repeat >= 0:
                times[name].append(1e3 * (time.perf_counter() - start))
    differences = [one - other for one, other in zip(times["behind a curtain"], times["curtain"], strict=True)]
    of = {"step": times["step"], "projection": times["projection"], "binning": differences}
    return {name: round(max(0.0, statistics.median(own)), 3) for name, own in of.items()}


def visits(results: Path) -> list[dict[str, Any]]:
    """Of the kept suites' routers: how many steps they took, and over how many (camera, time) pairs."""
    found = []
    for suite, preset in SUITES.items():
        for file in sorted((results / suite).glob(f"*_moegs-router_{preset}-seed*.json"))[:1]:
            record = json.loads(file.read_text("utf8"))["record"]
            scene, progress = record["scene"], record["progress"]
            about = {"scene": scene["scene"], "preset": preset, "pairs": scene["images"]["train"]}
            found.append({**about, "steps": progress["steps_done"]})
    return found


def main(arguments: Arguments) -> None:
    keep_freed_memory("cpu")
    case = Case("experts", arguments.gaussians, arguments.width, arguments.height, arguments.experts)
    rows = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        rows.append({"threads": threads, **measure(case, arguments.seed, arguments.rounds)})
    report = {
        "measurement": describe_measurement(arguments.seed),
        "rounds": arguments.rounds,
        "workload": {name: value for name, value in vars(case).items() if name != "axis"},
        "rows": rows,
        "visits": visits(arguments.results),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf8")
    console = Console()
    for row in rows:
        console.print(row, highlight=False)
    console.print(f"wrote {arguments.output}; now: python benchmarks/write_performance.py", soft_wrap=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
