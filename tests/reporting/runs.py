"""Run folders with the files a report reads, written by hand: a mixture of two experts on one scene."""

import json
from pathlib import Path
from typing import Any

from moegs_ns.runs.record import SCHEMA_VERSION

NO_LPIPS = "unavailable: backbone weights could not be had (no network)"


def protocol(step: int, **changes: Any) -> dict[str, Any]:
    return {
        "split": "test",
        "images": 24,
        "cameras": ["cam00"],
        "frames": {"first": 0, "last": 23, "distinct": 24},
        "resolution": [320, 240],
        "step": step,
        "metrics": {
            "psnr": "data range 1",
            "ssim": "Gaussian window",
            "lpips_alex": "alex here",
            "lpips_vgg": NO_LPIPS,
        },
        "device": "cpu, 2 threads",
        **changes,
    }


def leave_files(folder: Path, record: dict[str, Any], scores: dict[str, Any] | None) -> Path:
    """Write ``run.json``, ``eval_test.json`` and a ``config.yml`` that must not be read."""
    (folder / "nerfstudio_models").mkdir(parents=True)
    (folder / "config.yml").write_text("!!python/object/apply:os.abort []\n")
    common = {"schema_version": SCHEMA_VERSION, "versions": {}, "device": {"type": "cpu", "name": "a processor"}}
    (folder / "run.json").write_text(json.dumps({**common, **record}))
    if scores is not None:
        (folder / "nerfstudio_models" / f"step-{scores['protocol']['step']:09d}.ckpt").touch()
        (folder / "eval_test.json").write_text(json.dumps({"results": scores}))
    return folder


def leave_expert(outputs: Path, name: str, psnr: float, seed: int = 1, label: str = "quick", **changes: Any) -> Path:
    """A run of the expert ``name`` with 1000 Gaussians, 60 000 parameters, 100 training seconds, 50 FPS."""
    return leave_files(
        outputs / f"moegs-{name}" / f"{label}-seed{seed}",
        {
            "method": f"moegs-{name}",
            "expert": {"name": name, "config": {}},
            "scene": {"scene": "mixed", "data": str(outputs / "data")},
            "model": {"num_gaussians": 1000},
            "num_parameters": 60_000,
            "seed": seed,
            "progress": {"training_seconds": 100.0},
        },
        {"psnr": psnr, "ssim": 0.8, "lpips_alex": 0.2, "fps": 50.0, "protocol": protocol(99, **changes)},
    )


def leave_mixture(
    outputs: Path,
    experts: dict[str, float],
    mixture: float,
    seed: int = 1,
    smoothed: float = 31.0,
    pixel: float = 32.0,
    **changes: Any,
) -> Path:
    """The experts' runs (name to PSNR) and a mixture of them: 8 router seconds, 20 FPS, 130 000 parameters."""
    folders = [leave_expert(outputs, name, psnr, seed, **changes) for name, psnr in experts.items()]
    scores: dict[str, Any] = {"psnr": mixture, "ssim": 0.9, "lpips_alex": 0.1, "fps": 20.0}
    rows = {f"expert_{name}": psnr for name, psnr in experts.items()}
    rows |= {"mean_of_experts": 29.5, "smoothed_oracle": smoothed, "pixel_oracle": pixel}
    for row, psnr in rows.items():
        scores |= {f"{row}/psnr": psnr, f"{row}/ssim": 0.85, f"{row}/lpips_alex": 0.15}
    return leave_files(
        outputs / "moegs-router" / f"quick-seed{seed}",
        {
            "method": "moegs-router",
            "expert": {"name": "router", "config": {"experts": [str(folder) for folder in folders]}},
            "scene": {"scene": "mixed", "data": str(outputs / "data")},
            "model": {
                "experts": list(experts),
                "num_gaussians": 1000 * len(experts),
                "num_gaussians_per_expert": dict.fromkeys(experts, 1000),
            },
            "num_parameters": 130_000,
            "seed": seed,
            "progress": {"training_seconds": 8.0},
        },
        {**scores, "protocol": protocol(49, **changes)},
    )
