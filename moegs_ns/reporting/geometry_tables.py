"""Tables of how well a run's depth agrees between views, and with the truth where that is known."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from moegs_ns.reporting.rows import MIXTURE
from moegs_ns.reporting.tables import Table

_UNKNOWN = "n/a"
_KINDS = ("compared", "occluded", "outside", "empty")
# Label and plain data of one row.
_Row = tuple[str, Mapping[str, Any]]


def geometry_tables(summaries: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Table]:
    """One table of consistency, and one of errors where the truth is known, per scene and protocol.

    Args:
        summaries: name and summary of each run. A summary has a ``protocol`` (``scene``, ``cameras``, ``frames``,
            ``resolution`` and ``rules``) and ``rows``, label to ``consistency`` (`ConsistencyScores`) and ``truth``,
            object to `DepthError`, as plain data with None for NaN.
    """
    groups: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, summary in summaries:
        groups.setdefault(json.dumps(summary["protocol"]), []).append((name, summary))
    tables = []
    for group in groups.values():
        rows = [
            (label if len(group) == 1 else f"{label} ({name})", row)
            for name, summary in group
            for label, row in summary["rows"].items()
        ]
        labels = [label for _, summary in group for label in summary["rows"]]
        emphasised = tuple(number for number, label in enumerate(labels) if label == MIXTURE)
        protocol = group[0][1]["protocol"]
        tables.append(_consistency_table(protocol, rows, emphasised))
        if any(row["truth"] for _, row in rows):
            tables.append(_truth_table(protocol, rows, emphasised))
    return tables


def _consistency_table(protocol: Mapping[str, Any], rows: Sequence[_Row], emphasised: tuple[int, ...]) -> Table:
    scores = [row["consistency"] for _, row in rows]
    cells = [
        [
            label,
            _number(row["consistency"]["error"], ".4f"),
            _percent(row["consistency"]["relative"], ".2f"),
            *(_percent(row["consistency"][kind], ".1f") for kind in _KINDS),
            _number(row["consistency"]["unruled"], ".4f"),
        ]
        for label, row in rows
    ]
    return Table(
        title=f"{protocol['scene']}: multi-view depth consistency",
        header=["", "MDC", "of depth", *_KINDS, "MDC, all"],
        rows=cells,
        notes=[_protocol(protocol), *_rules(protocol["rules"]), *_idle_pairs(scores)],
        emphasised=emphasised,
    )


def _truth_table(protocol: Mapping[str, Any], rows: Sequence[_Row], emphasised: tuple[int, ...]) -> Table:
    objects = list(dict.fromkeys(name for _, row in rows for name in row["truth"]))
    return Table(
        title=f"{protocol['scene']}: error of depth at known surface points",
        header=["", *objects],
        rows=[[label, *(_truth(row["truth"].get(name)) for name in objects)] for label, row in rows],
        notes=[
            "Mean of |rendered depth - depth of the point|, world units and as a share of the depth; in brackets the "
            "share of points where something was rendered. Over the points of tracks that lie within their object's "
            "mask, a pixel from its outline, and are not hidden by the object itself; cameras, frames and least cover "
            "as above."
        ],
        emphasised=emphasised,
    )


def _protocol(protocol: Mapping[str, Any]) -> str:
    cameras, frames = protocol["cameras"], protocol["frames"]
    sizes = ", ".join("x".join(map(str, size)) for size in protocol["resolution"])
    return (
        f"Protocol: training and test cameras ({len(cameras)}: {', '.join(cameras)}), {len(frames)} "
        f"instant{'s' if len(frames) > 1 else ''} (frame {', '.join(map(str, frames))}), {sizes}; expected z-depth."
    )


def _rules(rules: Mapping[str, Any]) -> list[str]:
    tolerance, stride = f"{100 * rules['occlusion_tolerance']:g} %", rules["pixel_stride"]
    pixels = "every pixel" if stride == 1 else f"one pixel of {stride}x{stride}"
    neighbors = rules["neighbors"]
    pairs = f"the pairs of each view i with its {neighbors} nearest" if neighbors else "all ordered pairs of views"
    return [
        f"MDC (Eq. 16): {pixels} of view i, put into the world by its depth, against view j's depth there; mean over "
        f"pixels, then over {pairs} of an instant, in world units and as a share of j's depth.",
        f"Left out, as shares of all pixels looked at: occluded, more than {tolerance} behind j's surface (in front "
        "always counts); outside, beyond j's image or behind j; empty, covered to less than "
        f"{rules['min_accumulation']:g} in either view. MDC, all: occluded pixels count, too. j's depth is "
        f"interpolated where the pixels around agree to {tolerance}, else it is the nearest pixel's.",
    ]


def _idle_pairs(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    idle = [one["all_pairs"] - one["pairs"] for one in scores]
    if not any(idle):
        return []
    by_row = " / ".join(map(str, idle))
    return [f"Of {scores[0]['all_pairs']} pairs {by_row} (by row) had nothing to compare and are not in the mean."]


def _truth(error: Mapping[str, Any] | None) -> str:
    if error is None:
        return _UNKNOWN
    return f"{_number(error['error'], '.3f')}, {_percent(error['relative'], '.1f')} ({_percent(error['shown'], '.0f')})"


def _number(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else format(value, form)


def _percent(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else f"{format(100 * value, form)} %"
