"""What a run scores on one of its splits, and what rendering it costs: a few numbers, not a published evaluation."""

from pathlib import Path
from typing import Any

import torch

from moegs_ns.reporting.metrics import MetricsProtocol
from moegs_ns.training.load_run import LoadedRun, load_run
from moegs_ns.training.render_meter import RenderMeter

_WARMUP_RENDERS = 2
_BYTES_PER_FLOAT = 4


def render_scores(run: Path, split: str = "test", device: str | None = None) -> dict[str, Any]:
    """Render all images of a split at a run's newest checkpoint, as ``ns-eval`` does.

    Args:
        run: run folder.
        split: ``test`` or ``val``.
        device: torch device; CUDA where there is one by default.

    Returns:
        ``split`` and what `scores_of_model` does.

    Raises:
        FileNotFoundError, ValueError: as `load_run`.
    """
    return {"split": split, **scores_of_model(load_run(run, split, device))}


def scores_of_model(loaded: LoadedRun) -> dict[str, Any]:
    """Render all images of the split a run was loaded with, by its model as it now is.

    Returns:
        ``images``; ``psnr`` and ``ssim``, means over images; ``fps`` of the median render; ``gaussians``;
        ``megabytes`` of all parameters as 32-bit floats (10^6 bytes), the experts' and the router's.
    """
    metrics, meter = MetricsProtocol(lpips=()), RenderMeter(loaded.model, torch.device(loaded.model.device))
    rows, milliseconds = [], []
    for index, view in enumerate(loaded.views()):
        if index == 0:
            meter.warm_up(view.camera, _WARMUP_RENDERS)
        outputs, took = meter.render(view.camera)
        rows.append(metrics.measure(outputs["rgb"], view.truth))
        milliseconds.append(took)
    described: dict[str, Any] = loaded.model.describe()  # type: ignore[operator]
    return {
        "images": len(rows),
        **{name: sum(row[name] for row in rows) / len(rows) for name in rows[0]},
        "fps": 1e3 / float(torch.tensor(milliseconds).median()),
        "gaussians": described["num_gaussians"],
        "megabytes": sum(one.numel() for one in loaded.model.parameters()) * _BYTES_PER_FLOAT / 1e6,
    }
