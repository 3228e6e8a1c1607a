"""The section of docs/performance.md on benchmarks/expert_passes.py's measurements."""

from typing import Any

from machine import machine_sentence
from pass_charts import AXES, FUSED, ORDINARY

_WAYS = ("2K passes", "K passes", "single pass")
_DIRECTIONS = ("forward", "forward + backward")


def passes_section(report: dict[str, Any]) -> str:
    """Markdown of the stored measurements."""
    threads = f", {report['threads']} threads" if report["device"] == "cpu" else ""
    lines = [
        "## Several experts in one pass",
        "",
        f"- command: `{report['measurement']['command']}`, seed {report['measurement']['seed']}",
        f"- machine: {machine_sentence(report['measurement'])}",
        f"- device: {report['device']}{threads}; backend {report['backend']}; medians of {report['rounds']} rounds",
        "- "
        + ", ".join(f"{name} {value}" for name, value in report["environment"].items())
        + f"; load average {report['load_average']} at the start",
        "",
        "Per expert colours (3 channels) and router weights (3 channels): apart and expert by expert (*2K passes*),",
        "together and expert by expert (*K passes*), all experts at once, each with its own transmittance (*single",
        "pass*). All begin with tensors of each expert and end with one of all, which the router's softmax takes: the",
        "single pass reads each expert's where they lie, the others lay images one upon the other.",
        "",
    ]
    for axis, label in AXES.items():
        lines += _table(axis, label, [row for row in report["rows"] if row["axis"] == axis])
    lines += _picture_table(report)
    twins = [row for row in report["rows"] if row["way"] == "torch twin"]
    for twin in twins:
        single = next(row for row in report["rows"] if _same(row, twin) and row["way"] == "single pass")
        ratio = twin["median_ms"] / single["median_ms"]
        lines.append(
            f"- The torch twin, {twin['gaussians']:,} Gaussians, {twin['direction']}: {twin['median_ms']:,.0f} ms, "
            f"{ratio:.0f} times the single pass."
        )
    memory = report["memory"]
    lines += [
        f"- Peak memory beyond the scene ({memory['gaussians']:,} Gaussians of {memory['experts']} experts, "
        f"{memory['width']}x{memory['height']}): {_peaks(memory['peaks'])}.",
        "",
    ]
    return "\n".join(lines)


def _peaks(peaks: list[dict[str, Any]]) -> str:
    of: dict[str, dict[str, float]] = {}
    for one in peaks:
        of.setdefault(one["way"], {})[one["direction"]] = one["mb"]
    said = []
    for way, own in of.items():
        training = f", with gradients {own[_DIRECTIONS[1]]:,.0f} MB" if _DIRECTIONS[1] in own else ""
        said.append(f"{way} {own[_DIRECTIONS[0]]:,.0f} MB{training}")
    return "; ".join(said)


def _table(axis: str, label: str, rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = [
        f"| Gaussians | image | K | {' | '.join(f'{way}, ms' for way in _WAYS)} | 2K / single | K / single |",
        f"|{'---|' * (5 + len(_WAYS))}",
    ]
    for place in _places(rows):
        own = [row for row in rows if _place(row) == place]
        cells, ratios = [], []
        for way in _WAYS:
            pair = [_of(own, way, direction) for direction in _DIRECTIONS]
            cells.append(f"{pair[0]:.1f} / {pair[1]:.1f}")
        for way in _WAYS[:2]:
            gains = [_of(own, way, to) / _of(own, "single pass", to) for to in _DIRECTIONS]
            ratios.append(f"{gains[0]:.2f} / {gains[1]:.2f}")
        lines.append(f"| {_shown(place)} | {' | '.join([*cells, *ratios])} |")
    picture = f"![time over {label}](../benchmarks/results/expert_passes_{axis}.png)"
    return [f"Forward / forward + backward, by {label}:", "", *lines, "", picture, ""]


def _picture_table(report: dict[str, Any]) -> list[str]:
    """What it takes to the picture that is shown, every scene once; nothing where that was not measured."""
    ordinary = {_place(row): row["median_ms"] for row in report["rows"] if row["way"] == ORDINARY}
    if not ordinary:
        return []
    single = {
        _place(row): row["median_ms"]
        for row in report["rows"]
        if row["way"] == "single pass" and row["direction"] == "forward"
    }
    fused = {_place(row): row["median_ms"] for row in report["rows"] if row["way"] == FUSED}
    lines = [
        "To the picture that is shown, forward: after the pass, with depth, the router's network, softmax and blend in",
        f"torch (*{ORDINARY}*), or all of it by the project's own kernels (*{FUSED}*).",
        "",
    ]
    if report.get("why_not_fused"):
        lines += [f"Fused inference is not in these tables: {report['why_not_fused']}.", ""]
    columns = ["single pass, ms", f"{ORDINARY}, ms", *([f"{FUSED}, ms", "ordinary / fused"] if fused else [])]
    lines += [f"| Gaussians | image | K | {' | '.join(columns)} |", f"|{'---|' * (3 + len(columns))}"]
    for place, ms in ordinary.items():
        cells = [f"{single[place]:.1f}", f"{ms:.1f}"]
        if fused:
            cells += [f"{fused[place]:.2f}", f"{ms / fused[place]:.2f}"]
        lines.append(f"| {_shown(place)} | {' | '.join(cells)} |")
    return [*lines, ""]


def _places(rows: list[dict[str, Any]]) -> list[tuple[int, int, int, int]]:
    return list(dict.fromkeys(_place(row) for row in rows))


def _place(row: dict[str, Any]) -> tuple[int, int, int, int]:
    return row["gaussians"], row["width"], row["height"], row["experts"]


def _shown(place: tuple[int, int, int, int]) -> str:
    count, width, height, experts = place
    return f"{count:,} | {width}x{height} | {experts}"


def _of(rows: list[dict[str, Any]], way: str, direction: str) -> float:
    return next(float(row["median_ms"]) for row in rows if row["way"] == way and row["direction"] == direction)


def _same(row: dict[str, Any], other: dict[str, Any]) -> bool:
    keys = ("axis", "gaussians", "width", "height", "experts", "direction")
    return all(row[key] == other[key] for key in keys)
