"""What a mixture scores on some images, and beside it its experts alone and the reference pictures made of them."""

from collections.abc import Sequence
from typing import Any

import torch

from moegs_ns.reporting.ensembles import reference_pictures
from moegs_ns.reporting.metrics import MetricsProtocol
from moegs_ns.training.load_run import LoadedRun, View


def score(run: LoadedRun, temperatures: Sequence[float], frame_step: int, split: str) -> list[dict[str, Any]]:
    """Score a mixture on the images of its split, once per evaluation temperature.

    Args:
        run: of a mixture.
        temperatures: of the softmax over experts.
        frame_step: every how many frames of a camera are scored.
        split: name of the run's split, for the protocol.

    Returns:
        Per temperature what ``ns-eval`` would write of these images, as means: ``psnr`` and ``ssim`` of the mixture, of
        ``expert_<name>/``, ``mean_of_experts/``, ``smoothed_oracle/`` and ``pixel_oracle/``; ``gate_<name>``, the mean
        gate, and ``largest_gate``, the mean of each pixel's largest; the ``protocol``; ``per_image`` rows.
    """
    metrics = MetricsProtocol(lpips=())
    first_frame = int(run.dataset.metadata["first_frame"])
    rows: list[list[dict[str, Any]]] = [[] for _ in temperatures]
    size: tuple[int, int] = (0, 0)
    for view in run.views():
        if (view.frame - first_frame) % frame_step:
            continue
        rivals: dict[str, float] = {}
        for temperature, own in zip(temperatures, rows, strict=True):
            outputs = _render(run, view, temperature)
            rivals = rivals or _rivals(outputs, view, metrics)  # the same at every temperature
            mixed = metrics.measure(outputs["rgb"], view.truth)
            label = {"camera": view.camera_name, "frame": view.frame}
            own.append({**label, **mixed, **rivals, **_gates(outputs)})
        size = (view.truth.shape[1], view.truth.shape[0])
    protocol = {
        "split": split,
        "cameras": list(dict.fromkeys(row["camera"] for row in rows[0])),
        "images": len(rows[0]),
        "frame_step": frame_step,
        "resolution": list(size),
        "step": run.step,
        "metrics": metrics.describe(),
        "averaging": "mean over images",
    }
    return [{**_means(own), "protocol": protocol, "per_image": own} for own in rows]


@torch.no_grad()
def _render(run: LoadedRun, view: View, temperature: float) -> dict[str, torch.Tensor]:
    run.model.config.eval_temperature = temperature  # type: ignore[attr-defined]
    return run.model.get_outputs_for_camera(view.camera)


def _rivals(outputs: dict[str, torch.Tensor], view: View, metrics: MetricsProtocol) -> dict[str, float]:
    experts = {name: image for name, image in outputs.items() if name.startswith("expert_")}
    pictures = {**experts, **reference_pictures(torch.stack([*experts.values()]), view.truth)}
    return {
        f"{row}/{name}": value
        for row, picture in pictures.items()
        for name, value in metrics.measure(picture, view.truth).items()
    }


def _gates(outputs: dict[str, torch.Tensor]) -> dict[str, float]:
    gates = {name: gate for name, gate in outputs.items() if name.startswith("gate_")}
    largest = torch.stack([*gates.values()]).amax(dim=0)
    return {**{name: float(gate.mean()) for name, gate in gates.items()}, "largest_gate": float(largest.mean())}


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    names = [name for name in rows[0] if name not in ("camera", "frame")]
    return {name: sum(row[name] for row in rows) / len(rows) for name in names}
