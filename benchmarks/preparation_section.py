"""The part of docs/results.md on scenes prepared from videos: what benchmarks/preparation.py measured."""

import json
from pathlib import Path
from typing import Any

from machine import machine_sentence


def preparation_section(file: Path) -> list[str]:
    """Lines of the section; none where nothing was measured."""
    if not file.is_file():
        return []
    found: dict[str, Any] = json.loads(file.read_text("utf8"))
    measurement = found["measurement"]
    lines = [
        "## Scenes prepared from videos",
        "",
        "`moegs data prepare` on videos whose cameras and seeds are known, and what it makes next to what is given. "
        "Errors are those of camera centres and directions after the similarity that aligns the centres, in shares of "
        "the rig's size (the largest distance of a camera from their middle).",
        "",
        "| scene | cameras | worst centre | worst direction | worst focal length | seeds | of them triangulated |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, scene in found["scenes"].items():
        lines.append(_scene_row(name, scene))
    trained = {name: scene for name, scene in found["scenes"].items() if "training" in scene}
    if trained:
        lines += [
            "",
            f"`moegs-stg` trained on either, with the same seed ({measurement['seed']}):",
            "",
            "| scene | preset | PSNR, given | PSNR, prepared | difference | Gaussians, given and prepared |",
            "| --- | --- | ---: | ---: | ---: | ---: |",
            *(_training_row(name, scene) for name, scene in trained.items()),
        ]
    return [*lines, "", f"- {machine_sentence(measurement)}", f"- Again: `{measurement['command']}`", ""]


def _scene_row(name: str, scene: dict[str, Any]) -> str:
    cameras, seeds = scene["cameras"], scene["seeds"]
    if scene["poses"] == "given":
        errors = ["given", "", ""]
    else:
        errors = [
            f"{cameras['worst_percent']:.2f} %",
            f"{cameras['worst_degrees']:.3f}°",
            f"{cameras['worst_focal_percent']:.2f} %",
        ]
    exact = "none"
    if seeds["triangulated"]:
        exact = f"{seeds['triangulated']}, which miss their pixels by {seeds['reprojection_error']:.2f}"
    cells = [name, cameras["cameras"], *errors, f"{seeds['prepared']} (given: {seeds['given']})", exact]
    return f"| {' | '.join(map(str, cells))} |"


def _training_row(name: str, scene: dict[str, Any]) -> str:
    given, prepared = scene["training"]["given"], scene["training"]["prepared"]
    return (
        f"| {name} | {scene['preset']} | {given['psnr']:.2f} | {prepared['psnr']:.2f} "
        f"| {prepared['psnr'] - given['psnr']:+.2f} | {given['gaussians']}, {prepared['gaussians']} |"
    )
