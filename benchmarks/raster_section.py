"""The section of docs/performance.md on benchmarks/raster_speed.py's measurements."""

from textwrap import wrap
from typing import Any

from machine import MATMUL_SIZE, machine_sentence

#: Forward + backward in ms of the prototypes of the kernels' design study, on two cores of another machine with AVX-512
#: and AVX2 code, by (Gaussians, image width, channels, threads).
STUDY_AVX512 = {
    (10_000, 320, 3, 1): 18.0,
    (10_000, 320, 3, 2): 9.8,
    (10_000, 320, 8, 1): 21.7,
    (10_000, 320, 8, 2): 11.3,
    (50_000, 320, 3, 1): 34.8,
    (50_000, 320, 3, 2): 18.8,
    (50_000, 320, 8, 1): 37.1,
    (50_000, 320, 8, 2): 20.5,
    (100_000, 640, 3, 1): 106.0,
    (100_000, 640, 3, 2): 56.8,
    (100_000, 640, 8, 1): 118.0,
    (100_000, 640, 8, 2): 62.6,
}
STUDY_AVX2 = {
    (10_000, 320, 3, 1): 27.1,
    (10_000, 320, 3, 2): 14.9,
    (10_000, 320, 8, 1): 30.0,
    (10_000, 320, 8, 2): 16.6,
    (50_000, 320, 3, 1): 48.1,
    (50_000, 320, 3, 2): 26.2,
    (50_000, 320, 8, 1): 53.7,
    (50_000, 320, 8, 2): 30.4,
    (100_000, 640, 3, 1): 152.0,
    (100_000, 640, 3, 2): 83.3,
    (100_000, 640, 8, 1): 169.0,
    (100_000, 640, 8, 2): 88.1,
}
STUDY_TRAINING = 34.6  # ms, AVX-512, two threads: 20k Gaussians, SH degree 3, L1 + SSIM, fused Adam
#: What the study's machine could do at most: float32 operations a second of one core.
STUDY_PEAK = 238e9
#: Its estimates of how fast forward + backward of the judged scene can be on its machine, one thread.
STUDY_LIMITS = {"the study's scheme of 4x4-pixel blocks": 14.0, "every lane of every vector at work": 9.0}
#: What is judged: forward + backward of this scene.
JUDGED = {"gaussians": 50_000, "width": 320, "channels": 3}
BOUND = 1.2
LEAST_GAIN_OF_TWO_THREADS = 1.7

_PAGE_WIDTH = 118
_BOTH = "forward + backward"
_FROZEN = "forward + backward, frozen geometry"


def raster_section(report: dict[str, Any]) -> str:
    """Markdown of the stored measurements."""
    rows, kernels = report["rows"], report["kernels"]
    lines = [
        "## The CPU rasterizer",
        "",
        f"- command: `{report['measurement']['command']}`, seed {report['measurement']['seed']}",
        f"- machine: {machine_sentence(report['measurement'])}; {report['scheduling']} priority at a load average of "
        f"{report['load_average']}",
        f"- kernels: {kernels['compiler']}, `{kernels['flags']}`; {kernels['vector_width']} floats per vector, "
        f"{kernels['parallel']}",
        f"- yardstick: {_yardsticks(rows)}",
        "",
        f"Milliseconds, minimum (median) of {rows[0]['repeats']} interleaved repeats, through `rasterize()`.",
        "*Over matrix product*: forward + backward over the yardstick on as many threads. The design study of the",
        "kernels measured prototypes on two cores of another machine.",
        "",
        "| Gaussians | image | channels | threads | forward | forward + backward | over matrix product "
        "| frozen geometry | design study, AVX-512 / AVX2 |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(rows, row) for row in rows if row["what"] == _BOTH),
        "",
        *_training_steps(rows),
        *_twins(rows),
        *(
            f"- Scene of {one['gaussians']:,} Gaussians at {one['width']}x{one['height']}: {one['visible']:,} visible, "
            f"{one['intersections']:,} (Gaussian, tile) pairs, mean alpha {one['mean_alpha']}."
            for one in report["scenes"]
        ),
        "",
        *_judged(rows),
        "",
    ]
    return "\n".join(lines)


def _judged(rows: list[dict[str, Any]]) -> list[str]:
    """What is asked of forward + backward of `JUDGED`; nothing where it was not measured on one thread."""
    own = {row["threads"]: row["min_ms"] for row in rows if row["what"] == _BOTH and _is(row, JUDGED)}
    if 1 not in own:
        return []
    study = {count: STUDY_AVX512[50_000, 320, 3, count] for count in own if (50_000, 320, 3, count) in STUDY_AVX512}
    product, peak = matrix_products(rows), 1e3 * 2 * MATMUL_SIZE**3 / STUDY_PEAK
    bounds = [
        (f"{_threads(count)}, ms", f"{own[count]:.1f}", f"{BOUND * ms:.1f}", own[count] <= BOUND * ms)
        for count, ms in study.items()
    ]
    for count, ms in study.items():
        ratio, most = own[count] / product[count], BOUND * ms / (peak / count)
        bounds.append((f"{_threads(count)}, over matrix product", f"{ratio:.2f}", f"{most:.2f}", ratio <= most))
    lines = [
        "### Judged",
        "",
        *wrap(
            f"Forward + backward of 50,000 Gaussians at 320x240 with 3 channels, minima, against {BOUND} times the "
            "design study's AVX-512 row: in milliseconds, whatever the machine, and through the yardstick. The study "
            f"measured no matrix product, only what one core can do at most, {STUDY_PEAK / 1e9:.0f} GFLOP/s. Taken for "
            f"its matrix product, {peak:.2f} ms on one thread and half of it on two, this allows the most: a real one "
            "is slower.",
            _PAGE_WIDTH,
        ),
        "",
        "| | measured | at most | |",
        "|---|---|---|---|",
        *(f"| {what} | {measured} | {most} | {_verdict(fits)} |" for what, measured, most, fits in bounds),
        "",
    ]
    if 2 in own:
        gain = own[1] / own[2]
        lines += [
            f"Two threads are {gain:.2f} times as fast as one, at least {LEAST_GAIN_OF_TWO_THREADS} is asked for: "
            f"{'met' if gain >= LEAST_GAIN_OF_TWO_THREADS else '**not met**'}.",
            "",
        ]
    return [*lines, *_limits(own[1], product[1], peak)]


def _limits(ms: float, product: float, peak: float) -> list[str]:
    lines = [
        *wrap(
            "How much faster it could be: the study estimated limits for one thread of its machine. Measured over "
            "limit, in milliseconds, and with each divided by its machine's yardstick, which is the lower quotient "
            f"where a matrix product reaches less than the study's {STUDY_PEAK / 1e9:.0f} GFLOP/s; here it reaches "
            f"{_gigaflops(product):.0f}. Below 1, the kernels are faster here than the study thought possible there.",
            _PAGE_WIDTH,
        ),
        "",
        "| limit | ms | measured / limit | through the yardstick |",
        "|---|---|---|---|",
    ]
    for what, limit in STUDY_LIMITS.items():
        lines.append(f"| {what} | {limit:.0f} | {ms / limit:.2f} | {ms / product / (limit / peak):.2f} |")
    return lines


def matrix_products(rows: list[dict[str, Any]]) -> dict[int, float]:
    """The yardstick's milliseconds by threads."""
    return {row["threads"]: row["min_ms"] for row in rows if "matrix" in row["what"]}


def _yardsticks(rows: list[dict[str, Any]]) -> str:
    copies = {row["threads"]: row["min_ms"] for row in rows if "copy" in row["what"]}
    return "; ".join(
        f"{_threads(count)}: 1024³ matrix product {ms:.1f} ms ({_gigaflops(ms):.0f} GFLOP/s), copy of 64 MiB "
        f"{copies[count]:.1f} ms"
        for count, ms in matrix_products(rows).items()
    )


def _row(rows: list[dict[str, Any]], row: dict[str, Any]) -> str:
    key = (row["gaussians"], row["width"], row["channels"], row["threads"])
    study = f"{STUDY_AVX512[key]} / {STUDY_AVX2[key]}" if key in STUDY_AVX2 else ""
    return (
        f"| {row['gaussians']:,} | {row['width']}x{row['height']} | {row['channels']} | {row['threads']} "
        f"| {_cell(rows, 'forward', row)} | {_cell(rows, _BOTH, row)} "
        f"| {row['min_ms'] / matrix_products(rows)[row['threads']]:.2f} | {_cell(rows, _FROZEN, row)} | {study} |"
    )


def _cell(rows: list[dict[str, Any]], what: str, like: dict[str, Any]) -> str:
    keys = ("gaussians", "width", "channels", "threads")
    for row in rows:
        if row["what"] == what and _is(row, {key: like[key] for key in keys}):
            return f"{row['min_ms']:.1f} ({row['median_ms']:.1f})"
    return ""


def _training_steps(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        if row["what"] == "training step":
            study = f"; the design study: {STUDY_TRAINING}" if row["threads"] == 2 else ""
            lines.append(
                f"- A step of 3D Gaussian Splatting, {row['gaussians']:,} Gaussians, 320x240, SH degree 3, L1 + SSIM, "
                f"Adam, {_threads(row['threads'])}: {row['min_ms']:.1f} ({row['median_ms']:.1f}){study}."
            )
    return lines


def _twins(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        if row["what"].startswith("twin"):
            keys = ("gaussians", "width", "channels", "threads")
            alike = {key: row[key] for key in keys}
            native = next(other["min_ms"] for other in rows if other["what"] == _BOTH and _is(other, alike))
            lines.append(
                f"- The torch twin, {row['gaussians']:,} Gaussians, {row['channels']} channels, "
                f"{_threads(row['threads'])}, forward + backward: {row['min_ms']:,.0f}, "
                f"{row['min_ms'] / native:.0f} times the native kernels."
            )
    return lines


def _is(row: dict[str, Any], facts: dict[str, Any]) -> bool:
    return all(row.get(key) == value for key, value in facts.items())


def _threads(count: int) -> str:
    return f"{count} thread{'s'[: count != 1]}"


def _gigaflops(ms: float) -> float:
    return 2 * MATMUL_SIZE**3 / ms / 1e6


def _verdict(fits: bool) -> str:
    return "within" if fits else "**not within**"
