"""The section of docs/performance.md on benchmarks/expert_passes.py's measurements."""

from typing import Any

from machine import machine_sentence
from pass_charts import AXES

_WAYS = ("2K passes", "K passes", "single pass")


def passes_section(report: dict[str, Any]) -> str:
    """Markdown of the stored measurements."""
    threads = f", {report['threads']} threads" if report["device"] == "cpu" else ""
    lines = [
        "## Several experts in one pass",
        "",
        f"- command: `{report['measurement']['command']}`, seed {report['measurement']['seed']}",
        f"- machine: {machine_sentence(report['measurement'])}",
        f"- device: {report['device']}{threads}; backend {report['backend']}; medians of {report['rounds']} rounds",
        "",
        "Per expert colours (3 channels) and router weights (3 channels): apart and expert by expert (*2K passes*),",
        "together and expert by expert (*K passes*), all experts at once, each with its own transmittance (*single",
        "pass*).",
        "",
    ]
    for axis, label in AXES.items():
        lines += _table(axis, label, [row for row in report["rows"] if row["axis"] == axis])
    twins = [row for row in report["rows"] if row["way"] == "torch twin"]
    for twin in twins:
        single = next(row for row in report["rows"] if _same(row, twin) and row["way"] == "single pass")
        ratio = twin["median_ms"] / single["median_ms"]
        lines.append(
            f"- The torch twin, {twin['gaussians']:,} Gaussians, {twin['direction']}: {twin['median_ms']:,.0f} ms, "
            f"{ratio:.0f} times the single pass."
        )
    memory = report["memory"]
    peaks = {(one["way"], one["direction"]): one["mb"] for one in memory["peaks"]}
    said = "; ".join(
        f"{way} {peaks[way, 'forward']:,.0f} MB, with gradients {peaks[way, 'forward + backward']:,.0f} MB"
        for way in _WAYS
    )
    lines += [
        f"- Peak memory beyond the scene ({memory['gaussians']:,} Gaussians of {memory['experts']} experts, "
        f"{memory['width']}x{memory['height']}): {said}.",
        "",
    ]
    return "\n".join(lines)


def _table(axis: str, label: str, rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    places = list(dict.fromkeys((row["gaussians"], row["width"], row["height"], row["experts"]) for row in rows))
    lines = [
        f"| Gaussians | image | K | {' | '.join(f'{way}, ms' for way in _WAYS)} | 2K / single | K / single |",
        f"|{'---|' * (5 + len(_WAYS))}",
    ]
    for place in places:
        own = [row for row in rows if (row["gaussians"], row["width"], row["height"], row["experts"]) == place]
        cells, ratios = [], []
        for way in _WAYS:
            pair = [_of(own, way, direction) for direction in ("forward", "forward + backward")]
            cells.append(f"{pair[0]:.1f} / {pair[1]:.1f}")
        for way in _WAYS[:2]:
            gains = [_of(own, way, to) / _of(own, "single pass", to) for to in ("forward", "forward + backward")]
            ratios.append(f"{gains[0]:.2f} / {gains[1]:.2f}")
        count, width, height, experts = place
        lines.append(f"| {count:,} | {width}x{height} | {experts} | {' | '.join([*cells, *ratios])} |")
    picture = f"![time over {label}](../benchmarks/results/expert_passes_{axis}.png)"
    return [f"Forward / forward + backward, by {label}:", "", *lines, "", picture, ""]


def _of(rows: list[dict[str, Any]], way: str, direction: str) -> float:
    return next(float(row["median_ms"]) for row in rows if row["way"] == way and row["direction"] == direction)


def _same(row: dict[str, Any], other: dict[str, Any]) -> bool:
    keys = ("axis", "gaussians", "width", "height", "experts", "direction")
    return all(row[key] == other[key] for key in keys)
