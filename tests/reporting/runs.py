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
            "psnr_dynamic": "as PSNR, where it changes",
            "flicker": "mean change",
        },
        "dynamic_regions": {"cam00": {"share": 0.25, "truth_flicker": 0.5, "frame_step": 1}},
        "checkpoint_rule": "the newest",
        "source": {"commit": "0123456789" * 4, "modified": False},
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


def forget_video_metrics(run: Path) -> None:
    """Make the run's scores what earlier versions wrote."""
    file = run / "eval_test.json"
    scores = json.loads(file.read_text())["results"]
    late = ("psnr_dynamic", "flicker", "model_mb")
    kept = {key: value for key, value in scores.items() if key.rpartition("/")[2] not in late}
    for key in ("dynamic_regions", "checkpoint_rule", "source"):
        del kept["protocol"][key]
    for metric in late[:2]:
        del kept["protocol"]["metrics"][metric]
    kept["per_image"] = [
        {key: value for key, value in row.items() if key.rpartition("/")[2] not in late} for row in scores["per_image"]
    ]
    file.write_text(json.dumps({"results": kept}))


def _video(prefix: str, psnr: float) -> dict[str, float]:
    """A dynamic PSNR 3 dB below the other, and a flicker of half a level."""
    return {f"{prefix}psnr_dynamic": psnr - 3.0, f"{prefix}flicker": 0.5}


def _images(scores: dict[str, float]) -> list[dict[str, Any]]:
    """Two frames, whose scores differ by 1 either way; the first has no flicker."""
    rows = []
    for frame, change in ((0, -1.0), (1, 1.0)):
        changed = {key: value + change for key, value in scores.items() if key.rpartition("/")[2] != "flicker"}
        flicker = {key: value for key, value in scores.items() if frame and key.rpartition("/")[2] == "flicker"}
        rows.append({"camera": "cam00", "frame": frame, "time": float(frame), **changed, **flicker, "render_ms": 20.0})
    return rows


def leave_expert(outputs: Path, name: str, psnr: float, seed: int = 1, label: str = "quick", **changes: Any) -> Path:
    """A run of the expert ``name``: 1000 Gaussians, 60 000 parameters, 0.3 MB, 100 training seconds, 50 FPS."""
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
        {
            "psnr": psnr,
            "ssim": 0.8,
            "lpips_alex": 0.2,
            **_video("", psnr),
            "fps": 50.0,
            "model_mb": 0.3,
            "protocol": protocol(99, **changes),
            "per_image": _images({"psnr": psnr, **_video("", psnr)}),
        },
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
    """The experts' runs (name to PSNR) and a mixture of them: 8 router seconds, 20 FPS, 130 000 parameters, 0.65 MB."""
    folders = [leave_expert(outputs, name, psnr, seed, **changes) for name, psnr in experts.items()]
    scores: dict[str, Any] = {"psnr": mixture, "ssim": 0.9, "lpips_alex": 0.1, **_video("", mixture)}
    rows = {f"expert_{name}": psnr for name, psnr in experts.items()}
    rows |= {"mean_of_experts": 29.5, "smoothed_oracle": smoothed, "pixel_oracle": pixel}
    for row, psnr in rows.items():
        scores |= {f"{row}/psnr": psnr, f"{row}/ssim": 0.85, f"{row}/lpips_alex": 0.15, **_video(f"{row}/", psnr)}
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
        {
            **scores,
            "fps": 20.0,
            "model_mb": 0.65,
            "protocol": protocol(49, **changes),
            "per_image": _images(scores),
        },
    )
