"""Golden files: what gsplat's own CUDA kernels made of small scenes, kept so that machines without a GPU can compare.

A file is a compressed ``.npz`` of one scene: its inputs, gsplat's projection, images, alphas and gradients, and who
made it. ``benchmarks/golden_files.py`` writes them on a CUDA machine into ``tests/splats/golden``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moegs_ns.splats.conventions import Conventions, conventions_of_gsplat
from moegs_ns.splats.projection import ProjectionSettings
from moegs_ns.splats.splats import Splats
from moegs_ns.splats.torch_backend import tile_bounds
from tests.splats.comparisons import compare_gradients, compare_images, compare_radii
from tests.splats.golden_outputs import GEOMETRY, Outputs, outputs_of
from tests.splats.random_scenes import ANTIALIASED, Scene, hard_cases, random_scene

FOLDER = Path(os.environ.get("MOEGS_GOLDEN_DIR", Path(__file__).parent / "golden"))
"""Where golden files lie; ``$MOEGS_GOLDEN_DIR`` names another place, such as one where they have just been written."""
FORMAT = 1

_SETTINGS = ("eps2d", "antialiased", "near", "far", "radius_clip")
# Eleven channels are no width of gsplat's kernels: nothing new beside eight and five, and a large file.
_LEFT_OUT = ("four-experts-eleven-channels",)


def golden_scenes() -> list[Scene]:
    """Every hard case of the other tests, and the channel counts and sizes they leave out."""
    scenes = [scene for scene in hard_cases() if scene.name not in _LEFT_OUT]
    return [
        *scenes,
        random_scene(61, 80, c=5, settings=ANTIALIASED, name="five-channels-antialiased"),
        random_scene(62, 70, c=8, width=33, height=50, name="eight-channels"),
        random_scene(63, 150, k=3, c=6, width=40, height=40, name="three-experts-colours-and-weights"),
    ]


def write_golden(path: Path, scene: Scene, outputs: Outputs, facts: dict[str, Any]) -> None:
    """Writes one file.

    Args:
        path: of the file; its folder is made.
        scene: what was rendered; its tensors may be on any device.
        outputs: see ``Outputs``.
        facts: ``gsplat`` (version) and whatever says who made it; plain data.
    """
    header = {
        "format": FORMAT,
        "name": scene.name,
        "width": scene.width,
        "height": scene.height,
        "num_experts": scene.num_experts,
        "rounding": scene.rounding,
        "settings": [{name: getattr(one, name) for name in _SETTINGS} for one in scene.settings],
        "made": facts,
    }
    inputs: dict[str, Tensor] = {name: getattr(scene.splats, name) for name in GEOMETRY}
    inputs |= {"channels": scene.channels, "viewmat": scene.viewmat, "K": scene.K, "expert_ids": scene.expert_ids}
    if scene.background is not None:
        inputs["background"] = scene.background
    arrays = {f"in_{name}": tensor for name, tensor in inputs.items()}
    arrays |= {f"out_{name}": tensor for name, tensor in outputs.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        header=np.array(json.dumps(header)),
        **{name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()},
    )


@dataclass(frozen=True, eq=False)
class Golden:
    """One file, read."""

    scene: Scene
    """With the conventions of the release that made the file."""
    outputs: Outputs
    facts: dict[str, Any]


def read_golden(path: Path) -> Golden:
    """Reads one file.

    Raises:
        ValueError: it is of another format.
    """
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    header = json.loads(str(arrays.pop("header")))
    if header["format"] != FORMAT:
        raise ValueError(
            f"expected golden files of format {FORMAT}, found {header['format']} in '{path}'; write them anew with "
            "benchmarks/golden_files.py"
        )
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    conventions = conventions_of_gsplat(header["made"]["gsplat"])
    scene = Scene(
        name=header["name"],
        splats=Splats(**{name: tensors[f"in_{name}"] for name in GEOMETRY}),
        channels=tensors["in_channels"],
        viewmat=tensors["in_viewmat"],
        K=tensors["in_K"],
        width=header["width"],
        height=header["height"],
        expert_ids=tensors["in_expert_ids"],
        num_experts=header["num_experts"],
        settings=tuple(ProjectionSettings(**one, conventions=conventions) for one in header["settings"]),
        background=tensors.get("in_background"),
        rounding=header["rounding"],
    )
    outputs = {name.removeprefix("out_"): tensor for name, tensor in tensors.items() if name.startswith("out_")}
    return Golden(scene, outputs, header["made"])


def compare_with_golden(golden: Golden, backend: str) -> None:
    """Asserts that a backend agrees with the file: projections within 1e-5, images up to threshold flips, gradients
    within 1e-3, as gsplat's kernels use fast mathematics and add gradients in random order."""
    actual, expected, rounding = outputs_of(golden.scene, backend), golden.outputs, golden.scene.rounding
    radii = expected["radii"].amax(dim=-1) if expected["radii"].ndim == 2 else expected["radii"]
    compare_radii(actual["radii"], radii)
    both = (actual["radii"] > 0) & (radii > 0)
    for name, tolerance in _rounding_of(golden.scene, actual).items():
        _compare_rows(name, actual[name][both], expected[name][both], tolerance[both])
    _compare_tiles(golden, actual)
    for name in ("images", "alphas"):
        compare_images(actual[name], expected[name], tolerance=2e-5 * rounding, what=name)
    for name in (*(f"v_{name}" for name in (*GEOMETRY, "channels", "means2d")), "absgrad"):
        compare_gradients(actual[name], expected[name], tolerance=1e-3 * rounding, what=name)


def _compare_rows(name: str, actual: Tensor, expected: Tensor, rounding: Tensor) -> None:
    """Rows within ``rounding`` [N] of their size."""
    columns = expected.numel() // max(1, len(expected))
    actual, expected = (rows.double().reshape(len(rows), columns) for rows in (actual, expected))
    error = (actual - expected).norm(dim=1) / (expected.norm(dim=1) + 1e-6)
    worst = float((error / rounding).max()) if len(error) else 0.0
    assert worst <= 1.0, f"{name}: {worst:.3g} times the error that rounding explains"


def _rounding_of(scene: Scene, outputs: Outputs) -> dict[str, Tensor]:
    """[N] relative errors of a float32 projection that rounding explains, by output: 1e-5, and more in three places.

    Depth is a difference of numbers as large as the position, so near the camera plane it loses digits, and all else
    with it; a pixel position near zero is one of numbers as large as the image. What goes through the determinant of
    the covariance loses as many digits as the ellipse is thin.
    """
    distance = scene.splats.means.double().norm(dim=1) + scene.viewmat[:3, 3].double().norm()
    close = 1e-5 * (0.1 * distance / outputs["depths"].double().clamp(min=1e-6)).clamp(min=1.0)
    xx, xy, yy = outputs["conics"].double().unbind(-1)
    pixels = outputs["means2d"].double().norm(dim=1).clamp(min=1e-3)
    thin = 2e-6 * (xx + yy) ** 2 / (xx * yy - xy * xy).abs().clamp(min=1e-30)
    return {
        "means2d": close * (1 + scene.width / pixels),
        "depths": close,
        "conics": close + thin,
        "compensations": close + thin,
    }


def _compare_tiles(golden: Golden, actual: Outputs) -> None:
    """Number of tiles a Gaussian is listed in, where the release lists squares."""
    if golden.scene.settings[0].conventions.per_axis:
        return
    scene, radii = golden.scene, actual["radii"]
    first, last = tile_bounds(actual["means2d"], radii, scene.width, scene.height)
    counts = (last - first).prod(dim=1) * (radii > 0)
    compare_radii(counts.int(), golden.outputs["tiles"].int())


def golden_files(folder: Path = FOLDER) -> Iterator[Path]:
    """All files there are, by name."""
    yield from sorted(folder.glob("*.npz"))


def write_all(
    folder: Path, render: Callable[[Scene], Outputs], facts: dict[str, Any], conventions: Conventions | None = None
) -> list[Path]:
    """Renders every scene and writes ``gsplat-<version>-<scene>.npz`` into ``folder``.

    Args:
        folder: is made.
        render: gives the outputs of a scene on the CPU.
        facts: see ``write_golden``.
        conventions: put into the scenes' settings beforehand, for a ``render`` that reads them.
    """
    paths = []
    for scene in golden_scenes():
        path = folder / f"gsplat-{facts['gsplat']}-{scene.name.replace('/', '-')}.npz"
        write_golden(path, scene, render(scene if conventions is None else scene.under(conventions)), facts)
        paths.append(path)
    return paths
