"""``moegs report geometry``: whether the depth of a run agrees between cameras, and with the truth where known."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from moegs_ns.files import write_json

if TYPE_CHECKING:
    import numpy as np
    from nerfstudio.cameras.cameras import Cameras
    from nerfstudio.models.base_model import Model
    from rich.console import Console

    from moegs_ns.reporting.depth_consistency import ConsistencyRules, DepthView
    from moegs_ns.reporting.object_psnr import ObjectMasks
    from moegs_ns.training.load_run import LoadedRun

GEOMETRY_NAME = "geometry.json"
"""What `geometry_summary` found of a run's newest checkpoint, in the run folder."""


@dataclass
class ReportGeometry:
    """Multi-view depth consistency (MoE-GS Eq. 16) of runs: of a mixture, each of its experts, and single experts.

    Renders depth for the training and test cameras the first time and keeps what it found in the run folder. Scenes
    that ship tracks of surface points and object masks also get the error against the truth. Written as
    `moegs report geometry RUN [RUN ...]`.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, of mixtures, single experts or both."""
    frames: int = 5
    """How many instants, spread evenly over the clip; 0 = all."""
    pixel_stride: int = 2
    """Compare every so-many-th pixel in either direction."""
    neighbors: int = 0
    """Compare each view with so many views of the nearest cameras only; 0 = with all, as in the paper."""
    occlusion_tolerance: float = 0.05
    """Points farther behind a surface than this share of its depth are hidden by it and left out."""
    min_accumulation: float = 0.5
    """Pixels covered less than this are left out."""
    format: Literal["terminal", "markdown"] = "terminal"
    """How to print."""
    output: Path | None = None
    """Write the tables into this file instead."""

    def run(self) -> None:
        """Load, render, compare, print.

        Raises:
            FileNotFoundError, ValueError: not a run, its data are gone, or options out of range.
        """
        from moegs_ns.cli.console import make_console
        from moegs_ns.cli.report import show_tables
        from moegs_ns.reporting.depth_consistency import ConsistencyRules
        from moegs_ns.reporting.geometry_tables import geometry_tables

        if not self.runs:
            raise ValueError("expected run folders to report on, found none: moegs report geometry RUN [RUN ...]")
        if self.frames < 0:
            raise ValueError(f"expected --frames of 0 or more, found {self.frames}")
        rules = ConsistencyRules(
            self.occlusion_tolerance, self.min_accumulation, self.pixel_stride, self.neighbors
        )  # fmt: skip
        console = make_console()
        folders = [run if run.is_dir() else run.parent for run in self.runs]
        summaries = [(run.name, geometry_summary(run, rules, self.frames, console)) for run in folders]
        show_tables(geometry_tables(summaries), self.format, self.output, console)


def geometry_summary(run_folder: Path, rules: "ConsistencyRules", frames: int, console: "Console") -> dict[str, Any]:
    """Consistency and errors of a run's newest checkpoint as plain data; rendered only where the run folder does not
    hold them with equal settings.

    Returns:
        ``step``; ``asked``, the settings; ``protocol`` (scene, cameras, frames, resolution, rules); and ``rows``, of a
        single expert or of a mixture's experts and last its own: name to ``consistency``
        (:class:`moegs_ns.reporting.depth_consistency.ConsistencyScores`) and ``truth``, object to
        :class:`moegs_ns.reporting.surface_points.DepthError`, empty where it is not known.

    Raises:
        FileNotFoundError, ValueError: not a run, or its data are gone.
    """
    from moegs_ns.runs.checkpoint_files import CHECKPOINT_FOLDER, list_checkpoints
    from moegs_ns.runs.record import read_run_record
    from moegs_ns.training.load_run import load_run

    read_run_record(run_folder)
    kept = run_folder / GEOMETRY_NAME
    asked = {"frames": frames, "rules": dataclasses.asdict(rules)}
    steps = list_checkpoints(run_folder / CHECKPOINT_FOLDER)
    if kept.is_file() and steps:
        summary = json.loads(kept.read_text("utf8"))
        if summary.get("step") == max(steps) and summary.get("asked") == asked:
            return summary
    run = load_run(run_folder)
    summary = {"step": run.step, "asked": asked, **_measure(run, rules, frames, console)}
    write_json(kept, _without_nan(summary), indent=2)
    return _without_nan(summary)


@dataclass(frozen=True)
class _Place:
    """A camera at an instant: its name, and ``Cameras`` of size 1."""

    name: str
    camera: "Cameras"


def _measure(run: "LoadedRun", rules: "ConsistencyRules", frames: int, console: "Console") -> dict[str, Any]:
    from rich.progress import track

    from moegs_ns.reporting.depth_consistency import DepthConsistency
    from moegs_ns.reporting.motion import read_tracks
    from moegs_ns.reporting.object_psnr import find_masks
    from moegs_ns.reporting.surface_points import DepthErrors

    data = Path(run.record["scene"]["data"])
    masks, tracks = find_masks(data), read_tracks(data) or {}
    models = _models_of(run)
    scores = {name: DepthConsistency(rules) for name in models}
    errors = {name: DepthErrors(rules) for name in models}
    instants = dict(_instants(run, frames))
    for frame, places in track(
        instants.items(), "Depth of all cameras", console=console, transient=True, disable=not console.is_terminal
    ):
        points = {name: own[frame] for name, own in tracks.items() if frame < len(own)}
        for name, model in models.items():
            views = [_depth_view(model, place.camera) for place in places]
            scores[name].update(views)
            if masks is None or not points:
                continue
            for place, view in zip(places, views, strict=True):
                errors[name].update(view, points, _object_masks(masks, place.name, frame, view))
    places = [place for places in instants.values() for place in places]
    sizes = [[int(place.camera.width.item()), int(place.camera.height.item())] for place in places]
    return {
        "protocol": {
            "scene": run.record["scene"].get("scene", "unknown scene"),
            "cameras": sorted({place.name for place in places}),
            "frames": list(instants),
            "resolution": [list(size) for size in dict.fromkeys(map(tuple, sizes))],
            "rules": dataclasses.asdict(rules),
        },
        "rows": {
            name: {
                "consistency": dataclasses.asdict(scores[name].compute()),
                "truth": {item: dataclasses.asdict(error) for item, error in errors[name].compute().items()},
            }
            for name in models
        },
    }


def _models_of(run: "LoadedRun") -> dict[str, "Model"]:
    """Who renders depth, by row name: the run's model, and a mixture's experts, each with its own geometry."""
    from moegs_ns.reporting.rows import MIXTURE
    from moegs_ns.router.mixture import MixtureModel

    model = run.model
    if isinstance(model, MixtureModel):
        return {**dict(zip(model.expert_names, model.experts, strict=True)), MIXTURE: model}  # type: ignore[dict-item]
    return {run.record["expert"]["name"]: model}


def _instants(run: "LoadedRun", count: int) -> Iterator[tuple[int, list[_Place]]]:
    """Frame number (as in the videos) and all training and test cameras then, of instants spread over the clip. Only
    instants that several cameras see have anything to compare.

    Raises:
        ValueError: there are none, as in a capture by one camera.
    """
    import numpy as np

    datasets = [run.other_split("train"), run.dataset]
    found: dict[int, list[tuple[str, int, int]]] = {}  # by frame: camera, and where its image is
    for number, dataset in enumerate(datasets):
        frames, cameras = (dataset.cameras.metadata[key][:, 0].tolist() for key in ("frame_index", "camera_index"))
        for index, (frame, camera) in enumerate(zip(frames, cameras, strict=True)):
            found.setdefault(frame, []).append((dataset.metadata["camera_names"][camera], number, index))
    shared = sorted(frame for frame, images in found.items() if len(images) > 1)
    if not shared:
        raise ValueError(
            f"expected instants that several cameras see, found none of {len(found)}: a capture by one camera shows "
            "every instant once, and there is no second depth to compare with"
        )
    count = min(count, len(shared)) or len(shared)
    first = int(run.dataset.metadata["first_frame"])
    for position in np.unique(np.linspace(0, len(shared) - 1, count).round().astype(int)).tolist():
        images = sorted(found[shared[position]], key=lambda image: image[0])
        places = [_Place(name, datasets[number].cameras[index : index + 1]) for name, number, index in images]
        yield first + shared[position], places


def _depth_view(model: "Model", camera: "Cameras") -> "DepthView":
    from moegs_ns.reporting.depth_consistency import DepthView
    from moegs_ns.splats.camera import viewmat_from_camera_to_world

    outputs = model.get_outputs_for_camera(camera.to(model.device))
    missing = {"depth", "accumulation"} - set(outputs)
    if missing:
        raise ValueError(
            f"expected a model that renders depth and accumulation, found one without {' and '.join(sorted(missing))}: "
            f"{type(model).__name__}; its geometry cannot be reported"
        )
    return DepthView(
        depth=outputs["depth"][..., 0],
        accumulation=outputs["accumulation"][..., 0],
        viewmat=viewmat_from_camera_to_world(camera.camera_to_worlds[0]).to(model.device),
        intrinsics=camera.get_intrinsics_matrices()[0].to(model.device),
    )


def _object_masks(masks: "ObjectMasks", camera: str, frame: int, view: "DepthView") -> Mapping[str, "np.ndarray"]:
    """Object name to where the camera sees it."""
    if frame not in masks.frames(camera):
        return {}
    height, width = view.depth.shape
    numbers = masks.read(camera, frame, width, height)
    return {name: numbers == number for number, name in masks.names.items()}


def _without_nan(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
