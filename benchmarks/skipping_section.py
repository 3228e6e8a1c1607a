"""The part of docs/results.md on skipping experts whose gates vanish: what benchmarks/expert_skipping.py measured."""

import json
from pathlib import Path
from typing import Any

from machine import machine_sentence

_WORTH_IT = 0.05  # of the frame's time, at the least, for which a renderer would get more complicated


def skipping_section(file: Path) -> list[str]:
    """Lines of the section; none where nothing was measured."""
    if not file.is_file():
        return []
    found: dict[str, Any] = json.loads(file.read_text("utf8"))
    limits = found["limits"]
    look = found["look_ms"] / found["frame_ms"]
    saved = {limit: found[f"tiles {limit}"] - look for limit in limits}
    best = max(saved, key=lambda limit: saved[limit])
    pays = saved[best] > _WORTH_IT
    verdict = (
        f"At best {100 * saved[best]:.0f} % of a frame's time could be saved (limit {best})."
        if pays
        else "The look costs more than is saved, or nearly so: experts are not skipped."
    )
    return [
        "## Skipping experts whose gates vanish",
        "",
        f"A look at the gates at a quarter of width and height takes {100 * look:.0f} % of the frame's time "
        f"({found['look_ms']:.1f} of {found['frame_ms']:.1f} ms, one thread). What it finds, over {found['images']} "
        f"images of `{found['run']}` at {found['resolution'][0]}x{found['resolution'][1]}:",
        "",
        "| gates below | experts with none above, whole frames | tiles of 16x16 | dB lost without these tiles |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {limit} | {100 * found[f'frames {limit}']:.1f} % | {100 * found[f'tiles {limit}']:.1f} % "
            f"| {found[f'lost {limit}']:.3f} |"
            for limit in limits
        ),
        "",
        f"- {verdict} Skipped tiles bound what a rasterizer could save; none saves more.",
        f"- {machine_sentence(found['measurement'])}",
        f"- Again: `{found['measurement']['command']}`",
        "",
    ]
