"""PSNR per object of a run: rendered once for its newest checkpoint, then kept in the run folder."""

import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from moegs_ns.reporting.ensembles import reference_pictures
from moegs_ns.reporting.evaluation_files import RunResult
from moegs_ns.reporting.object_psnr import OBJECTS_NAME, ObjectErrors, ObjectMasks, find_masks
from moegs_ns.reporting.rows import MIXTURE, REFERENCES
from moegs_ns.training.load_run import LoadedRun, load_run


def row_labels(result: RunResult) -> dict[str, str]:
    """Row name to label, in the order of the main table."""
    if not result.expert_names:
        return {"rgb": result.expert}
    return {**{f"expert_{name}": name for name in result.expert_names}, **REFERENCES, "rgb": MIXTURE}


def object_summary(result: RunResult, console: Console) -> dict[str, Any] | None:
    """PSNR per object of the newest checkpoint on the test cameras; None where the scene has no masks."""
    masks = find_masks(Path(result.record["scene"]["data"]))
    if masks is None:
        return None
    kept = result.folder / OBJECTS_NAME
    step = result.protocol["step"]
    if kept.is_file():
        summary = json.loads(kept.read_text("utf8"))
        if summary.get("step") == step:
            return summary
    summary = {"step": step, **_measure(load_run(result.folder), masks, console)}
    kept.write_text(json.dumps(summary, indent=2) + "\n", "utf8")
    return summary


@torch.no_grad()
def _measure(run: LoadedRun, masks: ObjectMasks, console: Console) -> dict[str, Any]:
    errors = ObjectErrors(masks.names)
    views = track(
        run.views(), "PSNR per object", total=len(run.dataset), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    for view in views:
        outputs = run.model.get_outputs_for_camera(view.camera)
        pictures = {name: image for name, image in outputs.items() if name == "rgb" or name.startswith("expert_")}
        experts = [image for name, image in pictures.items() if name != "rgb"]
        if experts:
            pictures |= reference_pictures(torch.stack(experts), view.truth)
        height, width = view.truth.shape[:2]
        errors.add(
            {name: image.cpu().numpy() for name, image in pictures.items()},
            view.truth.cpu().numpy(),
            masks.read(view.camera_name, view.frame, width, height),
        )
    return errors.summary()
