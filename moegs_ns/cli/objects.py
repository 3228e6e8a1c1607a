"""Scores per object of a run, and whether what comes and goes is there in time: rendered once for its newest
checkpoint, then kept in the run folder."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from moegs_ns.files import write_json
from moegs_ns.reporting.appearance import AppearanceMeter
from moegs_ns.reporting.ensembles import reference_pictures
from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.object_psnr import OBJECTS_NAME, ObjectErrors, ObjectMasks, find_masks
from moegs_ns.reporting.rows import MIXTURE, REFERENCES
from moegs_ns.training.load_run import LoadedRun, View, load_run

#: Name of the row of each test camera's own average over time: what no model without motion can beat.
TEMPORAL_MEAN = "temporal_mean"


def row_labels(result: RunResult) -> dict[str, str]:
    """Row name to label, in the order of the main table."""
    if not result.expert_names:
        return {TEMPORAL_MEAN: "temporal mean", "rgb": result.expert}
    return {
        TEMPORAL_MEAN: "temporal mean",
        **{f"expert_{name}": name for name in result.expert_names},
        **REFERENCES,
        "rgb": MIXTURE,
    }


def object_summary(result: RunResult, console: Console) -> dict[str, Any] | None:
    """PSNR per object of the newest checkpoint on the test cameras, and as ``appearing`` what
    :mod:`moegs_ns.reporting.appearance` finds; None where the scene has no masks."""
    masks = find_masks(Path(result.record["scene"]["data"]))
    if masks is None:
        return None
    kept = result.folder / OBJECTS_NAME
    step = result.protocol["step"]
    if kept.is_file():
        summary = json.loads(kept.read_text("utf8"))
        if summary.get("step") == step and "appearing" in summary:
            return summary
    summary = {"step": step, **_measure(load_run(result.folder), masks, console)}
    write_json(kept, summary, indent=2)
    return summary


@torch.no_grad()
def _measure(run: LoadedRun, masks: ObjectMasks, console: Console) -> dict[str, Any]:
    errors = ObjectErrors(masks.names)
    appearance = AppearanceMeter(masks, ((v.camera_name, v.frame, *_size(v)) for v in run.views()))
    totals: dict[str, np.ndarray] = {}
    images: Counter[str] = Counter()
    for view in run.views():
        truth = view.truth.cpu().numpy().astype(np.float64)
        appearance.learn(view.camera_name, view.frame, truth)
        totals[view.camera_name] = totals.get(view.camera_name, 0.0) + truth
        images[view.camera_name] += 1
    views = track(
        run.views(), "Scores per object", total=len(run.dataset), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    for view in views:
        outputs = run.model.get_outputs_for_camera(view.camera)
        pictures = {name: image for name, image in outputs.items() if name == "rgb" or name.startswith("expert_")}
        experts = [image for name, image in pictures.items() if name != "rgb"]
        if experts:
            pictures |= reference_pictures(torch.stack(experts), view.truth)
        shown = {TEMPORAL_MEAN: totals[view.camera_name] / images[view.camera_name]}
        shown |= {name: image.cpu().numpy() for name, image in pictures.items()}
        errors.add(shown, view.truth.cpu().numpy(), masks.read(view.camera_name, view.frame, *_size(view)))
        appearance.add(view.camera_name, view.frame, shown)
    return {**errors.summary(), "appearing": appearance.summary()}


def _size(view: View) -> tuple[int, int]:
    """Width and height."""
    return view.truth.shape[1], view.truth.shape[0]
