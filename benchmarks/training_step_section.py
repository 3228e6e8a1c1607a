"""The section of docs/performance.md on benchmarks/training_step.py's measurements."""

from typing import Any

from machine import machine_sentence

STAGES = ("splats_at", "spherical harmonics", "projection and compositing", "loss", "backward", "optimizer")
#: Milliseconds the design study of the kernels measured on two cores of another machine: minima, with AVX-512 code for
#: the training step and AVX2 code for the rasterizer. The project's bound is 1.5 times these.
STUDY_MS = {"training step": {"2": 34.6}, "rasterize": {"1": 48.1, "2": 26.2}}
BOUND = 1.5


def training_step_section(result: dict[str, Any]) -> str:
    """Markdown of the stored measurements."""
    workload = result["workload"]
    columns = {f"{count} thread{'s'[: count != '1']}": row for count, row in result["threads"].items()}
    if "torch_twin" in result:
        columns[f"torch twin, {result['torch_twin']['threads']} threads"] = result["torch_twin"]

    def line(label: str, *path: str) -> str:
        cells = []
        for row in columns.values():
            for key in path:
                row = row.get(key, {})
            cells.append(f"{row['median_ms']:.1f} ({row['min_ms']:.1f})" if row else "")
        return f"| {label} | {' | '.join(cells)} |"

    size = f"{workload['width']}x{workload['height']}"
    step = f"training step, {workload['gaussians']:,} Gaussians at {size}"
    raster = f"rasterize, forward and backward, {workload['raster_gaussians']:,} Gaussians at {size}"
    kernels = result["kernels"]
    lines = [
        "## Kernels, and a step of STG",
        "",
        f"- command: `{result['measurement']['command']}`, seed {result['measurement']['seed']}",
        f"- machine: {machine_sentence(result['measurement'])}",
        f"- kernels: {kernels.get('compiler', 'unknown compiler')}, `{kernels.get('flags', '')}`",
        f"- OMP_WAIT_POLICY: {result['openmp_wait_policy']}",
        "",
        f"Milliseconds, median (minimum) of {workload['repetitions']} repetitions. A training step is STG with",
        "spherical harmonics of degree 3 on one camera: the Gaussians of the instant, their colours, projection and",
        "compositing, 0.8 L1 + 0.2 (1 - SSIM), backward, Adam, density statistics. Stages are timed one by one, so",
        "their sum is not exactly the whole.",
        "",
        f"|  | {' | '.join(columns)} |",
        f"|{'---|' * (1 + len(columns))}",
        line("yardstick: 1024³ float32 matrix product", "yardstick", "matmul"),
        line("yardstick: copy of 64 MB", "yardstick", "copy"),
        line(f"**{step}**", "training_step"),
        *(line(f"· {stage}", "stages", stage) for stage in STAGES),
        line(f"**{raster}**", "rasterize"),
        "",
        "Against the project's bound, 1.5 times what the kernels' design study measured on two cores of another",
        "machine (training step: AVX-512 code; rasterizer: AVX2 code). Minima, as there:",
        "",
        "| | study ms | bound ms | measured ms | |",
        "|---|---|---|---|---|",
        *_against_the_bound(result["threads"]),
        "",
    ]
    return "\n".join(lines)


def _against_the_bound(threads: dict[str, Any]) -> list[str]:
    rows = []
    for what, studies in STUDY_MS.items():
        for count, study in studies.items():
            if count in threads:
                ms = threads[count][what.replace(" ", "_")]["min_ms"]
                verdict = "within" if ms <= BOUND * study else "**above**"
                cells = (f"{what}, {count} thread{'s'[: count != '1']}", f"{study:.1f}", f"{BOUND * study:.1f}")
                rows.append(f"| {' | '.join(cells)} | {ms:.1f} | {verdict} |")
    return rows
